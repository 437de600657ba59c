"""Object stores that a results folder names: the option with which a user says that one is theirs."""

from __future__ import annotations

import argparse


def add_shards(parser: argparse.ArgumentParser) -> None:
    """Adds --shards to a command that reads shards; may be given more than once."""
    parser.add_argument(
        "--shards",
        action="append",
        dest="allowed_stores",
        metavar="PLACE",
        help="the s3://, gs:// or abfs:// place that the folder names for its shards, once on each machine: a place "
        "that nobody has named here is not contacted",
    )


def allow(options: argparse.Namespace) -> None:
    """Notes the places that the options of a command name.

    Raises:
        StoreError: one is no object store.
    """
    named = getattr(options, "allowed_stores", None)
    if not named:
        return
    from pipeline.results import allowed_stores
    from pipeline.results.storage import open_store

    for address in named:
        allowed_stores.allow(open_store(address).address)
