"""What a study will cost: counted from the plan, and timed by a short calibration where the model is at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import StepscopeError
from pipeline.model_files import read_object
from pipeline.plan import Plan
from pipeline.study import GAMES, METHODS, ModelSpec, ToolSpec

CALIBRATION_PROMPTS = 4
CALIBRATION_STEPS = 6
CALIBRATION_MASKS = 32
FEWER = {"df-rise": "masks", "lime": "perturbations"}
SALIENCY = set(METHODS)


@dataclass(frozen=True)
class Cost:
    """The cost of one model's part of a study; time and disk are None where it could not be calibrated."""

    model: str
    units: int
    images: int
    calls: int  # denoiser calls, counted per image (both guidance halves = one call)
    seconds: float | None
    bytes: int | None
    note: str = ""


def estimate(made: Plan, device: str = "auto") -> list[Cost]:
    """The cost of each model, from one short unit per model where its weights are here."""
    return [_cost(made, model, device) for model in made.study.models]


def denoiser_calls(made: Plan, model: ModelSpec) -> int:
    """Denoiser calls per image of sampling and of every tool, over all images of a model."""
    images = len(made.prompts) * len(made.study.seeds)
    calls = images * model.steps
    for name, tool in made.study.measures.of(model.name).tools().items():
        seeds = min(tool.seeds or len(made.study.seeds), len(made.study.seeds))
        explained = min(tool.prompts or len(made.prompts), len(made.prompts)) * seeds
        calls += explained * len(tool.at(model.steps)) * _calls_per_step(name, tool, made, model)
    return calls


def _calls_per_step(name: str, tool: ToolSpec, made: Plan, model: ModelSpec) -> int:
    """Denoiser calls of a tool at one step: a gradient counts as two more calls."""
    if name == "df-rise":
        return int(str(tool.options.get("masks", 500)))
    if name == "lime":
        return int(str(tool.options.get("perturbations", 1000)))
    if name in ("df-cam", "relevance"):
        return 3
    if name == "faithfulness":
        named = tool.options.get("methods", tuple(SALIENCY & made.study.measures.tools().keys()))
        games = tool.options.get("games", GAMES)
        assert isinstance(named, tuple) and isinstance(games, tuple)
        # Each map, its inverse, and one random map; a point per row of latents, and the first.
        return len(games) * (2 * len(named) + 1) * (latent_rows(model) + 1)
    return 0


def latent_rows(model: ModelSpec) -> int:
    """Rows of the latents, from the model's configuration; 64, as in Stable Diffusion, where it is not here."""
    for component in ("unet", "transformer"):
        file = Path(model.source) / component / "config.json"
        if file.is_file():
            size = read_object(file, f"model {model.name}").get("sample_size")
            return size if isinstance(size, int) else 64
    return 64


def _cost(made: Plan, model: ModelSpec, device: str) -> Cost:
    images = len(made.prompts) * len(made.study.seeds)
    units = made.blocks * len(made.study.seeds)
    calls = denoiser_calls(made, model)
    if not Path(model.source).is_dir():
        return Cost(model.name, units, images, calls, None, None, "weights not here: counts only")
    try:
        per_call, per_image = _calibrate(made, model, device)
    except StepscopeError as error:
        return Cost(model.name, units, images, calls, None, None, str(error))
    note = "from a short calibration"
    return Cost(model.name, units, images, calls, per_call * calls, int(per_image * images), note)


def _calibrate(made: Plan, model: ModelSpec, device: str) -> tuple[float, float]:
    """Seconds per denoiser call and bytes per image, from a few images of a model with all its measures."""
    from pipeline.sampling import Worker
    from pipeline.shards import table_of

    short = _shortened(made, model)
    spec = short.study.models[0]
    unit = short[0]
    with Worker(short.study, spec, short.bank, device) as worker:
        worker.run(replace(unit, prompts=unit.prompts[:1]))  # the first run of a model is slower
        started = time.perf_counter()
        rows = worker.run(unit)
        seconds = time.perf_counter() - started
    size = table_of(rows).nbytes / len(rows) * model.steps / spec.steps
    return seconds / denoiser_calls(short, spec), size


def _shortened(made: Plan, model: ModelSpec) -> Plan:
    """One batch of one model with few steps, masks and perturbations: calls cost the same, there are only fewer."""
    spec = replace(model, steps=min(model.steps, CALIBRATION_STEPS))
    measures = made.study.measures.of(model.name)
    for name, tool in measures.tools().items():
        few = {FEWER[name]: CALIBRATION_MASKS} if name in FEWER else {}
        early = tuple(step for step in tool.steps or () if step < spec.steps)
        steps = None if tool.steps is None else early or (spec.steps - 1,)
        short = replace(tool, steps=steps, options={**tool.options, **few})
        changed: dict[str, Any] = {name.replace("-", "_"): short}
        measures = replace(measures, **changed)
    study = replace(made.study, models=(spec,), seeds=made.study.seeds[:1], measures=measures)
    prompts = made.prompts[: min(CALIBRATION_PROMPTS, made.study.run.unit_prompts)]
    return Plan(study, made.revisions, prompts, made.bank)


def show(costs: Sequence[Cost]) -> str:
    """The estimate as a table."""
    lines = [
        f"{'model':24} {'units':>8} {'images':>10} {'denoiser calls':>16} {'time':>10} {'disk':>10}"
    ]
    for cost in costs:
        lines.append(
            f"{cost.model[:24]:24} {cost.units:8,} {cost.images:10,} {cost.calls:16,} "
            f"{_duration(cost.seconds):>10} {_size(cost.bytes):>10}  {cost.note}"
        )
    return "\n".join(lines)


def show_workers(costs: Sequence[Cost], workers: int, price: float | None = None) -> str:
    """Time and cost with a number of workers: whole units are shared out, so the last wave may be part empty."""
    known = [cost for cost in costs if cost.seconds is not None]
    if len(known) < len(costs) or not known:
        return f"{workers} workers: time unknown, for not every model could be timed here"
    busy = sum(cost.seconds or 0.0 for cost in known)
    wall = sum((c.seconds or 0.0) / c.units * -(-c.units // workers) for c in known if c.units)
    line = (
        f"{workers} workers like this one: about {_duration(wall)}, {busy / 3600:.2f} worker-hours"
    )
    if price is not None:
        line += f", {wall / 3600 * workers * price:.2f} at {price:g} a worker-hour"
    return line


def _duration(seconds: float | None) -> str:
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
