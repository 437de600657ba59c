"""Results folders of any size, written without sampling."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bench.studies import CONCEPTS, STEPS, plan_of, study_of
from pipeline.bench.tools import ROOT
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.record import save_plan
from pipeline.results.rows import ROW_HASH, STORED, work_unit_hash
from pipeline.study.plan import Plan, WorkUnit
from pipeline.study.prompts import key_of

NEEDED = 8 * 2**30  # bytes free for the big data


def write_similarities(folder: Path, similarities: int) -> int:
    """A results folder of two models with at least so many similarities, without any sampling. Returns how many."""
    each = (CONCEPTS + 1) * STEPS
    prompts = -(-similarities // (2 * each))
    plan = plan_of(study_of(prompts, STEPS, models=2, unit_prompts=256))
    rng = np.random.default_rng(0)
    write_shards(
        folder,
        plan,
        lambda work_unit: _curves(rng, len(work_unit) * (CONCEPTS + 1), work_unit.model.steps),
    )
    return 2 * prompts * each


Curves = Callable[[WorkUnit], np.ndarray]
"""Similarities of a unit, a row each: of its prompts to themselves, then of each prompt to every concept."""


def write_shards(folder: Path, plan: Plan, curves: Curves, image: bytes | None = None) -> None:
    """A results folder in which every unit of a plan is done, with the curves given and one picture for all."""
    results = Results(folder)
    results.create()
    save_plan(results, plan)
    results.append(
        [
            _write_work_unit(results, work_unit, _rows(plan, work_unit, curves(work_unit), image))
            for work_unit in plan
        ]
    )


def _write_work_unit(results: Results, work_unit: WorkUnit, rows: pa.Table) -> LedgerEntry:
    import hashlib

    buffer = pa.BufferOutputStream()
    pq.write_table(rows, buffer, compression="zstd", version="2.6")
    data = buffer.getvalue()
    (results.shards / f"{work_unit.unit_id}.parquet").write_bytes(data)
    status = (results.shards / f"{work_unit.unit_id}.parquet").stat()
    return LedgerEntry(
        work_unit.unit_id,
        "done",
        rows=len(work_unit),
        bytes=len(data),
        mtime_ns=status.st_mtime_ns,
        sha256=hashlib.sha256(data).hexdigest(),
        content_sha256=work_unit_hash(rows.column(ROW_HASH).to_pylist()),
    )


def _rows(
    plan: Plan, work_unit: WorkUnit, curves: np.ndarray, image: bytes | None = None
) -> pa.Table:
    """Rows of a shard with these curves."""
    n, steps = len(work_unit), work_unit.model.steps
    names = [concept.key for concept in plan.bank.concepts]
    prompt_curves, rest = curves[:n], curves[n:]
    records = pa.StructArray.from_arrays(
        [pa.array(names * n, pa.string()), _lists(rest)], ["concept", "similarity"]
    )
    time_step = {
        "step": pa.array(np.tile(np.arange(steps), n), pa.int32()),
        "timestep": pa.array(np.tile(np.linspace(999, 0, steps), n)),
        **{name: pa.array(np.full(n * steps, 0.5)) for name in ("alpha", "sigma")},
        "log_snr": pa.array(np.tile(np.linspace(-6, 6, steps), n)),
        "call": pa.array(np.ones(n * steps), pa.int32()),
    }
    keys = [prompt.prompt_key for prompt in work_unit.prompts]
    measured: dict[str, Any] = {
        "unit_id": [work_unit.unit_id] * n,
        "model": [work_unit.model.name] * n,
        "prompt_key": keys,
        "prompt_position": [prompt.position for prompt in work_unit.prompts],
        "seed": [work_unit.seed] * n,
        "status": ["done"] * n,
        **{name: [""] * n for name in ("error", "notice", "stage")},
        "seconds": [0.1] * n,
        "width": [64] * n,
        "height": [64] * n,
        "clip_score": prompt_curves[:, -1],
        "image": [image] * n,
        "steps": _listed(pa.StructArray.from_arrays(list(time_step.values()), list(time_step)), n),
        "prompt_similarity": _lists(prompt_curves),
        "trajectories": _listed(records, n),
        ROW_HASH: [key_of(f"{work_unit.unit_id} {key}") for key in keys],
    }
    empty: dict[str, Any] = {
        f.name: [[]] * n if pa.types.is_list(f.type) else [None] * n for f in STORED
    }
    columns = empty | measured
    return pa.table({f.name: _column(columns[f.name], f.type) for f in STORED}, STORED)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def _curves(rng: np.random.Generator, count: int, steps: int) -> np.ndarray:
    """Curves that rise at some step, and noise."""
    onset, rise = rng.uniform(0.2, 0.8, (count, 1)), rng.uniform(0.01, 0.1, (count, 1))
    progress = np.linspace(0, 1, steps)
    curve = 0.15 + rise / (1 + np.exp(-14 * (progress - onset)))
    return (curve + rng.normal(0, 0.003, (count, steps))).astype(np.float32)


def _lists(matrix: np.ndarray) -> pa.Array:
    return _listed(pa.array(matrix.reshape(-1)), len(matrix))


def _listed(values: pa.Array, rows: int) -> pa.Array:
    offsets = np.arange(rows + 1) * (len(values) // rows)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def write_ledger(folder: Path, plan: Plan) -> None:
    """A results folder in which every unit of a plan is done; its shards are links to one file in each 10,000."""
    results = Results(folder)
    results.create()
    status: os.stat_result | None = None
    lines: list[LedgerEntry] = []
    for number, work_unit in enumerate(plan):
        path = f"{results.shards}/{work_unit.unit_id}.parquet"
        if number % 10_000 == 0:
            first = path
            Path(path).write_bytes(b"shard")
            status = os.stat(path)  # noqa: PTH116 - as in storage.py
            results.append(lines)
            lines = []
        else:
            os.link(first, path)
        assert status is not None
        sha256 = "0" * 64
        lines.append(
            LedgerEntry(work_unit.unit_id, "done", 1, 0, 5, status.st_mtime_ns, sha256, sha256)
        )
    results.append(lines)


@contextmanager
def big_folder(needed: int = NEEDED, on_disk: bool = False) -> Iterator[Path]:
    """A folder with room for so many bytes, removed afterwards: in memory where there is enough, else in data/results."""
    memory = Path("/dev/shm")  # noqa: S108 - a place in memory, under a name of our own
    here = ROOT / "data" / "results"
    here.mkdir(parents=True, exist_ok=True)
    roomy = not on_disk and memory.is_dir() and shutil.disk_usage(memory).free > needed
    if not roomy and shutil.disk_usage(here).free < needed:
        raise SystemExit(f"{here}: less than {needed / 2**30:.0f} GiB free for the big data.")
    folder = tempfile.mkdtemp(prefix="bench-", dir=memory if roomy else here)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)
