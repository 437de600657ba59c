"""A figure made again from its manifest and the published data set.

    python -m app.figures --again MANIFEST [SNAPSHOT] --out DIR

The manifest names the figure, its filters, and the hashes of the data set and of every file that came out. SNAPSHOT is where the
data set is on this machine, as a results folder, a DuckDB file or the folder of Parquet files that was published; by default,
where the manifest says.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import io
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from app.database.data_set import is_data_set
from app.database.importing import import_data_set
from app.database.plain_files import open_plain
from app.database.snapshots import SnapshotError
from app.database.statements import statement
from app.figures import export
from app.figures.source import Choice, FigureError, FigureStudy, open_study

MOST = 2**24  # bytes of a manifest
# Of a clone and of an installation: a figure made in one can be made again in the other.
COMMAND = re.compile(r"(stepscope figures|python3? -m (?:stepscope\.)?app\.figures) ")
QUERY = re.compile(r"app/database/sql/((?:[a-z_]+/)?[a-z_]+)\.sql")


@dataclass(frozen=True)
class Again:
    """A figure made again.

    Attributes:
        files: name -> content.
        same: the files that are the same to the byte.
        other: those that should be, and are not.
        reasons: what differs between then and now, one line each.
    """

    files: dict[str, bytes]
    same: tuple[str, ...]
    other: tuple[str, ...]
    reasons: tuple[str, ...]


def make_again(manifest: Path, snapshot: str | None = None, also: Sequence[str] = ()) -> Again:
    """Makes the figure of a manifest and compares every file with its hash there.

    Args:
        manifest: `NAME.manifest.json` of a figure.
        snapshot: results folder, DuckDB file or data set; None = as the manifest says.
        also: the further ones, where the figure is of several; empty = as the manifest says.

    Raises:
        FigureError: it is no manifest, or the data set is not the one that the figure was made from.
        SnapshotError: the data set cannot be read.
    """
    record = read_manifest(manifest)
    options = _options(record, manifest)
    choice = export.choice_of(options)
    paths = [snapshot or options.snapshot, *(also or options.also)]
    with contextlib.ExitStack() as stack:
        tagged = zip_longest(paths, _tagged(record)[: len(paths)])
        study, *others = (stack.enter_context(_opened(path, choice, t)) for path, t in tagged)
        _refuse_other_data(record, (study, *others))
        figure = export.export(
            study, export.KINDS[options.figure], options.venue, options.columns, others
        )
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in figure.files.items()}
    wanted = [str(name) for name in record["same_on_every_run"]]
    same = tuple(n for n in wanted if n in hashes and hashes[n] == record["sha256"].get(n))
    other = tuple(name for name in wanted if name not in same)
    return Again(figure.files, same, other, tuple(_reasons(record)))


@contextlib.contextmanager
def _opened(path: str, choice: Choice, tagged: Sequence[str] | None) -> Iterator[FigureStudy]:
    """The study at a path; a data set is imported into a temporary folder."""
    if not is_data_set(Path(path)):
        yield open_study(path, choice, tagged)
        return
    with tempfile.TemporaryDirectory(prefix="stepscope-") as folder:
        import_data_set(Path(path), Path(folder) / "study")
        yield replace(open_study(f"{folder}/study", choice, tagged), path=path)


def _tagged(record: dict[str, Any]) -> list[list[str]]:
    """The prompts that had the tags of the slice, one list a study: tags are kept beside a study, not in it."""
    queries = [query.get("parameters") for query in record["queries"] if isinstance(query, dict)]
    lists = [each.get("tagged") for each in queries if isinstance(each, dict)]
    return [[str(key) for key in keys] for keys in lists if isinstance(keys, list)]


def read_manifest(path: Path) -> dict[str, Any]:
    """A figure's manifest. Raises FigureError where it is none."""
    try:
        with open_plain(path) as file:
            record = json.loads(file.read(MOST))
        shapes = {"command": str, "snapshots": list, "queries": list, "versions": dict, "sha256": dict,
                  "same_on_every_run": list}  # fmt: skip
        if not all(isinstance(record[key], kind) for key, kind in shapes.items()):
            raise ValueError("a value of another kind")
    except OSError as error:
        raise FigureError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise FigureError(f"{path}: not the manifest of a figure (NAME.manifest.json).") from None
    return dict(record)


