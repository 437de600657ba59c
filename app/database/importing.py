"""A published data set as a results folder that the dashboard, the figures and the Python API open.

    python -m app.database.importing DATASET --out DIR

The tables are built by the schema that publishing uses, row by row in the order of the files, so that a figure of them is the
same to the byte; then the checks of publishing run. The folder appears whole or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from app.database import data_set as published
from app.database.data_set import MANIFEST, DataSet, DataSetError
from app.database.snapshots import PROGRAM, SCHEMA_VERSION, SnapshotError
from app.database.statements import use_scorer

SHARED = PROGRAM / "pipeline" / "database"
"""The schema: the SQL files that publishing builds a snapshot by."""
SCHEMAS = ("CREATE SCHEMA scorer_2", "CREATE SCHEMA scorer_3", "CREATE SCHEMA scorer_4", "CREATE SCHEMA scorer_5",
           "CREATE SCHEMA scorer_6", "CREATE SCHEMA scorer_7", "CREATE SCHEMA scorer_8", "CREATE SCHEMA scorer_9")  # fmt: skip
NAME = re.compile("[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


@dataclass(frozen=True)
class Imported:
    """What was imported: the snapshot's file, and how many tables and rows it has."""

    path: Path
    tables: int
    rows: int


def import_data_set(folder: Path, out: Path) -> Imported:
    """Writes a data set as a results folder with one snapshot.

    Args:
        folder: the data set.
        out: the folder to make; must not exist, or be empty.

    Raises:
        DataSetError: the data set is damaged, of another version or not one, or the folder cannot be written.
    """
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise DataSetError(f"{out}: exists and is not empty.", "Give another folder with --out.")
    data_set = published.read_manifest(folder)
    _refuse_version(data_set)
    temporary = out.resolve().with_name(f".{out.resolve().name}.{secrets.token_hex(4)}.tmp")
    named = NAME.fullmatch(data_set.facts["study"])
    name = f"{named[0] if named else 'study'}-{data_set.facts['snapshot']:06d}.duckdb"
    try:
        snapshot = temporary / "snapshots" / name
        snapshot.parent.mkdir(parents=True)
        imported = _build(data_set, snapshot)
        _point(temporary, snapshot, data_set.facts["snapshot"])
        if out.exists():
            out.rmdir()
        temporary.replace(out)
        _sync(out.resolve().parent)
    except OSError as error:
        raise DataSetError(f"{out}: cannot be written ({error.strerror or error}).") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Imported(out / "snapshots" / name, *imported)


def _refuse_version(data_set: DataSet) -> None:
    version = data_set.facts["schema_version"]
    if version != SCHEMA_VERSION:
        advice = "Export it again with this version." if version < SCHEMA_VERSION else "Use a newer Stepscope."  # fmt: skip
        raise DataSetError(
            f"{data_set.folder / MANIFEST}: has schema {version}; this version imports schema {SCHEMA_VERSION}.", advice
        )  # fmt: skip


def _build(data_set: DataSet, path: Path) -> tuple[int, int]:
    """Fills a new database and checks it. Returns: tables and rows."""
    try:
        with _new_database(path, _scorers(data_set)) as db:
            tables = {name: table for table, name in db.execute(_sql("export_tables.sql")).fetchall()}  # fmt: skip
            _refuse_tables(data_set, list(tables))
            rows = sum(_fill(db, data_set, name, table) for name, table in tables.items())
            for scorer in range(1, _scorers(data_set) + 1):
                use_scorer(db, scorer)
                _check(db, data_set)
            db.execute("CHECKPOINT")
    except duckdb.Error as error:
        reason = ascii((str(error).splitlines() or [type(error).__name__])[0][:300])[1:-1]
        raise DataSetError(
            f"{data_set.folder}: its tables are not those of one study ({reason}).", "Export it again."
        ) from None  # fmt: skip
    return len(tables), rows


