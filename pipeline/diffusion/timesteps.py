"""Which timesteps a model is sampled at: exponential sampling, and the spacings of diffusers.

A schedule's name belongs to a model's entry in a study. `apply_schedule` turns it into a scheduler
and the keyword arguments of the pipeline's call; `check_timesteps` says whether the scheduler
really used them.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.diffusion.noise import has_angles
from pipeline.errors import ModelError

TRAINING_TIMESTEPS = 1000
EXPONENTIAL = ("uniform", "early", "late")
SIGMAS = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas"}
SIGMAS["beta"] = "use_beta_sigmas"
SPACINGS = ("trailing", "leading", "linspace")
SCHEDULES = ("default", *EXPONENTIAL, *SIGMAS, *SPACINGS)

_NO_SHIFT = {"shift": 1.0, "use_dynamic_shifting": False, "shift_terminal": None}


def late_timesteps(
    steps: int, gamma: float, training_timesteps: int = TRAINING_TIMESTEPS
) -> list[int]:
    """Exponentially spaced timesteps, dense near 0, where detail is made.

    floor(delta^(j + gamma)) for j = steps..1 with delta = exp(ln T / (steps + gamma)); a leading T
    becomes T - 1. The larger gamma, the flatter the spacing; gamma = 0 means uniform.

    Source: Park et al. 2024 (arXiv 2402.10404), exponential timestep sampling.
    Returns: strictly decreasing integers in [0, T - 1].
    Raises: ModelError when two of them would coincide (gamma is too small for so many steps).
    """
    if gamma == 0:
        return uniform_timesteps(steps, training_timesteps)
    powers = _powers(steps, gamma, training_timesteps)
    return _distinct([min(power, training_timesteps - 1) for power in powers[::-1]], "late", gamma)


def early_timesteps(
    steps: int, gamma: float, training_timesteps: int = TRAINING_TIMESTEPS
) -> list[int]:
    """Exponentially spaced timesteps, dense near T, where the layout is made.

    T - 1, then T - floor(delta^(j + gamma)) for j = 1..steps - 1; see `late_timesteps`.

    Source: Park et al. 2024 (arXiv 2402.10404), exponential timestep sampling.
    Returns: strictly decreasing integers in [0, T - 1].
    Raises: ModelError when two of them would coincide (gamma is too small for so many steps).
    """
    if gamma == 0:
        return uniform_timesteps(steps, training_timesteps)
    powers = _powers(steps, gamma, training_timesteps)[:-1]
    head = [training_timesteps - 1]
    return _distinct(head + [training_timesteps - power for power in powers], "early", gamma)


def uniform_timesteps(steps: int, training_timesteps: int = TRAINING_TIMESTEPS) -> list[int]:
    """Evenly spaced timesteps T j / steps for j = steps..1, a leading T becoming T - 1.

    Returns: strictly decreasing integers in [0, T - 1].
    Raises: ModelError for more steps than training timesteps.
    """
    _check_steps(steps, training_timesteps)
    spaced = [training_timesteps * j // steps for j in range(steps, 0, -1)]
    return _distinct([min(t, training_timesteps - 1) for t in spaced], "uniform", 0)


def exponential_timesteps(
    schedule: str, steps: int, gamma: float, training_timesteps: int = TRAINING_TIMESTEPS
) -> list[int]:
    """The timesteps of `uniform`, `early` or `late` sampling.

    Raises: ModelError for another name.
    """
    if schedule == "early":
        return early_timesteps(steps, gamma, training_timesteps)
    if schedule == "late":
        return late_timesteps(steps, gamma, training_timesteps)
    if schedule == "uniform":
        return uniform_timesteps(steps, training_timesteps)
    raise ModelError(f"schedule = {schedule!r}: exponential sampling knows {_names(EXPONENTIAL)}.")


def apply_schedule(
    scheduler: Any,
    schedule: str,
    gamma: float | None,
    steps: int,
    pipeline_class: type | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The scheduler, reconfigured, and the arguments of the pipeline's call that give the schedule.

    Args:
        scheduler: a diffusers scheduler; it is left as it is.
        schedule: one of `SCHEDULES`.
        gamma: of early and late sampling; 60 if None, as in the paper.
        steps: denoising steps asked for.
        pipeline_class: when given, its call must take the arguments that are returned.

    Raises:
        ModelError: an unknown name, a spacing that the scheduler does not have, or custom
            timesteps that it (or the pipeline) does not take.
    """
    if schedule == "default":
        return scheduler, {"num_inference_steps": steps}
    if schedule in EXPONENTIAL:
        return _with_timesteps(scheduler, schedule, gamma, steps, pipeline_class)
    if schedule in SIGMAS:
        flags: dict[str, Any] = {flag: name == schedule for name, flag in SIGMAS.items()}
        wanted: dict[str, Any] = {SIGMAS[schedule]: True}
    elif schedule in SPACINGS:
        flags = wanted = {"timestep_spacing": schedule}
    else:
        raise ModelError(f"schedule = {schedule!r}: known are {_names(SCHEDULES)}.")
    _check_settings(scheduler, schedule, wanted)
    return _reconfigured(scheduler, flags), {"num_inference_steps": steps}


