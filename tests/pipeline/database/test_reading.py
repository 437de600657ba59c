"""How far shards are read ahead of their insertion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from pipeline.database import reading
from pipeline.database.build import Build
from pipeline.database.reading import Shard
from pipeline.study.spec import ModelSpec


@pytest.mark.parametrize(
    ("bytes_each", "most"),
    [(reading.CHUNK_BYTES, 1), (reading.CHUNK_BYTES // 4, 4), (100, reading.AT_ONCE)],
)
def test_large_shards_are_not_read_many_at_a_time(
    monkeypatch: pytest.MonkeyPatch, bytes_each: int, most: int
) -> None:
    """Those that are read and not yet taken: at most a chunk's bytes, at least one shard. Damaged ones are noted in order."""
    read: list[int] = []

    def read_one(build: Build, number: int) -> Shard:
        read.append(number)
        table = pa.table({"bytes": np.zeros(bytes_each // 8)})
        work_unit = cast(Any, SimpleNamespace(unit_id=str(number)))
        return Shard(work_unit, None, 0, "cut") if number % 7 == 3 else Shard(work_unit, table, 1)

    monkeypatch.setattr(reading, "_read_work_unit", read_one)
    build = cast(
        Build, SimpleNamespace(plan=SimpleNamespace(of_model=lambda _: iter(range(60))), damaged={})
    )
    ahead, taken = [], []
    with ThreadPoolExecutor(2) as threads:
        for shard in reading._read_shards(build, cast(ModelSpec, None), threads):
            taken.append(int(shard.work_unit.unit_id))
            ahead.append(len(read) - len(taken) + 1)
    assert taken == list(range(60)) and max(ahead) == most
    assert list(build.damaged) == [str(number) for number in range(60) if number % 7 == 3]
