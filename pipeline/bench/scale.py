"""What looking costs beside plain sampling, and what a big study costs: `make bench-scale`.

Every figure is taken in one run on this machine, each heavy one in a process of its own. Big data is made in memory
(/dev/shm) where there is room, else in data/results, and removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.folders import big_folder, write_ledger, write_similarities
from pipeline.bench.imports import bench_imports
from pipeline.bench.recording import bar, bench_recording
from pipeline.bench.studies import BATCH, FULL, SHORT, STEPS, plan_of, study_of
from pipeline.bench.tools import ROOT, Result, peak_mb, seconds, table
from pipeline.study.plan import Plan
from pipeline.study.spec import (
    Measures,
    ToolSpec,
)


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
        bar("its peak memory", f"{peak / 1024:.2f} GB", "at most 2 GB", peak <= 2 * 1024),
    ]


def million(work_units: int) -> Plan:
    """A plan of so many units: ten seeds, one prompt in each."""
    return plan_of(study_of(max(1, work_units // 10), STEPS, seeds=10, unit_prompts=1))


def bench_plan(work_units: int) -> list[Result]:
    """Planning: every unit and its id."""
    took, peak = _child("plan", str(work_units))
    return [
        bar(
            f"planning {work_units:,} units ({peak / 1024:.2f} GB)",
            f"{took:.1f} s",
            "at most 10 s",
            took <= 10,
        )
    ]


def bench_resume(work_units: int) -> list[Result]:
    """A run of which all is finished: reads the ledger and looks for every shard."""
    with big_folder() as folder:
        write_ledger(folder, million(work_units))
        took, peak = _child("resume", folder, str(work_units))
    return [
        bar(
            f"resume of a ledger of {work_units:,} units ({peak / 1024:.2f} GB)",
            f"{took:.1f} s",
            "at most 10 s",
            took <= 10,
        )
    ]


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
    from pipeline.database.publish import publish
    from pipeline.engine import run

    plan = plan_of(
        study_of(prompts, 2, measures=FULL, unit_prompts=4 * BATCH, batch_size=4 * BATCH)
    )
    with tempfile.TemporaryDirectory() as folder:
        run.run(plan, Path(folder), "cpu")
        publish(Path(folder))


def bench_ray(work_units: int) -> list[Result]:
    """Images a second of two Ray workers with one thread each against one, models loaded."""
    one, two = (_rate(workers, work_units) for workers in (1, 2))
    return [
        Result(
            f"two Ray workers, one thread each, {work_units} units of {BATCH} images",
            "one worker",
            f"{two:.2f} images/s",
            f"{one:.2f} images/s",
            f"{two / one:.2f}x",
            "at least 1.7x",
            two / one >= 1.7,
        )
    ]


def _rate(workers: int, work_units: int) -> float:
    """Images a second while all workers have work: what starts and ends alone is left out."""
    from pipeline.engine import run

    plan = plan_of(study_of(work_units * BATCH, SHORT))
    with tempfile.TemporaryDirectory() as folder:
        real = _with_revisions(plan)
        run.run(real, Path(folder), "cpu", engine=run.Engine("ray", workers, threads=1))
        (log,) = (Path(folder) / "logs").glob("run-*.jsonl")
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
            f"{work_units} units are too few for {workers} workers: give more with --ray-units."
        )
    return BATCH * len(inside) / (last - first)


def _time_of(event: dict[str, Any]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["time"]).timestamp()


def _with_revisions(plan: Plan) -> Plan:
    from pipeline.study.plan import find_revisions

    return Plan(plan.study, find_revisions(plan.study), plan.prompts, plan.bank)


def bench_lines(factors: Sequence[int] = (1, 2, 4, 8)) -> list[Result]:
    """Seconds against prompts, steps and masks: how well a straight line fits, and what one more costs."""
    from pipeline.engine.worker import Worker

    lines = []
    for what, one, make in (
        ("prompts", 8, lambda n: study_of(n, 10, measures=FULL, unit_prompts=n, batch_size=8)),
        ("steps", 10, lambda n: study_of(4, n, measures=FULL)),
        ("masks", 32, lambda n: study_of(1, 10, measures=_rise(n))),
    ):
        sizes = [one * factor for factor in factors]
        times = []
        for size in sizes:
            parts = make(size)
            work_unit = plan_of(parts)[0]
            with Worker(parts[0], work_unit.model, parts[2], "cpu") as worker:
                worker.run(work_unit)
                times.append(min(seconds(partial(worker.run, work_unit)) for _ in range(3)))
        lines.append(fitted_line(what, sizes, times))
    return lines


def _rise(masks: int) -> Measures:
    return Measures(df_rise=ToolSpec(steps=(5,), options={"masks": masks}))


def fitted_line(what: str, sizes: Sequence[int], times: Sequence[float]) -> Result:
    """How well seconds against a size are a straight line, and what one more costs."""
    slope, start = np.polyfit(sizes, times, 1)
    fitted = slope * np.asarray(sizes) + start
    spread = float(((np.asarray(times) - np.mean(times)) ** 2).sum())
    r2 = 1 - float(((np.asarray(times) - fitted) ** 2).sum()) / spread
    times_text = ", ".join(f"{size}: {took:.2f} s" for size, took in zip(sizes, times, strict=True))
    return Result(
        f"cost over {what} ({times_text})",
        "",
        f"{start:.2f} s + {1000 * slope:.1f} ms each",
        "",
        f"R2 = {r2:.4f}",
        "R2 at least 0.99",
        r2 >= 0.99,
    )


def _waits() -> list[Result]:
    from pipeline.bench.waits import bench_waits

    return bench_waits()


def _on_cuda(repeats: int) -> list[Result]:
    import torch

    if not torch.cuda.is_available():
        print("cuda left out: no CUDA GPU", file=sys.stderr)
        return []
    from pipeline.bench.cuda import bench_cuda

    return bench_cuda(repeats)


def _child(what: str, *arguments: Path | str) -> tuple[float, float]:
    """Does something in a process of its own. Returns: seconds, peak memory in MB."""
    command = [sys.executable, "-m", f"{__package__}.scale", "--child", what, *map(str, arguments)]
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


def _plan(work_units: str) -> Callable[[], Any]:
    parts = study_of(int(work_units) // 10, STEPS, seeds=10, unit_prompts=1)
    return lambda: sum(1 for _ in plan_of(parts))


def _resume(folder: str, work_units: str) -> Callable[[], Any]:
    from pipeline.engine import run

    plan = million(int(work_units))

    def act() -> None:
        outcome = run.run(plan, Path(folder), "cpu")
        assert outcome.stored_before == len(plan) and outcome.work_units == 0

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
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.scale", description=__doc__)
    parser.add_argument("--similarities", type=int, default=50_000_000, metavar="N")
    parser.add_argument("--units", dest="work_units", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--prompts", type=int, default=200, metavar="N", help="of the smaller study")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--images", type=int, default=4_000, metavar="N", help="of an import")
    parser.add_argument("--ray-units", dest="ray_work_units", type=int, default=16, metavar="N")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="of: recording waits publish plan resume memory imports ray lines cuda",
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.child[0], options.child[1:])
        return 0
    benches: dict[str, Callable[[], list[Result]]] = {
        "recording": lambda: bench_recording(options.repeats),
        "waits": _waits,
        "publish": lambda: bench_publish(options.similarities),
        "plan": lambda: bench_plan(options.work_units),
        "resume": lambda: bench_resume(options.work_units),
        "memory": lambda: bench_memory(options.prompts),
        "imports": lambda: bench_imports(options.images),
        "ray": lambda: bench_ray(options.ray_work_units),
        "lines": bench_lines,
        "cuda": lambda: _on_cuda(options.repeats),
    }
    results: list[Result] = []
    for name, bench in benches.items():
        if not options.only or name in options.only:
            results += bench()
            print(f"{name} done", file=sys.stderr)
    print(table(results))
    return 1 if any(result.passed is False for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
