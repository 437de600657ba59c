"""What full recording costs beside a plain run of the same batch, and where the time goes."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.bench.studies import BATCH, FULL, STEPS, plan_of, study_of
from pipeline.bench.tools import Result, seconds
from pipeline.results.folder import Results


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
                elapsed, inner = time.perf_counter() - started, self._stack.pop()
                self.spent[name] = self.spent.get(name, 0.0) + elapsed - inner
                if self._stack:
                    self._stack[-1] += elapsed

        return timed


@contextmanager
def timed_parts(worker: Any, clock: Clock) -> Iterator[None]:
    """Times the models of a worker and its writing of images."""
    from pipeline.engine import worker as sampling
    from pipeline.explain.word_attention import WordAccumulator

    pipe, scorer = worker.pipeline, worker.scorer
    parts = [
        (pipe.unet, "forward", "denoiser"),
        (pipe.text_encoder, "forward", "text encoder"),
        (pipe.vae, "decode", "decoder"),
        (scorer._model, "encode_image", "scorer"),
        (scorer._model, "encode_text", "scorer"),
        (sampling, "wait_for_pictures", "storage"),
        (WordAccumulator, "finish", "attention"),
    ]
    if worker._decoder is not None:
        parts.append((worker._decoder, "decode", "decoder"))
    before = [(owner, name, getattr(owner, name), name in vars(owner)) for owner, name, _ in parts]
    for owner, name, kind in parts:
        setattr(owner, name, clock.wrap(kind, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, call, overridden in before:
            setattr(owner, name, call) if overridden else delattr(owner, name)


def bench_recording(repeats: int) -> list[Result]:
    """Full recording (x0, 64 concepts, prompt score, attention, frames, shard) against a plain call of the same batch."""
    from pipeline.diffusion.generate import generate
    from pipeline.engine.worker import Worker
    from pipeline.results.shards import write_shard

    parts = study_of(BATCH, STEPS, measures=FULL)
    work_unit = plan_of(parts)[0]
    worker = Worker(parts[0], work_unit.model, parts[2], "cpu")
    clock, plain_clock = Clock(), Clock()
    with tempfile.TemporaryDirectory() as folder:
        results = Results(Path(folder))
        results.create()

        def ours() -> None:
            rows = worker.run(work_unit)
            clock.wrap("storage", write_shard)(results.store, work_unit.unit_id, rows)

        def plain() -> None:
            generate(worker.pipeline, work_unit.model, work_unit.prompts, work_unit.seed, {})

        plain()
        ours()
        clock.spent.clear()
        on, off = [], []
        for _ in range(repeats):
            with timed_parts(worker, plain_clock):
                off.append(seconds(plain))
            with timed_parts(worker, clock):
                on.append(seconds(ours))
    return recording_rows(
        statistics.median(on), statistics.median(off), sum(on), clock, plain_clock
    )


def recording_rows(
    ours: float, plain: float, total: float, clock: Clock, plain_clock: Clock
) -> list[Result]:
    """The lines of the table, from the seconds of a recorded and a plain run and of their parts."""
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
    shares_text = ", ".join(f"{name} {spent / total:.0%}" for name, spent in shares.items())
    return [
        Result(
            f"full recording, {BATCH} images, {STEPS} steps: {shares_text}",
            "plain pipeline, same batch",
            f"{ours:.2f} s",
            f"{plain:.2f} s",
            f"{ours / plain:.2f}x",
            "at most 1.6x",
            ours / plain <= 1.6,
        ),
        bar(
            "time outside models", f"{outside / total:.1%}", "at most 5 %", outside / total <= 0.05
        ),
    ]


def bar(what: str, ours: str, wanted: str, passed: bool, against: str = "") -> Result:
    """A line of the table whose target is no ratio."""
    return Result(what, against, ours, "", "", wanted, passed)
