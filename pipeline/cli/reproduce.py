"""The command that makes samples of a results folder anew: reproduce."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli.places import add_shards
from pipeline.cli.study import device_name, positive
from pipeline.cli.terminal import say


def add_arguments(commands: argparse._SubParsersAction) -> None:
    """Adds the command; it sets `handler`, a function of the parsed arguments."""
    parser = commands.add_parser(
        "reproduce",
        help="make random samples again on this machine, and say how far they are",
        description="Makes random finished samples again, each in the batch in which it was made, and compares final images (levels of "
        "255) and similarities; names versions and hardware that differ. Exits 0 when all are equal within the tolerances, else 1.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--sample", type=positive, default=4, metavar="N", help="samples; 4")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the choice; 0")
    parser.add_argument("--device", type=device_name, default="auto", help="as for run")
    parser.add_argument(
        "--levels", type=_tolerance, default=1.0, metavar="X",
        help="of 255, by which a pixel may differ; 1",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=_tolerance, default=1e-4, metavar="X",
        help="by which a similarity may differ; 1e-4",
    )  # fmt: skip
    add_shards(parser)
    parser.set_defaults(handler=_reproduce)


def _tolerance(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0")
    return value


def _reproduce(options: argparse.Namespace) -> int:
    from pipeline.preflight.reproduce import reproduce, show

    remade = reproduce(options.folder, options.sample, options.seed, options.device, say=say)
    say(show(remade, options.levels, options.tolerance))
    return 0 if all(each.within(options.levels, options.tolerance) for each in remade) else 1