def _options(record: dict[str, Any], path: Path) -> argparse.Namespace:
    """The command of a manifest, read as a command line is; nothing in it is run."""
    wrong = FigureError(f"{path}: its command makes no figure with this version.")
    head = COMMAND.match(record["command"])
    if head is None:
        raise wrong
    try:
        words = shlex.split(record["command"][head.end() :])
    except ValueError:
        raise wrong from None
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            options = export.parse(words)
    except SystemExit:
        raise wrong from None
    if not options.figure:
        raise wrong
    return options


def _refuse_other_data(record: dict[str, Any], studies: Sequence[FigureStudy]) -> None:
    wanted = [each.get("content_hash") if isinstance(each, dict) else None for each in record["snapshots"]]  # fmt: skip
    present = [str(study.study["content_hash"]) for study in studies]
    for study, here, there in zip(studies, present, wanted, strict=False):
        if here != there:
            raise FigureError(
                f"{study.path}: other data (content hash {here[:12]}) than the figure was made from ({str(there)[:12]}). Give the "
                "published data set as SNAPSHOT."
            )
    if len(present) != len(wanted):
        raise FigureError(f"made from {len(wanted)} data sets, {len(present)} given: name the others with --also.")  # fmt: skip


def _reasons(record: dict[str, Any]) -> list[str]:
    """Versions and queries that are not those of then."""
    lines = []
    for name in export.PACKAGES:
        here, there = importlib.metadata.version(name), record["versions"].get(name, "unknown")
        if here != there:
            lines.append(f"{name}: {str(there)[:40]} then, {here} here")
    for query in record["queries"]:
        macros = query.get("macros") if isinstance(query, dict) else None
        lines += filter(
            None, map(_other_query, [query, *(macros if isinstance(macros, list) else [])])
        )
    return list(dict.fromkeys(lines))


def _other_query(query: Any) -> str:
    """What to say of a query, or a macro of it, that is not the one of then; '' where it is."""
    named = QUERY.fullmatch(str(query.get("file", ""))) if isinstance(query, dict) else None
    with contextlib.suppress(OSError, ValueError):
        if named and hashlib.sha256(statement(named[1])[0].encode()).hexdigest() != query.get("sha256"):  # fmt: skip
            return f"{named[1]}.sql: another query here than then"
    return ""


def run(arguments: Sequence[str]) -> int:
    """The command: a figure made again where --again is among the arguments, else figures of a study."""
    again = any(word.split("=")[0] == "--again" for word in arguments)
    return main(arguments) if again else export.main(arguments)


def main(arguments: Sequence[str]) -> int:
    """Makes a figure again; 0 where every file is the same, 1 where one is not, 2 where it cannot be made."""
    parser = argparse.ArgumentParser(
        prog=export.COMMAND, description="A figure made again from its manifest."
    )
    parser.add_argument("--again", type=Path, required=True, metavar="MANIFEST")
    parser.add_argument("snapshot", nargs="?", help="the data set; where the manifest says")
    parser.add_argument("--also", nargs="+", default=[], metavar="SNAPSHOT", help="the others")
    parser.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        made_again = make_again(options.again, options.snapshot, options.also)
        export.write_files(made_again.files, options.out)
    except SnapshotError as error:
        print(f"error: {error.title} {error.detail}", file=sys.stderr)
        return 2
    except FigureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: --out {options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    for line in (*(f"differs: {name}" for name in made_again.other), *made_again.reasons):
        print(line)
    total = len(made_again.same) + len(made_again.other)
    print(f"{len(made_again.same)} of {total} files are the same to the byte, in {options.out}")
    return 1 if made_again.other else 0
