"""Refuses Parquet files that are small on the disk and endless in memory, before they are unpacked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MAX_UNPACKED = 2**32  # bytes in memory; a shard of 65,536 prompts stays far below


def refuse_bomb(
    file: pq.ParquetFile,
    source: bytes | Path,
    rows: int,
    unpacked: int = MAX_UNPACKED,
    columns: Collection[str] = (),
) -> None:
    """Refuses what says that it unpacks to more than is honest, or would without saying so.

    Args:
        file: the open file.
        source: its bytes, or its path, to look into it a second time.
        rows: allowed.
        unpacked: bytes allowed.
        columns: that will be read; none = all.

    Raises:
        ValueError: says how much it would be.
        pyarrow.ArrowException, OSError: it is damaged.
    """
    metadata = file.metadata
    chunks = [
        metadata.row_group(g).column(c)
        for g in range(metadata.num_row_groups)
        for c in range(metadata.num_columns)
    ]
    if columns:
        chunks = [c for c in chunks if c.path_in_schema.split(".")[0] in columns]
    # Nulls and numbers cost bytes only when they are read: count values as well as bytes.
    least = max(
        sum(c.total_uncompressed_size for c in chunks), 4 * sum(c.num_values for c in chunks)
    )
    if metadata.num_rows > rows or not 0 <= least <= unpacked:
        raise ValueError(
            f"unpacks to {metadata.num_rows:,} rows and {least:,} bytes or more; at most {rows:,} and {unpacked:,}"
        )
    _refuse_repeats(source, chunks, unpacked)


def _refuse_repeats(source: bytes | Path, chunks: Sequence[Any], most: int) -> None:
    """Refuses one long value, stored once, that is repeated until memory ends.

    Parquet keeps a repeated value as a number that points into a dictionary: 1.3 kB of file can stand for gigabytes. Only
    where dictionaries could come to that, they are read without writing out what points into them.
    """
    repeated = [c for c in chunks if c.physical_type == "BYTE_ARRAY" and c.has_dictionary_page]
    if sum(c.num_values * c.total_uncompressed_size for c in repeated) <= most:
        return
    names = sorted({c.path_in_schema for c in repeated})
    readable = pa.BufferReader(source) if isinstance(source, bytes) else source
    with pq.ParquetFile(readable, read_dictionary=names) as file:
        table = file.read(columns=names, use_threads=False)
    total = sum(_written_out(chunk) for column in table.columns for chunk in column.chunks)
    if total > most:
        raise ValueError(f"repeats values until they are {total:,} bytes; at most {most:,}")


def _written_out(array: Any) -> int:
    """Bytes of an array's texts and images, were each written as often as it stands there."""
    if pa.types.is_struct(array.type):
        return sum(_written_out(child) for child in array.flatten())
    if pa.types.is_list(array.type):
        return _written_out(array.flatten())
    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    lengths = pc.binary_length(array.dictionary).to_numpy(zero_copy_only=False)
    counts = np.bincount(array.indices.drop_null().to_numpy(), minlength=len(lengths))
    return int(np.dot(counts.astype(np.int64), lengths.astype(np.int64)))
