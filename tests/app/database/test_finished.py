"""The newest images of a run: those of its shards, whatever else lies there."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.database import finished, runs

WORK_UNIT = "0123456789abcdef" * 2


def picture(side: int = 8, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(out, kind)
    return out.getvalue()


def shard(folder: Path, images: list[bytes | None], status: str = "done") -> Path:
    file = folder / "shards" / f"{WORK_UNIT}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    count = len(images)
    columns = {
        "model": ["m"] * count,
        "seed": [3] * count,
        "status": [status] * count,
        "image": images,
    }
    pq.write_table(pa.table(columns), file)
    return file


def test_the_images_of_the_last_work_units_are_those_of_their_shards(results: Path) -> None:
    newest = runs.progress(results).newest  # type: ignore[union-attr]
    assert len(newest) == runs.NEWEST
    for work_unit in newest:
        rows = pq.read_table(results / "shards" / f"{work_unit}.parquet").to_pylist()
        wanted = [row for row in rows if row["status"] == "done"][: finished.MOST]
        got = finished.images(results, work_unit, 64)
        assert [(each.model, each.seed) for each in got] == [
            (r["model"], r["seed"]) for r in wanted
        ]
        for each, row in zip(got, wanted, strict=True):
            seen, stored = (
                Image.open(io.BytesIO(b)).convert("RGB") for b in (each.image, row["image"])
            )
            assert seen.tobytes() == stored.tobytes(), "not enlarged, and lossless"


def test_an_image_is_made_small(tmp_path: Path) -> None:
    shard(tmp_path, [picture(300, "WEBP")] * 9)
    got = finished.images(tmp_path, WORK_UNIT, 64)
    assert len(got) == finished.MOST
    assert {Image.open(io.BytesIO(each.image)).size for each in got} == {(64, 64)}


@pytest.mark.parametrize(
    "image",
    [None, b"", b"<svg onload=alert(1)>", b"RIFF0000WEBP", picture(finished.LONGEST_SIDE + 1), b"\x89PNG\r\n\x1a\n" + b"\0" * 50],
)  # fmt: skip
def test_what_is_no_image_is_left_out(image: bytes | None, tmp_path: Path) -> None:
    shard(tmp_path, [image, picture()])
    assert len(finished.images(tmp_path, WORK_UNIT, 64)) == 1


def test_failed_samples_are_left_out(tmp_path: Path) -> None:
    shard(tmp_path, [picture()], status="failed")
    assert finished.images(tmp_path, WORK_UNIT, 64) == ()


@pytest.mark.parametrize("name", ["../x", "", "x" * 32, WORK_UNIT + "*", "/etc/passwd"])
def test_only_the_id_of_a_work_unit_names_a_shard(name: str, tmp_path: Path) -> None:
    shard(tmp_path, [picture()])
    assert finished.images(tmp_path, name, 64) == ()


def test_no_link_is_followed(tmp_path: Path) -> None:
    file = shard(tmp_path / "other", [picture()])
    (tmp_path / "a" / "shards").mkdir(parents=True)
    (tmp_path / "a" / "shards" / file.name).symlink_to(file)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "shards").symlink_to(file.parent)
    (tmp_path / "c" / "shards").mkdir(parents=True)
    os.mkfifo(tmp_path / "c" / "shards" / file.name)
    for name in "abc":
        assert finished.images(tmp_path / name, WORK_UNIT, 64) == ()


def test_damaged_shards_give_nothing_and_end_nothing(tmp_path: Path) -> None:
    good = shard(tmp_path, [picture(40), picture(50)]).read_bytes()
    chance = random.Random(7)
    for turn in range(150):
        bad = bytearray(good[: chance.randrange(4, len(good))] if turn % 3 == 0 else good)
        for _ in range(chance.randrange(1, 12)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        (tmp_path / "shards" / f"{WORK_UNIT}.parquet").write_bytes(bytes(bad))
        assert len(finished.images(tmp_path, WORK_UNIT, 64)) <= 2