def check_timesteps(scheduler: Any, call: Mapping[str, Any]) -> None:
    """Raises ModelError when a scheduler did not use the custom timesteps it was called with."""
    used = [float(t) for t in scheduler.timesteps]
    asked = call.get("timesteps")
    if asked is None and (sigmas := call.get("sigmas")) is not None:
        asked = [sigma * scheduler.config.num_train_timesteps for sigma in sigmas]
    if asked is None:
        return
    used = [t for i, t in enumerate(used) if i == 0 or t != used[i - 1]]
    if len(used) != len(asked) or any(abs(a - b) > 1e-3 for a, b in zip(used, asked, strict=True)):
        raise ModelError(
            f"{type(scheduler).__name__} used the timesteps {_short(used)} in place of "
            f"{_short(asked)}: choose another scheduler for exponential sampling."
        )


def _with_timesteps(
    scheduler: Any, schedule: str, gamma: float | None, steps: int, pipeline_class: type | None
) -> tuple[Any, dict[str, Any]]:
    name = type(scheduler).__name__
    if has_angles(scheduler):
        raise ModelError(f'schedule = {schedule!r}: the timesteps of {name} are angles, not steps of training. Use schedule = "default".')  # fmt: skip
    takes = inspect.signature(scheduler.set_timesteps).parameters
    flow = hasattr(scheduler.config, "shift") and "sigmas" in takes
    if not flow and "timesteps" not in takes:
        raise ModelError(
            f"schedule = {schedule!r}: {name} does not take custom timesteps. Name one that does, "
            f'for example scheduler = "DPMSolverMultistepScheduler" or "EulerDiscreteScheduler".'
        )
    total = int(scheduler.config.num_train_timesteps)
    timesteps = exponential_timesteps(schedule, steps, 60.0 if gamma is None else gamma, total)
    call: dict[str, Any] = {"timesteps": timesteps}
    if flow:
        call = {"sigmas": [timestep / total for timestep in timesteps]}
    if pipeline_class is not None:
        _check_call(pipeline_class, schedule, call)
    plain = dict.fromkeys(SIGMAS.values(), False) | (_NO_SHIFT if flow else {})
    return _reconfigured(scheduler, plain), call


def _reconfigured(scheduler: Any, settings: Mapping[str, Any]) -> Any:
    """A copy with other settings, of those that the scheduler has."""
    known = {name: value for name, value in settings.items() if name in scheduler.config}
    return type(scheduler).from_config(dict(scheduler.config), **known)


def _check_settings(scheduler: Any, schedule: str, settings: Mapping[str, Any]) -> None:
    for setting in settings:
        if setting not in scheduler.config:
            raise ModelError(
                f"schedule = {schedule!r}: {type(scheduler).__name__} has no {setting}. "
                'Use schedule = "default", or a scheduler that has it, for example '
                "DPMSolverMultistepScheduler."
            )


def _check_call(pipeline_class: type, schedule: str, call: Mapping[str, Any]) -> None:
    takes = inspect.signature(pipeline_class.__call__).parameters
    for argument in call:
        if argument not in takes:
            raise ModelError(
                f"schedule = {schedule!r}: {pipeline_class.__name__} does not take custom "
                f"{argument}. It can be sampled under its own schedule only."
            )


def _powers(steps: int, gamma: float, total: int) -> list[int]:
    """floor(delta^(j + gamma)) for j = 1..steps; the last is T itself, exactly."""
    _check_steps(steps, total)
    if gamma < 0:
        raise ModelError(f"gamma = {gamma}: it must be 0 (uniform) or more; the paper has 60.")
    log_delta = math.log(total) / (steps + gamma)
    powers = [math.floor(math.exp(log_delta * (j + gamma))) for j in range(1, steps)]
    return [*powers, total]


def _check_steps(steps: int, total: int) -> None:
    if not 1 <= steps <= total:
        raise ModelError(f"steps = {steps}: it must be from 1 to {total}, the training timesteps.")


def _distinct(timesteps: list[int], schedule: str, gamma: float) -> list[int]:
    if len(set(timesteps)) < len(timesteps):
        raise ModelError(
            f"schedule = {schedule!r} with gamma = {gamma} and {len(timesteps)} steps gives the "
            "same timestep twice. Take a larger gamma (the paper has 60) or fewer steps."
        )
    return timesteps


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _short(values: Sequence[float]) -> str:
    head = ", ".join(f"{value:g}" for value in values[:4])
    return f"[{head}{', ...' if len(values) > 4 else ''}] ({len(values)})"
