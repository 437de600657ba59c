"""What looking costs beside plain sampling, and what a big study costs: `make bench-scale`.

Every figure is taken in one run on this machine, each heavy one in a process of its own. Big data is made in memory
(/dev/shm) where there is room, else in data/results, and removed afterwards.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bench import ROOT, Result, peak_mb, seconds, table
from pipeline.concepts import ConceptBank, read_concepts
from pipeline.plan import Plan, Revisions, WorkUnit
from pipeline.prompts import Prompt, key_of
from pipeline.results import save_plan
from pipeline.shards import ROW_HASH, STORED, LedgerEntry, Results, unit_hash
from pipeline.study import (
    ConceptSource,
    Frames,
    Measures,
    ModelSpec,
    PromptSource,
    RunSettings,
    ScorerSpec,
    Study,
    ToolSpec,
)

MODEL = "scenes-unet"
CONCEPTS = 64
STEPS = 30
SHORT = 10  # steps where the number does not matter
BATCH = 8
NEEDED = 8 * 2**30  # bytes free for the big data


def study_of(
    prompts: int,
    steps: int,
    seeds: int = 1,
    models: int = 1,
    measures: Measures | None = None,
    **run: int,
) -> tuple[Study, tuple[Prompt, ...], ConceptBank]:
    """A study of the bundled UNet with so many different prompts and 64 concepts."""
    folder = ROOT / "data" / "models"
    specs = tuple(
        ModelSpec(f"m{i}", f"m{i}", str(folder / MODEL), steps=steps) for i in range(models)
    )
    study = Study(
        name="bench",
        title="bench",
        description="",
        seeds=tuple(range(seeds)),
        prompts=PromptSource(Path("prompts.csv"), "csv", {}),
        scorer=ScorerSpec(str(folder / "scenes-clip")),
        concepts=ConceptSource(ROOT / "data" / "concepts" / "general.toml"),
        run=RunSettings(**{"batch_size": BATCH, "unit_prompts": BATCH, **run}),
        measures=measures or Measures(),
        models=specs,
        path=Path("bench.toml"),
    )
    bank = read_concepts(study.concepts)
    return study, made_prompts(prompts), ConceptBank(bank.name, bank.concepts[:CONCEPTS])


def made_prompts(count: int) -> tuple[Prompt, ...]:
    """So many prompts, all different."""
    texts = (f"a cat left of a rocket on a green background, number {i}" for i in range(count))
    return tuple(
        Prompt(key_of(text), text, f"bench:{i}", "", {}, i) for i, text in enumerate(texts)
    )


def plan_of(parts: tuple[Study, tuple[Prompt, ...], ConceptBank]) -> Plan:
    """The plan of a study whose files stay as they are."""
    study, prompts, bank = parts
    return Plan(study, Revisions({m.name: "bench" for m in study.models}, "bench"), prompts, bank)


# 1. Recording against the plain pipeline.

FULL = Measures(frames=Frames(), attention=ToolSpec())


@dataclass
class Clock:
    """Seconds spent in a kind of work, less what other clocks measured inside it."""

    spent: dict[str, float] = dataclasses.field(default_factory=dict)
    _stack: list[float] = dataclasses.field(default_factory=list)

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            self._stack.append(0.0)
            try:
                return call(*args, **kwargs)
            finally:
                whole, inner = time.perf_counter() - started, self._stack.pop()
                self.spent[name] = self.spent.get(name, 0.0) + whole - inner
                if self._stack:
                    self._stack[-1] += whole

        return timed


@contextmanager
def timed_parts(worker: Any, clock: Clock) -> Iterator[None]:
    """Times the models of a worker and its writing of images."""
    from pipeline import sampling
    from pipeline.attention import WordAccumulator

    pipe, scorer = worker.pipeline, worker.scorer
    places = [
        (pipe.unet, "forward", "denoiser"),
        (pipe.text_encoder, "forward", "text encoder"),
        (pipe.vae, "decode", "decoder"),
        (scorer._model, "encode_image", "scorer"),
        (scorer._model, "encode_text", "scorer"),
        (sampling, "encode", "storage"),
        (WordAccumulator, "finish", "attention"),
    ]
    if worker._decoder is not None:
        places.append((worker._decoder, "decode", "decoder"))
    before = [(place, name, getattr(place, name), name in vars(place)) for place, name, _ in places]
    for place, name, kind in places:
        setattr(place, name, clock.wrap(kind, getattr(place, name)))
    try:
        yield
    finally:
        for place, name, call, own in before:
            setattr(place, name, call) if own else delattr(place, name)


def bench_recording(repeats: int) -> list[Result]:
    """Full recording (x0, 64 concepts, prompt score, attention, frames, shard) against a plain call of the same batch."""
    from pipeline.sampling import Worker, generate
    from pipeline.shards import write_shard

    parts = study_of(BATCH, STEPS, measures=FULL)
    unit = plan_of(parts)[0]
    worker = Worker(parts[0], unit.model, parts[2], "cpu")
    clock, plain_clock = Clock(), Clock()
    with tempfile.TemporaryDirectory() as place:
        results = Results(Path(place))
        results.create()

        def ours() -> None:
            rows = worker.run(unit)
            clock.wrap("storage", write_shard)(results.store, unit.unit_id, rows)

        def plain() -> None:
            generate(worker.pipeline, unit.model, unit.prompts, unit.seed, {})

        plain()
        ours()
        clock.spent.clear()
        on, off = [], []
        for _ in range(repeats):
            with timed_parts(worker, plain_clock):
                off.append(seconds(plain))
            with timed_parts(worker, clock):
                on.append(seconds(ours))
    return _recording_rows(
        statistics.median(on), statistics.median(off), sum(on), clock, plain_clock
    )


def _recording_rows(
    ours: float, plain: float, total: float, clock: Clock, plain_clock: Clock
) -> list[Result]:
    # Attention is read inside the denoiser's call, which costs more than in the plain run, and summed up after it.
    summed = clock.spent["attention"]
    attention = clock.spent["denoiser"] - plain_clock.spent["denoiser"] + summed
    shares = {
        "denoiser": plain_clock.spent["denoiser"],
        "attention": attention,
        **{name: clock.spent[name] for name in ("decoder", "scorer", "text encoder", "storage")},
    }
    models = ("denoiser", "attention", "decoder", "scorer", "text encoder")
    outside = total - sum(clock.spent[name] for name in models)
    told = ", ".join(f"{name} {spent / total:.0%}" for name, spent in shares.items())
    return [
        Result(
            f"full recording, {BATCH} images, {STEPS} steps: {told}",
            "plain pipeline, same batch",
            f"{ours:.2f} s",
            f"{plain:.2f} s",
            f"{ours / plain:.2f}x",
            "at most 1.6x",
            ours / plain <= 1.6,
        ),
        _bar(
            "time outside models", f"{outside / total:.1%}", "at most 5 %", outside / total <= 0.05
        ),
    ]


def _bar(what: str, ours: str, wanted: str, passed: bool, against: str = "") -> Result:
    return Result(what, against, ours, "", "", wanted, passed)


# 2. Ingest and publish.


def write_similarities(folder: Path, similarities: int) -> int:
    """A results folder of two models with at least so many similarities, without any sampling. Returns how many."""
    each = (CONCEPTS + 1) * STEPS
    prompts = -(-similarities // (2 * each))
    made = plan_of(study_of(prompts, STEPS, models=2, unit_prompts=256))
    rng = np.random.default_rng(0)
    write_shards(
        folder, made, lambda unit: _curves(rng, len(unit) * (CONCEPTS + 1), unit.model.steps)
    )
    return 2 * prompts * each


Curves = Callable[[WorkUnit], np.ndarray]
"""Similarities of a unit, a row each: of its prompts to themselves, then of each prompt to every concept."""


def write_shards(folder: Path, made: Plan, curves: Curves, image: bytes | None = None) -> None:
    """A results folder in which every unit of a plan is done, with the curves given and one picture for all."""
    results = Results(folder)
    results.create()
    save_plan(results, made, 0)
    results.append(
        [_write_unit(results, unit, _rows(made, unit, curves(unit), image)) for unit in made]
    )


def _write_unit(results: Results, unit: WorkUnit, rows: pa.Table) -> LedgerEntry:
    import hashlib

    buffer = pa.BufferOutputStream()
    pq.write_table(rows, buffer, compression="zstd", version="2.6")
    data = buffer.getvalue()
    (results.shards / f"{unit.unit_id}.parquet").write_bytes(data)
    status = (results.shards / f"{unit.unit_id}.parquet").stat()
    return LedgerEntry(
        unit.unit_id,
        "done",
        rows=len(unit),
        bytes=len(data),
        mtime_ns=status.st_mtime_ns,
        sha256=hashlib.sha256(data).hexdigest(),
        content_sha256=unit_hash(rows.column(ROW_HASH).to_pylist()),
    )


def _rows(made: Plan, unit: WorkUnit, curves: np.ndarray, image: bytes | None = None) -> pa.Table:
    """Rows of a shard with these curves."""
    n, steps = len(unit), unit.model.steps
    names = [concept.key for concept in made.bank.concepts]
    whole, rest = curves[:n], curves[n:]
    records = pa.StructArray.from_arrays(
        [pa.array(names * n, pa.string()), _lists(rest)], ["concept", "similarity"]
    )
    time_step = {
        "step": pa.array(np.tile(np.arange(steps), n), pa.int32()),
        "timestep": pa.array(np.tile(np.linspace(999, 0, steps), n)),
        **{name: pa.array(np.full(n * steps, 0.5)) for name in ("alpha", "sigma", "log_snr")},
        "call": pa.array(np.ones(n * steps), pa.int32()),
    }
    keys = [prompt.prompt_key for prompt in unit.prompts]
    given: dict[str, Any] = {
        "unit_id": [unit.unit_id] * n,
        "model": [unit.model.name] * n,
        "prompt_key": keys,
        "prompt_position": [prompt.position for prompt in unit.prompts],
        "seed": [unit.seed] * n,
        "status": ["done"] * n,
        **{name: [""] * n for name in ("error", "notice", "stage")},
        "seconds": [0.1] * n,
        "width": [64] * n,
        "height": [64] * n,
        "clip_score": whole[:, -1],
        "image": [image] * n,
        "steps": _listed(pa.StructArray.from_arrays(list(time_step.values()), list(time_step)), n),
        "prompt_similarity": _lists(whole),
        "trajectories": _listed(records, n),
        ROW_HASH: [key_of(f"{unit.unit_id} {key}") for key in keys],
    }
    empty: dict[str, Any] = {
        f.name: [[]] * n if pa.types.is_list(f.type) else [None] * n for f in STORED
    }
    columns = empty | given
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


def bench_publish(similarities: int) -> list[Result]:
    """Ingest and publish, in a process of its own, with its peak memory."""
    with big_folder() as folder:
        count = write_similarities(folder, similarities)
        took, peak = _child("publish", folder)
    share = count / 50_000_000
    return [
        Result(
            f"ingest and publish of {count / 1e6:.1f} million similarities",
            "",
            f"{took:.1f} s",
            "",
            "",
            f"at most {15 * share:.0f} s",
            took <= 15 * share,
        ),
        _bar("its peak memory", f"{peak / 1024:.2f} GB", "at most 2 GB", peak <= 2 * 1024),
    ]


# 3. and 4. A million units.


def million(units: int) -> Plan:
    """A plan of so many units: ten seeds, one prompt in each."""
    return plan_of(study_of(max(1, units // 10), STEPS, seeds=10, unit_prompts=1))


def bench_plan(units: int) -> list[Result]:
    """Planning: every unit and its id."""
    took, peak = _child("plan", str(units))
    return [
        _bar(
            f"planning {units:,} units ({peak / 1024:.2f} GB)",
            f"{took:.1f} s",
            "at most 10 s",
            took <= 10,
        )
    ]


def bench_resume(units: int) -> list[Result]:
    """A run of which all is finished: reads the ledger and looks for every shard."""
    with big_folder() as folder:
        write_ledger(folder, million(units))
        took, peak = _child("resume", folder, str(units))
    return [
        _bar(
            f"resume of a ledger of {units:,} units ({peak / 1024:.2f} GB)",
            f"{took:.1f} s",
            "at most 10 s",
            took <= 10,
        )
    ]


def write_ledger(folder: Path, made: Plan) -> None:
    """A results folder in which every unit of a plan is done; its shards are links to one file in each 10,000."""
    results = Results(folder)
    results.create()
    status: os.stat_result | None = None
    lines: list[LedgerEntry] = []
    for number, unit in enumerate(made):
        path = f"{results.shards}/{unit.unit_id}.parquet"
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
        lines.append(LedgerEntry(unit.unit_id, "done", 1, 0, 5, status.st_mtime_ns, sha256, sha256))
    results.append(lines)


# 5. Memory of a study of ten times the prompts.


def bench_memory(prompts: int) -> list[Result]:
    """Peak of running and publishing a study of so many prompts, and of ten times as many."""
    short, long = (_child("study", str(count))[1] for count in (prompts, 10 * prompts))
    return [
        Result(
            f"peak memory of a study of {10 * prompts:,} prompts, run and published",
            f"{prompts:,} prompts",
            f"{long:.0f} MB",
            f"{short:.0f} MB",
            f"{long / short:.2f}x",
            "at most 1.1x",
            long / short <= 1.1,
        )
    ]


def _run_study(prompts: int) -> None:
    from pipeline import engine
    from pipeline.database.publish import publish

    made = plan_of(
        study_of(prompts, 2, measures=FULL, unit_prompts=4 * BATCH, batch_size=4 * BATCH)
    )
    with tempfile.TemporaryDirectory() as place:
        engine.run(made, Path(place), "cpu")
        publish(Path(place))


# 6. Ray.


def bench_ray(units: int) -> list[Result]:
    """Images a second of two Ray workers with one thread each against one, models loaded."""
    one, two = (_rate(workers, units) for workers in (1, 2))
    return [
        Result(
            f"two Ray workers, one thread each, {units} units of {BATCH} images",
            "one worker",
            f"{two:.2f} images/s",
            f"{one:.2f} images/s",
            f"{two / one:.2f}x",
            "at least 1.7x",
            two / one >= 1.7,
        )
    ]


def _rate(workers: int, units: int) -> float:
    """Images a second while all workers have work: what starts and ends alone is left out."""
    from pipeline import engine

    made = plan_of(study_of(units * BATCH, SHORT))
    with tempfile.TemporaryDirectory() as place:
        real = _with_revisions(made)
        engine.run(real, Path(place), "cpu", engine=engine.Engine("ray", workers, threads=1))
        (log,) = (Path(place) / "logs").glob("run-*.jsonl")
        done = [e for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "unit"]
    if any(event["status"] != "done" for event in done):
        raise RuntimeError(f"units failed: {done[0].get('error')}")
    ends = [_time_of(event) for event in done]
    first = max(
        min(t for t, e in zip(ends, done, strict=True) if e["worker"] == w) for w in range(workers)
    )
    last = min(
        max(t for t, e in zip(ends, done, strict=True) if e["worker"] == w) for w in range(workers)
    )
    inside = [t for t in ends if first < t <= last]
    if not inside:
        raise SystemExit(
            f"{units} units are too few for {workers} workers: give more with --ray-units."
        )
    return BATCH * len(inside) / (last - first)


def _time_of(event: dict[str, Any]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["time"]).timestamp()


def _with_revisions(made: Plan) -> Plan:
    from pipeline.plan import find_revisions

    return Plan(made.study, find_revisions(made.study), made.prompts, made.bank)


# 7. Cost is a line.


def bench_lines(factors: Sequence[int] = (1, 2, 4, 8)) -> list[Result]:
    """Seconds against prompts, steps and masks: how well a straight line fits, and what one more costs."""
    from pipeline.sampling import Worker

    found = []
    for what, one, make in (
        ("prompts", 8, lambda n: study_of(n, 10, measures=FULL, unit_prompts=n, batch_size=8)),
        ("steps", 10, lambda n: study_of(4, n, measures=FULL)),
        ("masks", 32, lambda n: study_of(1, 10, measures=_rise(n))),
    ):
        sizes = [one * factor for factor in factors]
        times = []
        for size in sizes:
            parts = make(size)
            unit = plan_of(parts)[0]
            with Worker(parts[0], unit.model, parts[2], "cpu") as worker:
                worker.run(unit)
                times.append(min(seconds(partial(worker.run, unit)) for _ in range(3)))
        found.append(_line(what, sizes, times))
    return found


def _rise(masks: int) -> Measures:
    return Measures(df_rise=ToolSpec(steps=(5,), options={"masks": masks}))


def _line(what: str, sizes: Sequence[int], times: Sequence[float]) -> Result:
    slope, start = np.polyfit(sizes, times, 1)
    fitted = slope * np.asarray(sizes) + start
    spread = float(((np.asarray(times) - np.mean(times)) ** 2).sum())
    r2 = 1 - float(((np.asarray(times) - fitted) ** 2).sum()) / spread
    told = ", ".join(f"{size}: {took:.2f} s" for size, took in zip(sizes, times, strict=True))
    return Result(
        f"cost over {what} ({told})",
        "",
        f"{start:.2f} s + {1000 * slope:.1f} ms each",
        "",
        f"R2 = {r2:.4f}",
        "R2 at least 0.99",
        r2 >= 0.99,
    )


# 8. Recording on a GPU.


def _on_cuda(repeats: int) -> list[Result]:
    import torch

    if not torch.cuda.is_available():
        print("cuda left out: no CUDA GPU", file=sys.stderr)
        return []
    from pipeline.bench_cuda import bench_cuda

    return bench_cuda(repeats)


# Processes and places.


@contextmanager
def big_folder() -> Iterator[Path]:
    """A folder with room, removed afterwards: in memory where there is enough, else in data/results."""
    memory = Path("/dev/shm")  # noqa: S108 - a place in memory, under a name of our own
    here = ROOT / "data" / "results"
    here.mkdir(parents=True, exist_ok=True)
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > NEEDED
    if not roomy and shutil.disk_usage(here).free < NEEDED:
        raise SystemExit(f"{here}: less than {NEEDED / 2**30:.0f} GiB free for the big data.")
    place = tempfile.mkdtemp(prefix="bench-", dir=memory if roomy else here)
    try:
        yield Path(place)
    finally:
        shutil.rmtree(place)


def _child(what: str, *arguments: Path | str) -> tuple[float, float]:
    """Does something in a process of its own. Returns: seconds, peak memory in MB."""
    command = [sys.executable, "-m", "pipeline.bench_scale", "--child", what, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    took, peak = done.stdout.split()[-2:]
    return float(took), float(peak)


def child(what: str, arguments: Sequence[str]) -> None:
    """What a process of its own does; prints seconds and peak memory in MB."""
    took = seconds(_CHILDREN[what](*arguments))
    print(took, peak_mb())


def _publish(folder: str) -> Callable[[], Any]:
    from pipeline.database.publish import publish

    return lambda: publish(Path(folder))


def _plan(units: str) -> Callable[[], Any]:
    parts = study_of(int(units) // 10, STEPS, seeds=10, unit_prompts=1)
    return lambda: sum(1 for _ in plan_of(parts))


def _resume(folder: str, units: str) -> Callable[[], Any]:
    from pipeline import engine

    made = million(int(units))

    def act() -> None:
        outcome = engine.run(made, Path(folder), "cpu")
        assert outcome.kept == len(made) and outcome.units == 0

    return act


def _study(prompts: str) -> Callable[[], Any]:
    return lambda: _run_study(int(prompts))


_CHILDREN: dict[str, Callable[..., Callable[[], Any]]] = {
    "publish": _publish,
    "plan": _plan,
    "resume": _resume,
    "study": _study,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; exits 1 if a bar is not met."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench_scale", description=__doc__)
    parser.add_argument("--similarities", type=int, default=50_000_000, metavar="N")
    parser.add_argument("--units", type=int, default=1_000_000, metavar="N")
    parser.add_argument(
        "--prompts", type=int, default=200, metavar="N", help="of the smaller study"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--ray-units", type=int, default=16, metavar="N")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="of: recording publish plan resume memory ray lines cuda",
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        child(given.child[0], given.child[1:])
        return 0
    benches: dict[str, Callable[[], list[Result]]] = {
        "recording": lambda: bench_recording(given.repeats),
        "publish": lambda: bench_publish(given.similarities),
        "plan": lambda: bench_plan(given.units),
        "resume": lambda: bench_resume(given.units),
        "memory": lambda: bench_memory(given.prompts),
        "ray": lambda: bench_ray(given.ray_units),
        "lines": bench_lines,
        "cuda": lambda: _on_cuda(given.repeats),
    }
    results: list[Result] = []
    for name, bench in benches.items():
        if not given.only or name in given.only:
            results += bench()
            print(f"{name} done", file=sys.stderr)
    print(table(results))
    return 1 if any(result.passed is False for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
