"""Tables that other commands leave in the folder extra/ of a results folder."""

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.database.build import Build, first_line, insert
from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.study.unpacking import refuse_bomb

MAX_TABLE = 2**30  # bytes of a table of extra/


ARROW = {
    "VARCHAR": pa.string(), "INTEGER": pa.int32(), "BIGINT": pa.int64(), "FLOAT": pa.float32(), "DOUBLE": pa.float64(),
}  # fmt: skip


ABSENT = {"layer": "all"}  # columns that tables of earlier versions do not have
MAX_EXTRA = 10_000_000  # rows of a table of extra/


def insert_extra(build: Build) -> None:
    """Tables that other commands leave in extra/: rows with a model's name instead of its id."""
    for table in ("localisation", "randomisation"):
        path = build.results.extra / f"{table}.parquet"
        if not os.path.lexists(path):
            continue
        try:
            insert(build.db, table, _extra_rows(build, path, table))
        except duckdb.Error as error:
            raise StoreError(f"{path}: {first_line(error)}. Make it anew, or remove it.") from None


def _extra_rows(build: Build, path: Path, table: str) -> pa.Table:
    """The rows of the study's models. Raises StoreError where a column is missing."""
    try:
        data = safe_files.read_capped(path, MAX_TABLE)
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            refuse_bomb(file, data, MAX_EXTRA)
            rows = file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({first_line(error)}). Remove it.") from None
    needed = ["model", *(c[0] for c in build.db.table(table).description if c[0] != "model_id")]
    for name in ABSENT.keys() & set(needed) - set(rows.column_names):
        rows = rows.append_column(name, pa.array([ABSENT[name]] * len(rows), pa.string()))
    missing = [name for name in needed if name not in rows.column_names]
    if missing:
        present = ", ".join(rows.column_names)
        raise StoreError(
            f"{path}: no column {', '.join(missing)} (found: {present}). Make it anew."
        )
    kinds = {
        c[0]: ARROW[str(c[1])] for c in build.db.table(table).description if c[0] != "model_id"
    }
    rows = pa.table({n: _extra_column(path, rows, n, kinds.get(n, pa.string())) for n in needed})
    names = pa.array([model.name for model in build.plan.study.models])
    index = pc.index_in(rows["model"], names)
    rows = rows.append_column("model_id", pc.add(index, 1).cast(pa.int32()))
    return rows.filter(pc.is_valid(rows["model_id"]))


def _extra_column(path: Path, rows: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """A column as the database has it. Raises StoreError where it is of another kind, or twice there."""
    try:
        return rows[name].cast(kind)
    except (pa.ArrowException, KeyError) as error:
        stored = next(field.type for field in rows.schema if field.name == name)
        raise StoreError(
            f"{path}: column {name} is {stored}, not {kind} ({first_line(error)}). Make the table anew, or remove it."
        ) from None
