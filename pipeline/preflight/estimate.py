"""What a study will cost: counted from the plan, and timed by a short calibration where the model is at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.engine.work import tool_calls
from pipeline.errors import StepscopeError
from pipeline.study.plan import Plan
from pipeline.study.spec import ModelSpec
from pipeline.tables import terminal_table

CALIBRATION_PROMPTS = 4
CALIBRATION_STEPS = 6
CALIBRATION_MASKS = 32
FEWER = {"df-rise": "masks", "lime": "perturbations"}


@dataclass(frozen=True)
class Cost:
    """The cost of one model's part of a study; time and disk are None where it could not be calibrated."""

    model: str
    work_units: int
    images: int
    calls: int  # denoiser calls, counted per image (both guidance halves = one call)
    seconds: float | None
    bytes: int | None
    note: str = ""


def estimate(plan: Plan, device: str = "auto") -> list[Cost]:
    """The cost of each model, from one short work unit per model where its weights are here."""
    return [_cost(plan, model, device) for model in plan.study.models]


def denoiser_calls(plan: Plan, model: ModelSpec) -> int:
    """Denoiser calls per image of sampling and of every tool, over all images of a model."""
    images = len(plan.prompts) * len(plan.study.seeds)
    calls = 0 if model.imported else images * model.steps
    for name, tool in plan.study.measures.of(model.name).tools().items():
        seeds = min(tool.seeds or len(plan.study.seeds), len(plan.study.seeds))
        calls += seeds * tool_calls(name, tool, plan, model, plan.prompts)
    return calls


def _cost(plan: Plan, model: ModelSpec, device: str) -> Cost:
    images = len(plan.prompts) * len(plan.study.seeds)
    work_units = plan.blocks * len(plan.study.seeds)
    calls = denoiser_calls(plan, model)
    if model.imported:
        note = "images that exist: scored, not sampled"
        return Cost(model.name, work_units, images, calls, None, None, note)
    if not Path(model.folder).is_dir():
        return Cost(
            model.name, work_units, images, calls, None, None, "weights not here: counts only"
        )
    try:
        per_call, per_image = _calibrate(plan, model, device)
    except StepscopeError as error:
        return Cost(model.name, work_units, images, calls, None, None, str(error))
    note = "from a short calibration"
    return Cost(
        model.name, work_units, images, calls, per_call * calls, int(per_image * images), note
    )


def _calibrate(plan: Plan, model: ModelSpec, device: str) -> tuple[float, float]:
    """Seconds per denoiser call and bytes per image, from a few images of a model with all its measures."""
    from pipeline.engine.worker import Worker
    from pipeline.results.rows import table_of

    short = _shortened(plan, model)
    spec = short.study.models[0]
    work_unit = short[0]
    with Worker(short.study, spec, short.bank, device) as worker:
        worker.run(
            replace(work_unit, prompts=work_unit.prompts[:1])
        )  # the first run of a model is slower
        started = time.perf_counter()
        rows = worker.run(work_unit)
        seconds = time.perf_counter() - started
    size = table_of(rows).nbytes / len(rows) * model.steps / spec.steps
    return seconds / denoiser_calls(short, spec), size


def _shortened(plan: Plan, model: ModelSpec) -> Plan:
    """One batch of one model with few steps, masks and perturbations: calls cost the same, there are only fewer."""
    spec = replace(model, steps=min(model.steps, CALIBRATION_STEPS))
    measures = plan.study.measures.of(model.name)
    for name, tool in measures.tools().items():
        few = {FEWER[name]: CALIBRATION_MASKS} if name in FEWER else {}
        early = tuple(step for step in tool.steps or () if step < spec.steps)
        steps = None if tool.steps is None else early or (spec.steps - 1,)
        short = replace(tool, steps=steps, options={**tool.options, **few})
        changed: dict[str, Any] = {name.replace("-", "_"): short}
        measures = replace(measures, **changed)
    study = replace(plan.study, models=(spec,), seeds=plan.study.seeds[:1], measures=measures)
    prompts = plan.prompts[: min(CALIBRATION_PROMPTS, plan.study.run.unit_prompts)]
    return Plan(study, plan.revisions, prompts, plan.bank)


def show(costs: Sequence[Cost]) -> str:
    """The estimate as a table."""
    head = ["model", "work units", "images", "denoiser calls", "time", "disk", ""]
    rows = [
        (
            cost.model,
            f"{cost.work_units:,}",
            f"{cost.images:,}",
            f"{cost.calls:,}",
            show_duration(cost.seconds),
            _size(cost.bytes),
            cost.note,
        )
        for cost in costs
    ]
    return terminal_table(head, rows, text="<>>>>><")


def show_workers(costs: Sequence[Cost], workers: int, price: float | None = None) -> str:
    """Time and cost with a number of workers: whole work units are shared out, so the last wave may be part empty."""
    sampled = [cost for cost in costs if cost.calls]
    known = [cost for cost in sampled if cost.seconds is not None]
    if len(known) < len(sampled) or not known:
        return f"{workers} workers: time unknown, for not every model could be timed here"
    busy = sum(cost.seconds or 0.0 for cost in known)
    wall = sum(
        (c.seconds or 0.0) / c.work_units * -(-c.work_units // workers)
        for c in known
        if c.work_units
    )
    line = f"{workers} workers like this one: about {show_duration(wall)}, {busy / 3600:.2f} worker-hours"
    if price is not None:
        line += f", {wall / 3600 * workers * price:.2f} at {price:g} a worker-hour"
    return line


def show_duration(seconds: float | None) -> str:
    """A time with its unit."""
    if seconds is None:
        return "unknown"
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: int | None) -> str:
    if count is None:
        return "unknown"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
