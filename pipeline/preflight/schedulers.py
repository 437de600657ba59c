"""Which schedulers a model can be sampled with, tried one by one: `python -m pipeline schedulers MODEL`.

No weights are needed. A denoiser that knows the clean image must be led to it by the scheduler's own arithmetic, at the
noise level that we read from the scheduler; a wrong level would lead elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import torch
from torch import Tensor

from pipeline.diffusion.noise import NoiseLevel, denoise, has_angles, noise_level, second_call
from pipeline.diffusion.timesteps import apply_schedule, check_timesteps
from pipeline.errors import ModelError
from pipeline.models.loading import check_model, scheduler_class
from pipeline.models.prediction import prediction_type
from pipeline.preflight.models import Inspected, check_scheduler, inspect_model
from pipeline.study.spec import ModelSpec
from pipeline.tables import markdown_table

STEPS = 12
SHAPE = (2, 4, 8, 8)
CLOSE = 5e-3
"""Largest difference of a derived x0 from the true one, of values in [-1, 1], that rounding explains."""
KINDS = {
    "vp": "variance-preserving",
    "sigma": "sigma space",
    "edm": "sigma space, preconditioned (EDM)",
    "flow": "flow",
}


@dataclass(frozen=True)
class SchedulerRow:
    """What was found of one scheduler.

    Attributes:
        calls: denoiser calls of a run of `STEPS` steps.
        order: calls of a step that is not the last.
        custom: whether it takes custom timesteps through this pipeline.
        error: largest difference of the derived x0 from a perfect denoiser's clean image.
        x0_gap: largest difference from the x0 that the scheduler itself returns, in shares of its largest value; None
            where it returns none.
        reason: why it cannot be used; "" if it can.
    """

    name: str
    is_own: bool = False
    order: int = 0
    calls: int = 0
    custom: bool = False
    kind: str = ""
    prediction: str = ""
    error: float = math.nan
    x0_gap: float | None = None
    reason: str = ""

    @property
    def derived(self) -> bool:
        """Whether x0 is derived, and equal to the truth and to the scheduler's own where it has one."""
        return self.error < CLOSE and (self.x0_gap is None or self.x0_gap < CLOSE)


def compatible(model: Inspected) -> list[str]:
    """The schedulers that diffusers lists as compatible with a model's own, and that one, by name.

    Raises:
        ModelError: the model has no scheduler that diffusers ships.
    """
    if "scheduler" not in model.configs:
        raise ModelError(f"{model.name}: {model.pipeline.__name__} has no scheduler of its own.")
    default: Any = scheduler_class(model.index["scheduler"][1])
    listed = {kind.__name__ for kind in default.from_config(model.configs["scheduler"]).compatibles}
    return sorted(listed | {model.index["scheduler"][1]})


def try_all(model: Inspected) -> list[SchedulerRow]:
    """One row for each compatible scheduler."""
    return [try_one(model, name) for name in compatible(model)]


def try_one(model: Inspected, name: str) -> SchedulerRow:
    """What a scheduler does under the model's own configuration."""
    is_default = name == model.index["scheduler"][1]
    try:
        scheduler = check_scheduler(replace(model, spec=replace(model.spec, scheduler=name)))
        return _measured(model, name, scheduler, is_default)
    except (ModelError, NotImplementedError, ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split()).removeprefix(f"{model.name}: scheduler = {name!r} ")
        return SchedulerRow(name, is_default, reason=reason.split(". ")[0])


def check_named(model: Inspected) -> None:
    """Tries the scheduler that a study names.

    Raises:
        ModelError: it cannot be used with this model, and why.
    """
    name = model.spec.scheduler
    if (
        name is not None
        and "scheduler" in model.configs
        and (reason := try_one(model, name).reason)
    ):
        raise ModelError(
            f"{model.name}: scheduler = {name!r} cannot be used: {reason}. `python -m pipeline schedulers "
            f"{model.spec.source}` lists those that can."
        )


def _measured(model: Inspected, name: str, scheduler: Any, is_default: bool) -> SchedulerRow:
    clean = torch.linspace(-1, 1, math.prod(SHAPE)).view(SHAPE)
    fresh = _copies(scheduler)
    perfect = fresh()
    error, calls, kind = 0.0, [], ""
    for level, x, v, _ in drive(perfect, lambda at, x: perfect_prediction(perfect, at, x, clean)):
        error = max(error, float((denoise(perfect, level, x, v) - clean).abs().max()))
        calls.append(2 if second_call(perfect) else 1)
        kind = level.kind
    return SchedulerRow(
        name,
        is_default,
        order=int(getattr(scheduler, "order", 1)),
        calls=len(calls),
        custom=takes_timesteps(scheduler, model.pipeline),
        kind=kind,
        prediction=prediction_type(scheduler),
        error=error,
        x0_gap=_against_own(fresh()),
    )


def _copies(scheduler: Any) -> Callable[[], Any]:
    return lambda: type(scheduler).from_config(scheduler.config)


