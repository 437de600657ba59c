"""The newest images of a run in progress, from its shards. No Streamlit.

A shard may be a stranger's: it is read by DuckDB in memory, within limits of size, rows and time. (Arrow ends the process where it is asked about a damaged column.)
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import duckdb
from PIL import Image

from app.database.plain_files import is_plain
from app.database.snapshots import SANDBOX
from app.database.statements import SQL

LARGEST_SHARD = 2**30  # bytes of a file that is opened
LARGEST_IMAGE = 4 * 2**20  # bytes of a stored image
LONGEST_SIDE = 4096  # px of an image that is decoded
MOST = 4  # images of a shard
WORK_UNIT = re.compile(r"[0-9a-f]{32}")
LIMITS = {
    **{key: value for key, value in SANDBOX.items() if key != "enable_external_access"},
    "memory_limit": "256MB",
    "threads": "1",
    "max_execution_time": "2000",
}
"""The one statement is this file's, and a Parquet file names no other file; its path is a parameter."""


@dataclass(frozen=True)
class Finished:
    """An image that a run has sampled.

    Attributes:
        model: its name.
        seed: of the sample.
        image: PNG, as long as `side` at most.
    """

    model: str
    seed: int
    image: bytes


def images(results: Path, work_unit: str, side: int) -> tuple[Finished, ...]:
    """The first images of a finished work unit; none where its shard is missing, damaged or too large.

    Args:
        results: the results folder.
        work_unit: its id, from the run's log.
        side: longest side of what is returned, in px.
    """
    file = results / "shards" / f"{work_unit}.parquet"
    if not WORK_UNIT.fullmatch(work_unit) or not is_plain(file):
        return ()
    try:
        if file.stat().st_size > LARGEST_SHARD:
            return ()
        rows = _rows(file)
    except (duckdb.Error, OSError, ValueError, MemoryError):
        return ()
    small = ((str(model), int(seed), reduced(bytes(image), side)) for model, seed, image in rows)
    return tuple(Finished(model, seed, image) for model, seed, image in small if image)


def _rows(file: Path) -> list[tuple[str, int, bytes]]:
    path = str(file.resolve())
    with duckdb.connect(config=LIMITS) as connection:
        text = (SQL / "finished_images.sql").read_text(encoding="utf-8")
        asked = {"file": path, "most": MOST, "largest": LARGEST_IMAGE}
        return connection.execute(text, asked).fetchall()


def reduced(data: bytes, side: int) -> bytes:
    """An image of a stranger no larger than some pixels; nothing where it is none.

    Args:
        data: WebP, PNG or JPEG.
        side: the longest side in px; a larger image becomes WebP, others are left as they are.
    """
    out = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP", "PNG", "JPEG")) as picture:
            if max(picture.size) > LONGEST_SIDE:
                return b""
            small = picture.convert("RGB")
        if max(small.size) <= side:
            return data
        small.thumbnail((side, side))
        small.save(out, "WEBP", quality=80)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""
    return out.getvalue()
