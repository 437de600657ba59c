"""How often recording makes the host wait for an accelerator, counted on a stand-in: `python -m pipeline.bench.waits MODEL`.

Counted are the calls of `pipeline.bench.accelerator.WAITS` from the return of a run's first `scheduler.step` to the return of its
last, on the pipeline alone and with recording. The stand-in stays in its process, so a count has one of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from torch import nn

from pipeline.bench.accelerator import LATER, WAITS, Accelerator, OnDevice, move, register
from pipeline.bench.recording import bar
from pipeline.bench.studies import plan_of, study_of
from pipeline.bench.tools import ROOT, Result
from pipeline.diffusion.generate import generate
from pipeline.engine.worker import Worker
from pipeline.study.spec import Frames, Measures, ModelSpec, ToolSpec

IMAGES = 2
WARM, STEPS = (
    2,
    (4, 8),
)  # in the first run, indices are copied to the device that later ones use again
MODELS = ("scenes-unet", "scenes-dit")
_MAPS = ToolSpec(options={"maps": True})
MEASURES = {
    "scores": Measures(),
    "frames": Measures(frames=Frames()),
    "attention": Measures(attention=_MAPS),
    "concepts": Measures(concept_attention=_MAPS),
    "all": Measures(
        frames=Frames(), attention=_MAPS, concept_attention=_MAPS, spectrum=True, embeddings=True
    ),
}


def bench_waits() -> list[Result]:
    """Waits a batch of each kind of measure, those of the pipeline itself taken off; at most one is wanted."""
    results = []
    for model in MODELS:
        counts = count_apart(model)
        waits = ours(counts)
        plain = "; ".join(f"{counts['plain'][str(n)]['waits']} in {n} steps" for n in STEPS)
        named = ", ".join(f"{name} {count}" for name, count in waits.items())
        results.append(
            bar(
                f"host waits between the first and the last step of {model}, the pipeline's taken off: {named}",
                f"{max(waits[name] for name in waits if name != 'all')} a batch",
                "at most 1 a batch of each, no more with more steps",
                passes(counts),
                f"plain pipeline: {plain}",
            )
        )
    return results


def ours(counts: dict[str, Any]) -> dict[str, int]:
    """Waits of recording alone, by kind of measure, in the longest run; those that scores have too counted there."""
    steps = str(STEPS[-1])
    plain = counts["plain"][steps]["waits"]
    totals = {name: counts[name][steps]["waits"] - plain for name in MEASURES}
    only = {name: totals[name] - totals["scores"] for name in ("frames", "attention", "concepts")}
    return {"scores": totals["scores"], **only, "all": totals["all"]}


def passes(counts: dict[str, Any]) -> bool:
    """Whether no kind of measure makes the host wait more than once a batch, nor more often when there are more steps."""
    short, long = map(str, STEPS)
    more = {name: counts[name][long]["waits"] - counts[name][short]["waits"] for name in counts}
    singles = [count for name, count in ours(counts).items() if name != "all"]
    return max(singles) <= 1 and all(more[name] == more["plain"] for name in MEASURES)


def count_apart(model: str) -> dict[str, Any]:
    """`count` in a process of its own."""
    command = [sys.executable, "-m", __name__, model]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def count(name: str) -> dict[str, dict[int, dict[str, int]]]:
    """Waits and asynchronous copies of a bundled model, by measure ("plain" = unwatched) and number of steps."""
    device = register()
    counts: dict[str, dict[int, dict[str, int]]] = {}
    for steps in (WARM, *STEPS):
        study, prompts, bank = study_of(IMAGES, steps, measures=MEASURES["all"])
        model = ModelSpec(name, name, str(ROOT / "data" / "models" / name), steps=steps)
        parts = (replace(study, models=(model,)), prompts, bank)
        (work_unit,) = plan_of(parts)
        worker = on_stand_in(Worker(parts[0], model, bank, "cpu"), device)
        for measured in MEASURES if steps != WARM else ("all",):
            run = partial(_record, worker, work_unit, MEASURES[measured])
            counts.setdefault(measured, {})[steps] = counted(worker, run)
        plain = partial(generate, worker.pipeline, model, prompts, 0, {})
        counts.setdefault("plain", {})[steps] = counted(worker, plain)
    return counts


def _record(worker: Worker, work_unit: Any, measures: Measures) -> None:
    worker.study = replace(worker.study, measures=measures)
    rows = worker.run(work_unit)
    failed = next((row["error"] for row in rows if row["status"] != "done"), None)
    if failed is not None:
        raise RuntimeError(failed)


def on_stand_in(worker: Any, device: torch.device) -> Worker:
    """A worker with its models and vectors on the stand-in."""
    for part in (*worker.pipeline.components.values(), worker._decoder, worker.scorer._model):
        if isinstance(part, nn.Module):
            move(part)
    scorer = worker.scorer
    scorer._mean, scorer._std = OnDevice(scorer._mean), OnDevice(scorer._std)
    worker._concepts = OnDevice(worker._concepts)
    worker.device = scorer.device = device
    return worker


def counted(worker: Worker, act: Callable[[], Any]) -> dict[str, int]:
    """Waits and asynchronous copies between the first and the last step of what is done."""
    with Accelerator() as accelerator, _between_steps(worker, accelerator):
        act()
    counts = accelerator.counts
    return {"waits": sum(counts[kind] for kind in WAITS), "later": counts[LATER], **counts}


@contextmanager
def _between_steps(worker: Worker, accelerator: Accelerator) -> Iterator[None]:
    """Counts from the return of the first call of the scheduler's class to the return of the last."""
    kind, last = type(worker.pipeline.scheduler), worker.total_steps
    original, calls = kind.step, 0

    @wraps(original)  # pipelines look at the signature
    def step(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        result = original(*args, **kwargs)
        calls += 1
        accelerator.counting = calls < last
        return result

    kind.step = step
    try:
        yield
    finally:
        kind.step = original


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the counts of a model as one line of JSON."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.waits", description=__doc__)
    parser.add_argument("model", choices=MODELS)
    print(json.dumps(count(parser.parse_args(arguments).model)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