def _scorers(data_set: DataSet) -> int:
    """How many scorers the study has: each further one has tables of its own."""
    return 1 + sum(f"scorer_{n}_study" in data_set.tables for n in range(2, 2 + len(SCHEMAS)))


@contextmanager
def _new_database(path: Path, scorers: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with empty tables, which reaches nothing but its own file and folder."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": False,
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": "1GB",
        "threads": 1,  # rows keep their order anyhow; a small machine stays usable
        "temp_directory": str(path.with_suffix(".spill")),
        "checkpoint_threshold": "64MB",
        "lock_configuration": False,  # which schema names mean is a setting
    }
    with duckdb.connect(str(path), config=settings) as db:
        db.execute(_sql("schema.sql"))
        for scorer in range(2, scorers + 1):
            db.execute(SCHEMAS[scorer - 2])
            use_scorer(db, scorer)
            db.execute(_sql("scorer.sql"))
        yield db
    shutil.rmtree(path.with_suffix(".spill"), ignore_errors=True)


def _sql(name: str) -> str:
    return (SHARED / name).read_text(encoding="utf-8")


def _refuse_tables(data_set: DataSet, known: Sequence[str]) -> None:
    unknown = [name for name in data_set.tables if name not in known]
    missing = [name for name in known if name not in data_set.tables]
    if unknown or missing:
        what = f"unknown table {ascii(unknown[0])[:80]}" if unknown else f"no table {missing[0]!r}"
        raise DataSetError(
            f"{data_set.folder / MANIFEST}: {what}. Allowed: {', '.join(known)}.", "Export it again."
        )  # fmt: skip


def _fill(db: duckdb.DuckDBPyConnection, data_set: DataSet, name: str, table: str) -> int:
    """Adds the rows of a table; `table` is its name with the schema, one of our own. Returns how many there are."""
    columns = db.table(table).to_arrow_reader(1).schema
    rows = 0
    for batch in published.batches(data_set, name, columns):
        rows += len(batch)
        if len(batch):
            db.from_arrow(batch).insert_into(table)
    return rows


def _check(db: duckdb.DuckDBPyConnection, data_set: DataSet) -> None:
    """Raises DataSetError where the tables contradict each other or the manifest."""
    broken = [name for name, bad in db.execute(_sql("checks.sql")).fetchall() if bad]
    if broken:
        raise DataSetError(
            f"{data_set.folder}: its tables contradict each other: {'; '.join(broken)}.", "Export it again."
        )  # fmt: skip
    cursor = db.execute(_sql("export_study.sql"))
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    wanted = {"name" if key == "study" else key: value for key, value in data_set.facts.items()}
    if len(rows) != 1 or not wanted.items() <= rows[0].items():
        raise DataSetError(
            f"{data_set.folder}: table 'study' is not the one that {MANIFEST} names.", "Export it again."
        )  # fmt: skip


def _point(folder: Path, snapshot: Path, number: int) -> None:
    """Writes `current.json`, as publishing does; all is on the disk afterwards."""
    with snapshot.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    pointer = {"snapshot": f"snapshots/{snapshot.name}", "number": number, "sha256": digest}
    with (folder / "current.json").open("w", encoding="utf-8") as text:
        text.write(json.dumps(pointer) + "\n")
        text.flush()
        os.fsync(text.fileno())
    for each in (snapshot.parent, folder):
        _sync(each)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main(arguments: Sequence[str]) -> int:
    """Imports a data set; 2 where it is none, is damaged, or the folder cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m app.database.importing",
        description="Reads a data set that `python -m pipeline export` wrote into a results folder, which the dashboard, the "
        "figures and the Python API open. No models and no shards are needed.",
    )
    parser.add_argument("dataset", type=Path, help="folder of Parquet files with manifest.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty")
    options = parser.parse_args(arguments)
    try:
        imported = import_data_set(options.dataset, options.out)
    except SnapshotError as error:
        print(f"error: {' '.join((error.title, error.detail)).strip()}", file=sys.stderr)
        return 2
    print(f"{imported.tables} tables, {imported.rows:,} rows in {imported.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