def _against_own(scheduler: Any) -> float | None:
    """Largest difference from the x0 that the scheduler returns, for predictions that are noise."""
    generator, worst = torch.Generator().manual_seed(1), None
    for level, x, v, out in drive(
        scheduler, lambda _, x: torch.randn(x.shape, generator=generator)
    ):
        returned = getattr(out, "pred_original_sample", None)
        if returned is not None:
            gap = (denoise(scheduler, level, x, v) - returned).abs().max() / returned.abs().max()
            worst = max(float(gap), worst or 0.0)
    return worst


def takes_timesteps(scheduler: Any, pipeline: type | None = None) -> bool:
    """Whether custom timesteps reach a scheduler through a pipeline's call and are the ones it uses."""
    try:
        ready, call = apply_schedule(scheduler, "late", 60.0, STEPS, pipeline)
        shift = {"mu": 1.0} if getattr(ready.config, "use_dynamic_shifting", False) else {}
        ready.set_timesteps(**call, **shift)
        check_timesteps(ready, call)
    except (ModelError, ValueError, TypeError):
        return False
    return True


def drive(
    scheduler: Any, predict: Callable[[NoiseLevel, Tensor], Tensor], steps: int = STEPS
) -> Iterator[tuple[NoiseLevel, Tensor, Tensor, Any]]:
    """A scheduler's loop as a pipeline runs it: (noise level, x, prediction, the step's output) of each call."""
    options: dict[str, Any] = {}
    if getattr(scheduler.config, "use_dynamic_shifting", False):
        options["mu"] = 1.0
    angles = has_angles(scheduler)
    if angles:  # its middle timestep belongs to two steps only, and its last one is the image's
        options["intermediate_timesteps"] = None
    scheduler.set_timesteps(steps, **options)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPE, generator=generator) * getattr(scheduler, "init_noise_sigma", 1.0)
    for timestep in scheduler.timesteps[:-1] if angles else scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, timestep)
        level = noise_level(scheduler, timestep)
        v = predict(level, x)
        if str(scheduler.config.get("variance_type")).startswith("learned"):
            v = torch.cat([v, torch.zeros_like(v)], 1)
        with torch.random.fork_rng([]):  # some draw their noise from the global generator
            torch.manual_seed(0)
            out = scheduler.step(v, timestep, x)
        yield level, x, v, out
        x = out.prev_sample


def perfect_prediction(scheduler: Any, level: NoiseLevel, x: Tensor, clean: Tensor) -> Tensor:
    """What a denoiser that knows the clean image would return, from the definitions alone."""
    alpha, sigma = level.alpha, max(level.sigma, 1e-9)
    noise = (x - alpha * clean) / sigma
    kind = prediction_type(scheduler)
    if level.kind == "edm":
        data = scheduler.config.sigma_data
        total = sigma**2 + data**2
        out = sigma * data / total**0.5
        return (clean - data**2 / total * x) / (-out if kind == "v_prediction" else out)
    if kind == "flow":
        return noise - clean
    if kind == "sample":
        return clean
    if kind == "epsilon":
        return noise
    norm = math.hypot(alpha, sigma)
    return (alpha * noise - sigma * clean) / norm


def table(rows: list[SchedulerRow]) -> str:
    """The rows as Markdown, those that cannot be used last, with the reason."""
    head = ["scheduler", "calls a step", "custom timesteps", "x0", "noise", "prediction"]
    lines = []
    for row in sorted(rows, key=lambda row: bool(row.reason)):
        name = f"**{row.name}** (its own)" if row.is_own else row.name
        cells = [name, *([f"no: {row.reason}", "", "", "", ""] if row.reason else _cells(row))]
        lines.append(cells)
    return markdown_table(head, lines)


def _cells(row: SchedulerRow) -> list[str]:
    calls = "1" if row.order == 1 else f"{row.order} (the last: 1), recorded as call 1 and 2"
    if row.order == 1 and row.calls > STEPS:
        calls = f"1, and {row.calls - STEPS} more to start a run of {STEPS}"
    against = f"within {row.x0_gap:.0e} of its own" if row.x0_gap is not None else "it returns none"
    x0 = f"derived to {row.error:.0e}; {against}" if row.derived else f"**off by {row.error:.0e}**"
    return [calls, "yes" if row.custom else "no", x0, KINDS[row.kind], row.prediction]


def show(source: str, revision: str | None = None) -> str:
    """The table of a model: a folder or a Hub id.

    Raises:
        ModelError: it cannot be read.
    """
    spec = ModelSpec(source, source, source, revision=revision, steps=STEPS)
    diffusers.utils.logging.set_verbosity_error()  # it warns of settings that another class had
    check_model(spec)
    model = inspect_model(spec)
    rows = try_all(model)
    usable = sum(not row.reason for row in rows)
    head = f"{model.pipeline.__name__}: {usable} of {len(rows)} schedulers that diffusers lists can be used"
    return f"{head}\n\n{table(rows)}"
