"""The commands that build and pass on databases: publish, export, compact, migrate."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli.places import add_shards
from pipeline.cli.terminal import complain, say

RESULTS = Path("data/results")
TABLES = ("parquet", "huggingface")  # formats of `export` that write tables


def add_arguments(commands: argparse._SubParsersAction) -> None:
    """Adds the commands; each sets `handler`, a function of the parsed arguments."""
    _add_publish(commands)
    _add_export(commands)
    _add_compact(commands)
    _add_migrate(commands)


def _add_publish(commands: argparse._SubParsersAction) -> None:
    publish = commands.add_parser("publish", help="build a new snapshot of what is finished")
    publish.add_argument(
        "folder", type=Path, metavar="DIR", help="results folder, or the study file"
    )
    add_shards(publish)
    publish.set_defaults(handler=_publish)


def _publish(options: argparse.Namespace) -> int:
    folder = options.folder
    if folder.suffix == ".toml":
        from pipeline.study.reading import load_study

        folder = RESULTS / load_study(folder).name
    return 1 if publish_and_show(folder) else 0


def publish_and_show(folder: Path) -> bool:
    """Publishes and prints what was found. Returns whether shards were damaged."""
    from pipeline.database.findings import findings
    from pipeline.database.publish import publish

    published = publish(folder)
    say(f"published {published.path}\n")
    say(findings(published.path))
    if published.missing:
        say(f"{published.missing:,} samples are missing yet: run the study to make them")
    for unit_id, reason in published.damaged.items():
        complain(f"damaged: shards/{unit_id}.parquet: {reason}; the next run makes it again")
    return bool(published.damaged)


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="write a published study as Parquet or as a Hugging Face data set, or a model's images as files",
        description="Writes every table of the current snapshot as Parquet, with a manifest of sha256 sums; "
        "huggingface adds a card (README.md) and images that a viewer shows. The other formats write the final images of one "
        "model in the layout of a data set or of a benchmark's evaluator.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="new or empty")
    parser.add_argument(
        "--format",
        default="parquet",
        choices=(*TABLES, "imagefolder", "geneval", "geneval2", "t2i-compbench", "dpg-bench"),
    )
    parser.add_argument("--model", metavar="NAME", help="whose images are written")
    parser.add_argument(
        "--metadata", type=Path, metavar="FILE", help="with geneval: its evaluation_metadata.jsonl, whose lines its evaluator reads"
    )  # fmt: skip
    parser.set_defaults(handler=_export)


def _export(options: argparse.Namespace) -> int:
    if options.format not in TABLES:
        return _export_images(options)
    from pipeline.database.export import export

    tables = export(options.folder, options.out, options.format)
    rows = sum(table.rows for table in tables)
    say(f"{len(tables)} tables, {rows:,} rows in {options.out}")
    return 0


def _export_images(options: argparse.Namespace) -> int:
    from pipeline.database.export_images import export_images
    from pipeline.errors import StoreError

    if not options.model:
        raise StoreError(
            f"--format {options.format} writes the images of one model. Add --model NAME."
        )
    written = export_images(
        options.folder, options.out, options.format, options.model, options.metadata
    )
    say(f"{written.images:,} images in {options.out}")
    if written.left_out:
        some = ", ".join(written.left_out[:5])
        complain(f"{len(written.left_out):,} images have no place in this layout: {some}")
    return 0


def _add_compact(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "compact",
        help="write a small copy of a published study, to be shipped",
        description="Writes the current snapshot without most of its frames and maps, its pointer and a README.md that says what "
        "was left out. Every number is kept unless --unnamed or --spectra leaves some out, rounded only where --decimals asks for it. "
        "The dashboard reads the folder like any results folder.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="replaced where it is there"
    )
    parser.add_argument(
        "--prompts", type=int, default=32, metavar="N", help="that keep frames and maps (32)"
    )
    parser.add_argument(
        "--decimals",
        type=int,
        choices=range(2, 8),
        metavar="N",
        help="round the similarities per step to 2 to 7 decimals (as they are)",
    )
    parser.add_argument(
        "--quality",
        type=int,
        choices=range(1, 101),
        metavar="Q",
        help="of the WebP that the final images of further prompts become, 1 to 100 (as they are)",
    )
    parser.add_argument(
        "--unnamed",
        type=_count,
        metavar="N",
        help="prompts that keep the similarities of concepts that they do not name; pages of the copy show named pairs (all)",
    )
    parser.add_argument(
        "--spectra", type=_count, metavar="N", help="prompts that keep their power spectra (all)"
    )
    parser.add_argument("--command", default="", help="what makes the copy, for its record")
    parser.set_defaults(handler=_compact)


def _count(text: str) -> int:
    """A number of prompts, 0 or more."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of prompts, 0 or more")
    return number


def _compact(options: argparse.Namespace) -> int:
    from pipeline.database.compact import LIMIT, Cuts, compact

    cuts = Cuts(
        options.prompts, options.decimals, options.quality, options.unnamed, options.spectra
    )
    copy = compact(options.folder, options.out, cuts, options.command)
    for table, (copied, total) in copy.rows.items():
        say(f"{table}: {copied:,} of {total:,} rows kept")
    size = f"{copy.size / 1e6:.1f} MB, {copy.deflated / 1e6:.1f} MB in git"
    say(f"{copy.path}: {size}, content hash {copy.content_hash}")
    if copy.deflated > LIMIT:
        complain(
            f"larger than {LIMIT / 1e6:.0f} MB: keep less with --prompts, --unnamed, --spectra or --quality"
        )
    return int(copy.deflated > LIMIT)


def _add_migrate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "migrate",
        help="rebuild a snapshot of an older schema from its shards",
        description="Shards are the truth and the database is built from them: a folder that an older version wrote is "
        "brought to this version's schema by building its snapshot anew. The old snapshot stays until the new one is "
        "checked.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    add_shards(parser)
    parser.set_defaults(handler=_migrate)


def _migrate(options: argparse.Namespace) -> int:
    from pipeline.database.publish import publish
    from pipeline.database.snapshots import SCHEMA_VERSION, schema_version

    version = schema_version(options.folder)
    if version == SCHEMA_VERSION:
        say(f"{options.folder}: schema version {version} already, nothing to do")
        return 0
    path = publish(options.folder).path
    was = "not published" if version is None else f"schema version {version}"
    say(f"{options.folder}: was {was}, now {SCHEMA_VERSION}: {path}")
    return 0
