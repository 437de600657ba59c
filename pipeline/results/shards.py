"""The truth on disk: one Parquet shard per work unit, a ledger of what was finished, and a lock.

A shard appears whole or not at all: temp file, fsync, rename, fsync of the folder, and only then
its ledger entry. A work unit counts as done when the ledger says so and the file is still that file.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreError
from pipeline.results.ledger import LedgerEntry
from pipeline.results.rows import (
    CONTENT,
    ROW_HASH,
    STORED,
    empty_value,
    row_hashes,
    table_of,
    work_unit_hash,
)
from pipeline.results.safe_files import read_capped
from pipeline.results.storage import (
    MAX_SHARD,
    ShardStore,
    explain_os_error,
    fsync_folder,
    write_whole,
)
from pipeline.study.unpacking import refuse_bomb

__all__ = ["explain_os_error", "fsync_folder", "write_whole"]  # also known by these names here
MAX_ROWS = 2**16  # of a shard: as many prompts as a work unit may have


def _leaves(kind: pa.DataType, path: str) -> Iterator[str]:
    """The columns of a shard's file that hold a column of the table."""
    if pa.types.is_list(kind):
        yield from _leaves(kind.value_type, f"{path}.list.element")
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(field.type, f"{path}.{field.name}")
    else:
        yield path


# Encoded images neither shrink nor recur: to try took 0.2 ms of one of 56 kB, a third of what writing it takes.
_ENCODED = {"image", "frames.list.element.image", "switch_images.list.element.image"}
_PATHS = [path for field in STORED for path in _leaves(field.type, field.name)]
_COMPRESSION = {path: "none" if path in _ENCODED else "zstd" for path in _PATHS}
_DICTIONARIES = [path for path in _PATHS if path not in _ENCODED]


def write_shard(store: ShardStore, unit_id: str, rows: Sequence[Mapping[str, Any]]) -> LedgerEntry:
    """Writes a unit's shard, whole or not at all.

    Returns: the unit's ledger entry, not yet in the ledger.

    Raises:
        StoreError: rows that do not fit, a full disk, a folder that cannot be written.
    """
    table = table_of(rows)
    errors = [str(row["error"]) for row in rows if row["status"] != "done"]
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table, buffer, compression=_COMPRESSION, use_dictionary=_DICTIONARIES, version="2.6"
    )
    data = buffer.getvalue()
    if len(data) > MAX_SHARD:
        raise StoreError(
            f"unit {unit_id}: its shard has {len(data):,} bytes, at most {MAX_SHARD:,}. Lower run.unit_prompts."
        )
    info = store.write(unit_id, data)
    return LedgerEntry(
        unit_id=unit_id,
        status="failed" if errors else "done",
        rows=len(rows),
        failed=len(errors),
        error=errors[0] if errors else "",
        bytes=len(data),
        mtime_ns=info.changed_ns,
        sha256=hashlib.sha256(data).hexdigest(),
        content_sha256=work_unit_hash(table.column(ROW_HASH).to_pylist()),
        finished_at=now(),
    )


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A shard's rows, or some of its columns.

    Raises:
        StoreError: the file is missing, damaged, or has other columns.
    """
    try:
        data = read_capped(path, MAX_SHARD)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror}). Run the study again."
        ) from None
    return parse_shard(data, path, columns)


def parse_shard(data: bytes, path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a shard's bytes; `path` is for messages.

    A column that an older version did not write yet has its empty value: that is the migration of
    shards, made whenever one is read.

    Raises:
        StoreError: the bytes are damaged, or are not a shard's.
    """
    names = list(columns or STORED.names)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        refuse_bomb(file, data, MAX_ROWS)
        stored = set(file.schema_arrow.names)  # made anew at each look, 0.2 ms
        there = [name for name in names if name in stored]
        if ROW_HASH in names and ROW_HASH not in there:
            raise ValueError(f"no column {ROW_HASH}")
        table = file.read(columns=there, use_threads=False)
        filled = {n: table[n] if n in there else _empty(n, len(table)) for n in names}
        return pa.table({name: _cast(column, name) for name, column in filled.items()})
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise StoreError(f"{path}: damaged shard ({reason}). Run the study again.") from None


def _cast(column: Any, name: str) -> Any:
    """A column with the type that it has in a shard. Raises ValueError that names it."""
    try:
        return column.cast(STORED.field(name).type)
    except pa.ArrowException:
        raise ValueError(f"column {name} is {column.type}, not {STORED.field(name).type}") from None


def _empty(name: str, rows: int) -> pa.Array:
    """The value that a column has where a version of the program did not know it yet."""
    kind = STORED.field(name).type
    return pa.array([empty_value(kind)] * rows, kind)


def stored_hashes(data: bytes, path: Path | str) -> tuple[list[str], list[str]]:
    """The row hashes that a shard holds, and the same computed again over the columns that it has.

    Raises:
        StoreError: the bytes are damaged.
    """
    table = parse_shard(data, path)
    there = set(pq.read_schema(pa.BufferReader(data)).names)
    names = [name for name in CONTENT if name in there]
    return table.column(ROW_HASH).to_pylist(), row_hashes(table, names)


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
