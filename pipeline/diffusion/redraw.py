"""Images drawn anew from a noised finished image: the pipeline's own call from a step on, with fresh noise.

A finished image is brought back to the noise level of a step and denoised again from there (forward-backward). A plain run is
recorded first; a second run of the same pipeline is given its denoiser outputs up to the step, which costs no call, then the
noised image in place of its latents, and the scheduler begins anew there, as diffusers' image-to-image pipelines begin.

Source: docs/methods.md, "Critical windows"; Sclocchi et al. 2024, arXiv 2410.13770; Li and Chen 2024, arXiv 2403.01633.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.diffusion.branch import Run, kept_outputs, replayed_outputs
from pipeline.diffusion.noise import NoiseLevel, noise_level, spread_of

Change = Callable[[int, Any, Any, Tensor], Tensor]
"""(step, the scheduler as it was before, timestep, the following latents) -> the latents to go on with."""
POSITION = ("_step_index", "_begin_index", "step")  # what a scheduler knows of where it is


@dataclass(frozen=True)
class Recorded:
    """A plain run: its images, final latents, denoiser outputs, the noise level of each step, and the scheduler at its start."""

    images: Float[Tensor, "b 3 h w"]
    latents: Tensor
    outputs: Sequence[Any]
    levels: Sequence[NoiseLevel]
    fresh: dict[str, Any]

    @property
    def calls(self) -> int:
        """Denoiser calls of a step.

        Raises:
            RuntimeError: the denoiser is not called equally often at each step.
        """
        calls, rest = divmod(len(self.outputs), len(self.levels))
        if rest or not calls:
            raise RuntimeError(
                f"{len(self.outputs)} denoiser calls in {len(self.levels)} steps: a redraw needs the same number at each step"
            )
        return calls


def unfit(scheduler: type) -> str:
    """Why images cannot be drawn anew with a scheduler, or ""."""
    if hasattr(scheduler, "state_in_first_order"):
        return (
            f"{scheduler.__name__} calls the denoiser twice a step, so it cannot begin at any step"
        )
    if hasattr(scheduler, "step_plms"):
        return f"{scheduler.__name__} counts on outputs of earlier steps, so it cannot begin at any step"
    return ""


@torch.no_grad()
def record(module: nn.Module, scheduler: Any, run: Run) -> Recorded:
    """A plain run of a pipeline, recorded.

    Args:
        module: the denoiser. scheduler: of the stage that runs the loop.
        run: samples the images.
    """
    levels: list[NoiseLevel] = []
    state: dict[str, Any] = {}

    def note(step: int, before: Any, timestep: Any, following: Tensor) -> Tensor:
        if step == 0:
            state["fresh"] = copy.deepcopy(_state(before))
        levels.append(noise_level(before, timestep))
        state["latents"] = following
        return following

    with kept_outputs(module) as outputs, _stepping(scheduler, note):
        images = run()
    return Recorded(images, state["latents"], outputs, levels, state["fresh"])


@torch.no_grad()
def redraw(
    module: nn.Module, scheduler: Any, run: Run, plain: Recorded, step: int, seed: int
) -> Float[Tensor, "b 3 h w"]:
    """Images denoised from a step on, after the finished ones were noised to its level.

    Args:
        module, scheduler, run: those of the plain run.
        plain: that run.
        step: the first step that is denoised again, from 1 to the number of steps; at the end nothing is.
        seed: of the noise, which is the same for every image of the batch.
    """
    if step == len(plain.levels):
        return plain.images
    spread = spread_of(scheduler)
    start = noised(plain.latents / spread, plain.levels[step], seed) * spread

    def begin(number: int, _before: Any, _timestep: Any, following: Tensor) -> Tensor:
        if number != step - 1:
            return following
        position = {name: vars(scheduler)[name] for name in POSITION if name in vars(scheduler)}
        vars(scheduler).update(copy.deepcopy(plain.fresh) | position)
        return start.to(following.dtype)

    with (
        replayed_outputs(module, plain.outputs[: step * plain.calls]),
        _stepping(scheduler, begin),
    ):
        return run()


def noised(latents: Float[Tensor, b * d], level: NoiseLevel, seed: int) -> Float[Tensor, b * d]:
    """alpha x0 + sigma eps, with the same eps for every item: what an item gets does not depend on its batch."""
    noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed))
    return level.alpha * latents + level.sigma * noise.to(latents.device, latents.dtype)


def _state(scheduler: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(scheduler).items() if name not in POSITION}


@contextmanager
def _stepping(scheduler: Any, change: Change) -> Iterator[None]:
    """Shows every step of a scheduler to `change`, and uses the latents that it returns."""
    original = scheduler.step
    count = 0

    @functools.wraps(original)  # pipelines look at the signature
    def step(model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        before = copy.copy(scheduler)
        result = original(model_output, timestep, sample, *args, **kwargs)
        as_tuple = isinstance(result, tuple)
        following = change(count, before, timestep, result[0] if as_tuple else result.prev_sample)
        count += 1
        if as_tuple:
            return (following, *result[1:])
        result.prev_sample = following
        return result

    scheduler.step = step
    try:
        yield
    finally:
        vars(scheduler).pop("step", None)
