"""The commands that look after results: diff, merge, gc, export, migrate."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(commands: argparse._SubParsersAction) -> None:
    """Adds the commands; each sets `handler`, a function of the parsed arguments."""
    _add_diff(commands)
    _add_merge(commands)
    _add_gc(commands)
    _add_export(commands)
    _add_migrate(commands)


def _add_diff(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "diff",
        help="say which samples of two folders differ, and by how much",
        description="Compares two results folders sample by sample (model, prompt, seed), whatever their batch sizes, "
        "engines and machines. Exits 0 when nothing differs beyond the tolerance, else 1.",
    )
    parser.add_argument("first", type=Path, metavar="DIR_A")
    parser.add_argument("second", type=Path, metavar="DIR_B")
    parser.add_argument(
        "--tolerance",
        type=_amount,
        default=0.0,
        metavar="X",
        help="numbers a, b count as equal up to X * max(1, |a|, |b|), pixels up to one level of 255 more; "
        "0 by default: equal to the bit. Another batch size moves float32 similarities by less than 1e-4",
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="samples listed; 20")
    parser.add_argument("--json", action="store_true", help="for scripts, every sample listed")
    parser.set_defaults(handler=_diff)


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0")
    return value


def _diff(options: argparse.Namespace) -> int:
    from pipeline import diff

    found = diff.compare(options.first, options.second, options.tolerance)
    if options.json:
        print(json.dumps(diff.as_record(found, options.tolerance)))
    else:
        print(diff.show(found, options.tolerance, options.limit))
    return 0 if found.same else 1


def _add_merge(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "merge",
        help="put the shards of several folders into one",
        description="Merges results of different machines and times: the same study split by hand, other seeds, other "
        "models, a longer prompt list. What does not fit together is reported; exits 1 then.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the merged folder")
    parser.add_argument("--no-publish", action="store_true", help="only merge the shards")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(handler=_merge)


def _merge(options: argparse.Namespace) -> int:
    from pipeline.merge import as_record, merge

    found = merge(options.folders, options.out)
    if options.json:
        print(json.dumps(as_record(found)))
    else:
        print(
            f"{found.units:,} work units in {options.out}, {found.copied:,} copied now, "
            f"{len(found.conflicts):,} conflicts"
        )
        for conflict in found.conflicts:
            print(f"conflict: {conflict}", file=sys.stderr)
    if found.units and not options.no_publish:
        from pipeline.database.publish import publish

        path = publish(options.out).path
        if not options.json:
            print(f"published {path}")
    return 1 if found.conflicts else 0


def _add_gc(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "gc",
        help="remove superseded shards and old snapshots; asks first",
        description="Lists shards that the plan of the last run does not hold, snapshots older than the current one and "
        "superseded ledger lines, asks, and removes them. A snapshot that a reader has open is left alone.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="only list what would go")
    parser.set_defaults(handler=_gc)


def _gc(options: argparse.Namespace) -> int:
    from pipeline import tidy

    found = tidy.find_rubbish(options.folder)
    print(tidy.show(options.folder, found))
    if not found or options.dry_run:
        return 0
    if not options.yes and not _agreed("Remove them? [y/N] "):
        print("nothing removed; answer y, or give --yes")
        return 1
    tidy.remove(options.folder, found)
    print("removed")
    return 0


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # no one to ask
        print()
        return False


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="write a published study as Parquet or as a Hugging Face data set",
        description="Writes every table of the current snapshot as Parquet, with a manifest of sha256 sums; "
        "huggingface adds a card (README.md) and images that a viewer shows.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="new or empty")
    parser.add_argument("--format", default="parquet", choices=("parquet", "huggingface"))
    parser.set_defaults(handler=_export)


def _export(options: argparse.Namespace) -> int:
    from pipeline.export import export

    tables = export(options.folder, options.out, options.format)
    rows = sum(table.rows for table in tables)
    print(f"{len(tables)} tables, {rows:,} rows in {options.out}")
    return 0


def _add_migrate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "migrate",
        help="rebuild a snapshot of an older schema from its shards",
        description="Shards are the truth and the database is built from them: a folder that an older version wrote is "
        "brought to this version's schema by building its snapshot anew. The old snapshot stays until the new one is "
        "checked.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.set_defaults(handler=_migrate)


def _migrate(options: argparse.Namespace) -> int:
    from pipeline.database.publish import SCHEMA_VERSION, publish, schema_version

    version = schema_version(options.folder)
    if version == SCHEMA_VERSION:
        print(f"{options.folder}: schema version {version} already, nothing to do")
        return 0
    path = publish(options.folder).path
    was = "not published" if version is None else f"schema version {version}"
    print(f"{options.folder}: was {was}, now {SCHEMA_VERSION}: {path}")
    return 0
