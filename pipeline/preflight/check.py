"""`python -m pipeline check MODEL`: a trial of two steps alone, what a study can ask of the model, time and memory of a call."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import torch

from pipeline.diffusion.trial import STEPS, Trial, most_levels, try_model
from pipeline.models import loading
from pipeline.models.devices import choose_device
from pipeline.preflight.models import check_call, inspect_model
from pipeline.study.spec import TOOLS, ModelSpec
from pipeline.tables import terminal_table


@dataclass(frozen=True)
class Checked:
    """What was learnt of a model.

    Attributes:
        facts: of the loaded model: class, family, scheduler, precision, parameters.
        notices: what a study's settings would not change.
        problems: what is wrong with the trial, each with its figure; empty where a study may record the model.
        missing: measure -> why a study cannot ask it of this model.
        seconds: median of a denoiser call for one image.
        memory: peak in bytes, of the device where it counts, else of this process.
    """

    facts: dict[str, Any]
    notices: list[str]
    trial: Trial
    problems: list[str]
    missing: dict[str, str]
    seconds: float
    memory: int
    device: str


def check(model: ModelSpec, device: str = "auto") -> Checked:
    """Loads a model and tries it.

    Args:
        model: a folder or a Hub id that is in the local cache.
        device: as `run --device`.

    Raises:
        ModelError: it cannot be read, loaded, or sampled at all.
    """
    diffusers.utils.logging.set_verbosity_error()
    loading.check_model(model)
    notices = check_call(inspect_model(model))
    chosen = choose_device(device)
    pipeline = loading.open_pipeline(model, chosen)
    module = loading.denoiser_of(pipeline)
    with _timed(module) as seconds:
        trial = try_model(pipeline, model)
    missing = {**loading.family_of(pipeline).missing(), **trial.missing()}
    return Checked(
        facts=loading.describe(pipeline, model),
        notices=notices,
        trial=trial,
        problems=trial.problems(most_levels(loading.dtype_of(pipeline))),
        missing={name: missing[name] for name in TOOLS if name in missing},
        seconds=statistics.median(seconds),
        memory=_peak(chosen),
        device=str(chosen),
    )


@contextmanager
def _timed(module: torch.nn.Module) -> Iterator[list[float]]:
    """Notes the seconds of each call of a module."""
    seconds: list[float] = []
    started = 0.0

    def before(*_: object) -> None:
        nonlocal started
        _synchronise()
        started = time.perf_counter()

    def after(*_: object) -> None:
        _synchronise()
        seconds.append(time.perf_counter() - started)

    hooks = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(checked: Checked) -> str:
    """What was learnt, for a terminal."""
    facts, trial = checked.facts, checked.trial
    lines = [
        f"{facts['pipeline']}, family {facts['family']}, {facts['prediction_type']} prediction, {facts['scheduler']}, "
        f"{facts['dtype']}, {facts['parameters'] / 1e6:,.1f} M parameters of the denoiser",
        f"{checked.seconds:.3g} s a denoiser call for one image on {checked.device}, peak memory {checked.memory / 2**30:.2f} GB",
        *checked.notices,
        "",
        f"Trial of {STEPS} steps: {'; '.join(_findings(trial))}",
        f"Not to be recorded: {'; '.join(checked.problems)}"
        if checked.problems
        else "A study may record it.",
        "",
        terminal_table(("measure", "can be asked"), _measures(checked), "<<"),
    ]
    return "\n".join(lines)


def _findings(trial: Trial) -> list[str]:
    end = "" if trial.clean else ", of a scheduler that ends with noise"
    step = "no deterministic step of first order to check" if trial.next_step is None else (
        f"the next noise level met to {trial.next_step:.1g}"
    )  # fmt: skip
    bits = {True: "the same bits with recording", False: "other bits with recording", None: "bits differ without recording too"}  # fmt: skip
    replay = "its calls cannot be replayed (unknown class)" if trial.replay is None else (
        "a replayed call equal to the captured one" if trial.replay == 0 else f"a replayed call within {trial.replay:.1g}"
    )  # fmt: skip
    return [f"x0 within {trial.x0_levels:.1f} of 255 levels of the final image{end}", step, bits[trial.same_bits], replay]  # fmt: skip


def _measures(checked: Checked) -> list[tuple[str, str]]:
    always = [("x0, concepts, frames, spectra", "yes" if not checked.problems else "no: see the trial")]  # fmt: skip
    asked = [(name, f"no: {checked.missing[name]}" if name in checked.missing else "yes") for name in TOOLS]  # fmt: skip
    return [*always, *asked]
