"""Images in Parquet files, as Hugging Face stores them: a struct with the encoded bytes. Read row by row, within limits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ModelError
from pipeline.study.image_files import MAX_FILES, MAX_IMAGE, describe, open_below
from pipeline.study.settings import show
from pipeline.study.unpacking import refuse_bomb

MAX_TABLE = 2**36  # bytes of a file
MAX_GROUP = 2**30  # bytes of the images of one row group in memory
SMALL = ("prompt", "text", "caption", "prompt_key", "key", "seed")  # columns that are read whole
BATCH = 4096


def table_records(root: Path, name: str, title: str) -> Iterator[Mapping[str, Any]]:
    """The texts, keys and seeds of a file's rows, without the images.

    Raises:
        ModelError: it cannot be read, has no column of images, or unpacks to more than is read.
    """
    try:
        with open_below(root, name, MAX_TABLE) as source, pq.ParquetFile(source) as file:
            _refuse_groups(file, image_column(file.schema_arrow))
            columns = [column for column in file.schema_arrow.names if column in SMALL]
            refuse_bomb(file, root / name, MAX_FILES, columns=columns or ["-"])
            for batch in file.iter_batches(batch_size=BATCH, columns=columns, use_threads=False):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ModelError(
            f"{title}: {show(name)} cannot be read as Parquet with images: {describe(error)}."
        ) from None


def image_column(schema: pa.Schema) -> str:
    """The column of encoded images: a struct with `bytes`, as Hugging Face writes it, or bytes.

    Raises:
        ValueError: there is none, or more than one.
    """
    columns = [field.name for field in schema if _holds_images(field.type)]
    if len(columns) > 1 and "image" in columns:
        columns = ["image"]
    if len(columns) != 1:
        names = ", ".join(columns or schema.names[:20])[:300]
        raise ValueError(
            f"{'no' if not columns else 'more than one'} column of images with bytes (found: {names})"
        )
    return columns[0]


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(f.name == "bytes" and _is_bytes(f.type) for f in kind)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _refuse_groups(file: pq.ParquetFile, column: str) -> None:
    """Refuses row groups whose images would take more memory than is honest. Raises ValueError."""
    metadata = file.metadata
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = (group.column(index) for index in range(group.num_columns))
        size = sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema.split(".")[0] == column
        )
        if not 0 <= size <= MAX_GROUP:
            raise ValueError(
                f"row group {number} unpacks to {size:,} bytes of images, at most {MAX_GROUP:,}; write smaller row groups"
            )


class TableImages:
    """Encoded images of Parquet files by row. Rows that are asked for in order are read in one pass, one at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._name = ""
        self._file: pq.ParquetFile | None = None
        self._column = ""
        self._starts: list[int] = []
        self._group, self._next = -1, 0
        self._rows: Iterator[pa.RecordBatch] = iter(())

    def close(self) -> None:
        """Closes the file that is open."""
        file, self._file = self._file, None
        if file is not None:
            file.close(force=True)

    def read(self, name: str, row: int) -> bytes:
        """The bytes of a row's image.

        Raises:
            OSError: the file cannot be read, or the row has no image, or one that is too big.
        """
        try:
            if self._file is None or name != self._name:
                self._open(name)
            group = bisect_right(self._starts, row) - 1
            if group != self._group or row < self._next:
                self._rewind(group)
            while self._next < row:
                self._take()
            value = self._take()
        except (pa.ArrowException, ValueError, StopIteration, IndexError) as error:
            self._group = -1
            raise OSError(f"cannot be read as Parquet with images: {describe(error)}") from None
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise OSError("has no bytes")
        if len(data) > MAX_IMAGE:
            raise OSError(f"has {len(data):,} bytes, at most {MAX_IMAGE:,} are read")
        return data

    def _open(self, name: str) -> None:
        self.close()
        file = pq.ParquetFile(open_below(self._root, name, MAX_TABLE), pre_buffer=False)
        self._file, self._name, self._group = file, name, -1
        self._column = image_column(file.schema_arrow)
        _refuse_groups(file, self._column)
        metadata = file.metadata
        sizes = (metadata.row_group(n).num_rows for n in range(metadata.num_row_groups))
        self._starts = list(accumulate(sizes, initial=0))[:-1]

    def _rewind(self, group: int) -> None:
        assert self._file is not None
        # One row at a time: a value that is stored once and repeated costs its own size, not that of all rows.
        self._rows = self._file.iter_batches(
            batch_size=1, row_groups=[group], columns=[self._column], use_threads=False
        )
        self._group, self._next = group, self._starts[group]

    def _take(self) -> Any:
        batch = next(self._rows)
        self._next += 1
        return batch.column(0)[0].as_py()
