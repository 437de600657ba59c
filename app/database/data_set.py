"""A published data set: the folder of Parquet files and its manifest that `python -m pipeline export` writes.

It is untrusted. Links are not followed, files and tables are those that the manifest lists under names that an export gives,
sizes have limits, and nothing in a file is interpreted: columns become Arrow columns of the types that the caller asks for.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.database.plain_files import is_plain, open_plain, read_plain
from app.database.snapshots import SnapshotError

MANIFEST = "manifest.json"
JOINED = "samples"  # names and texts in place of ids: of no use here, every value of it is in another table
FILE = re.compile(r"data/([a-z0-9_]{1,60})/train-\d{5}\.parquet")
MAX_MANIFEST = 2**24  # bytes; of a study of 100 TB it would have 10 MB
MAX_FILES = 100_000
MAX_FILE = 2**34  # bytes of a file; an export begins another one after 400 MB
MAX_GROUP = 2**32  # bytes in memory of a row group
MAX_BATCH = 2**30  # bytes in memory of the rows that are read at a time
BATCH_BYTES, BATCH_ROWS = 2**25, 8192  # aimed at


class DataSetError(SnapshotError):
    """A data set that cannot be read: the file, the value, what is allowed, what to do."""

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem, advice)


@dataclass(frozen=True)
class Table:
    """What the manifest says of a table: its rows, and the sha256 of each file by its path in the folder."""

    rows: int
    files: Mapping[str, str]


@dataclass(frozen=True)
class DataSet:
    """A data set by its manifest; no Parquet file has been opened yet.

    Attributes:
        folder: where it is.
        facts: study, content_hash, schema_version and snapshot.
        tables: by name, the joined one left out.
    """

    folder: Path
    facts: Mapping[str, Any]
    tables: Mapping[str, Table]


def is_data_set(folder: Path) -> bool:
    """Whether a folder looks like a published data set and not like a results folder."""
    return (folder / MANIFEST).exists() and not os.path.lexists(folder / "current.json")


def read_manifest(folder: Path) -> DataSet:
    """The data set in a folder.

    Raises:
        DataSetError: the manifest is missing or says what no export does.
    """
    path = folder / MANIFEST
    try:
        record = json.loads(read_plain(path, MAX_MANIFEST))
        facts = {name: _fact(record, name, rule) for name, rule in FACTS.items()}
        tables = {name: _table(name, each) for name, each in _fact(record, "tables", dict).items()}
    except OSError as error:
        raise DataSetError(
            f"{path}: cannot be read ({error.strerror or error}).",
            "Give the folder that `python -m pipeline export DIR --out FOLDER` wrote.",
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataSetError(
            f"{path}: not the manifest of a data set ({reason[:300]}).", "Download or export it again."
        ) from None  # fmt: skip
    if sum(len(each.files) for each in tables.values()) > MAX_FILES:
        raise DataSetError(f"{path}: lists more than {MAX_FILES:,} files.", "Export it again.")
    return DataSet(folder, facts, {name: each for name, each in tables.items() if name != JOINED})


FACTS: dict[str, type | re.Pattern[str] | range] = {
    "study": str,
    "content_hash": re.compile("[0-9a-f]{64}"),
    "schema_version": range(1, 1000),
    "snapshot": range(1, 10**9),
}


def _fact(record: Any, name: str, rule: type | re.Pattern[str] | range) -> Any:
    """A value of the manifest. Raises ValueError where the rule does not allow it."""
    value = record.get(name) if isinstance(record, dict) else None
    if isinstance(rule, type):
        allowed, said = isinstance(value, rule), "a table" if rule is dict else "a text"
    elif isinstance(rule, range):
        allowed, said = type(value) is int and value in rule, f"{rule[0]} to {rule[-1]}"
    else:
        allowed, said = isinstance(value, str) and bool(rule.fullmatch(value)), rule.pattern
    if not allowed:
        raise ValueError(f"{name} is {_shown(value)}; allowed: {said}")
    return value


def _table(name: str, record: Any) -> Table:
    """A table of the manifest. Raises ValueError where it is none."""
    rows, files = _fact(record, "rows", range(2**40)), _fact(record, "files", dict)
    for path, digest in files.items():
        named = FILE.fullmatch(path)
        if named is None or named[1] != name:
            raise ValueError(f"table {_shown(name)} has a file {_shown(path)}; allowed: data/{_shown(name)[1:-1]}/train-00000.parquet")  # fmt: skip
        _fact({path: digest}, path, FACTS["content_hash"])
    return Table(rows, files)


def _shown(value: Any) -> str:
    """A value of somebody else's file, short and without control characters."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def batches(data_set: DataSet, name: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a table in their order, some at a time, in the columns and types of a schema.

    Raises:
        DataSetError: a file is not the manifest's, has other columns or types, or is too large in memory.
    """
    table, rows = data_set.tables[name], 0
    for path in table.files:
        try:
            with _open(data_set.folder, path, table.files[path]) as file:
                for batch in _rows_of(file, schema):
                    rows += len(batch)
                    if rows > table.rows:
                        raise ValueError(f"has more rows than the {table.rows:,} of {MANIFEST}")
                    yield batch
        except OSError as error:  # of Arrow too, which names the place in the file
            raise DataSetError(f"{data_set.folder / path}: {_first_line(error)}.", ADVICE) from None
        except (pa.ArrowException, ValueError, LookupError, OverflowError) as error:
            raise DataSetError(f"{data_set.folder / path}: {_first_line(error)}.", ADVICE) from None
    if rows != table.rows:
        raise DataSetError(
            f"{data_set.folder / MANIFEST}: table {name} has {table.rows:,} rows; its files have {rows:,}.", ADVICE
        )  # fmt: skip


ADVICE = "Download or export the data set again."


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error)
    line = (text.splitlines() or [type(error).__name__])[0][:300]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line).rstrip(".")


def _open(folder: Path, name: str, digest: str) -> BufferedReader:
    """A file of the data set, which is the one of the manifest. Raises OSError or ValueError where it is not."""
    path = folder / name
    for above in (path.parent.parent, path.parent):
        if above.is_symlink():
            raise OSError(f"{above.name} is a link, and links in a data set are not followed")
    if path.is_symlink():
        raise OSError(
            "is a link, and links in a data set are not followed. From the Hub: hf download OWNER/NAME --repo-type dataset --local-dir FOLDER"
        )
    if not is_plain(path):
        raise OSError("is missing" if not os.path.lexists(path) else "is not a regular file")
    file = open_plain(path)
    try:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise ValueError(f"has more than {MAX_FILE:,} bytes")
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ValueError(f"damaged: its sha256 is not that of {MANIFEST}")
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _rows_of(file: BufferedReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, as `schema` has them. Raises ValueError or an ArrowException where that cannot be."""
    with pq.ParquetFile(file) as parquet:
        _refuse_columns(parquet.schema_arrow, schema)
        # Arrow ends the process where it is asked about a damaged column; a read of it raises. This one keeps nothing.
        parquet.scan_contents()
        for group in range(parquet.num_row_groups):
            metadata = parquet.metadata.row_group(group)
            chunks = [metadata.column(c) for c in range(metadata.num_columns)]
            size = max(
                sum(c.total_uncompressed_size for c in chunks), 4 * sum(c.num_values for c in chunks)
            )  # fmt: skip
            if not 0 <= size <= MAX_GROUP:
                raise ValueError(f"a row group has {size:,} bytes in memory; at most {MAX_GROUP:,}")
            count = min(BATCH_ROWS, max(1, BATCH_BYTES * metadata.num_rows // max(size, 1)))
            lengths = _written_out(file, chunks, group, count)
            unread = parquet.iter_batches(count, row_groups=[group], use_threads=False)
            while True:
                if next(lengths, 0) > MAX_BATCH:  # before the batch is unpacked
                    raise ValueError(f"repeats values beyond {MAX_BATCH:,} bytes")
                if (batch := next(unread, None)) is None:
                    break
                yield pa.RecordBatch.from_arrays(
                    [_as(batch.column(field.name), field.type) for field in schema], schema=schema
                )


def _written_out(file: BufferedReader, chunks: list[Any], group: int, count: int) -> Iterator[int]:
    """Bytes of each batch's texts and images, were each written as often as it stands there; nothing where none can be many.

    Parquet keeps a repeated value as a number that points into a dictionary: 1 kB of file can stand for gigabytes. Where
    dictionaries could come to that, they are read a second time without writing out what points into them.
    """
    repeated = [c for c in chunks if c.physical_type == "BYTE_ARRAY" and c.has_dictionary_page]
    if sum(c.num_values * c.total_uncompressed_size for c in repeated) <= MAX_BATCH:
        return
    names = sorted({c.path_in_schema for c in repeated})
    with pq.ParquetFile(file, read_dictionary=names) as parquet:
        for batch in parquet.iter_batches(
            count, row_groups=[group], columns=names, use_threads=False
        ):
            yield sum(_length(column) for column in batch.columns)


def _length(array: Any) -> int:
    if pa.types.is_struct(array.type):
        return sum(_length(child) for child in array.flatten())
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return _length(array.flatten())
    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    lengths = pc.binary_length(array.dictionary).to_numpy(zero_copy_only=False)
    counts = np.bincount(array.indices.drop_null().to_numpy(), minlength=len(lengths))
    return int(np.dot(counts.astype(np.int64), lengths.astype(np.int64)))


def _refuse_columns(schema: pa.Schema, wanted: pa.Schema) -> None:
    """Raises ValueError where a file has other columns than a table, or of other types."""
    unknown = [name for name in schema.names if name not in wanted.names]
    missing = [name for name in wanted.names if schema.names.count(name) != 1]
    if unknown or missing:
        what = f"unknown column {_shown(unknown[0])}" if unknown else f"no column {missing[0]!r}"
        raise ValueError(f"{what}; allowed: {', '.join(wanted.names)}")
    for field in wanted:
        if _kind(schema.field(field.name).type) != _kind(field.type):
            raise ValueError(
                f"column {field.name!r} is {_shown(str(schema.field(field.name).type))}; allowed: {field.type}"
            )


def _kind(kind: pa.DataType) -> str:
    """A type without what differs between writers: large offsets, names of list items, images as Hugging Face stores them."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {_kind(kind.value_type)}"
    if kind == IMAGE:
        return "binary"
    return {"large_string": "string", "large_binary": "binary"}.get(str(kind), str(kind))


IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")  # `path` is a name on somebody else's machine
    column = column.cast(kind)
    column.validate(full=True)  # texts that are not UTF-8, among others
    return column
