"""One step of a scheduler, taken again from other latents: by a deep copy of it as it stood, history included."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.diffusion.denoiser import Packing
from pipeline.errors import ModelError

SETTINGS = "_internal_dict"  # never change after a scheduler was made


@dataclass(frozen=True)
class SchedulerStep:
    """What the scheduler makes of other latents and predictions of the same items at one step.

    A multistep scheduler extrapolates from its earlier predictions: they are part of the step, and stay the item's own.

    Attributes:
        kind: the scheduler's class.
        state: its attributes before the step, copied; tensors of the samples have one row each.
        rows: of the samples that the pipeline stepped.
        timestep, args, kwargs: as the pipeline gave them to `step`; generators as they stood.
        packing: how the pipeline lays latents out.

    Source: Park et al. 2024, whose code steps a deep copy of the scheduler.
    """

    kind: type
    state: Mapping[str, Any]
    rows: int
    timestep: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    packing: Packing

    def __call__(
        self,
        latents: Float[Tensor, "n c h w"],
        prediction: Float[Tensor, "n c h w"],
        item: int,
    ) -> Float[Tensor, "n c h w"]:
        """The next latents of n samples that share the history, and the noise, of one item.

        Noise that the pipeline draws from a generator for each item is the item's own again; other noise is seeded.

        Raises:
            ModelError: the scheduler draws its noise from a tree over the whole batch.
        """
        if "noise_sampler" in self.state:
            raise ModelError(
                f"{self.kind.__name__} draws its noise for the whole batch at once, so a step cannot be taken again for one "
                'image. Choose another scheduler, or protocol = "ours".'
            )
        count = len(latents)
        scheduler: Any = object.__new__(self.kind)
        scheduler.__dict__ = {name: self._of_item(v, item, count) for name, v in self.state.items()}
        kwargs = {name: self._generators(v, item, count) for name, v in self.kwargs.items()}
        packed = (self.packing.pack(prediction), self.timestep, self.packing.pack(latents))
        with torch.random.fork_rng(_devices(latents)):
            torch.manual_seed(0)
            result = scheduler.step(*packed, *self.args, **kwargs)
        following = result[0] if isinstance(result, tuple) else result.prev_sample
        return self.packing.unpack(following)

    def _of_item(self, value: Any, item: int, count: int) -> Any:
        """A part of the state for `count` samples: rows of samples are the item's, everything else is copied."""
        if isinstance(value, Tensor):
            of_samples = value.ndim >= 3 and value.shape[0] == self.rows
            return value[item : item + 1].repeat_interleave(count, 0) if of_samples else value
        if isinstance(value, list):
            return [self._of_item(part, item, count) for part in value]
        return value

    def _generators(self, value: Any, item: int, count: int) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], torch.Generator):
            return [_same(value[item]) for _ in range(count)]
        return _same(value) if isinstance(value, torch.Generator) else value


def remember_step(
    scheduler: Any, sample: Tensor, timestep: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Callable[[Packing], SchedulerStep]:
    """Keeps a scheduler as it stands before its step, with what the step is given.

    Returns: the step, for the packing of its latents.
    """
    state = {
        name: value if name in (SETTINGS, "noise_sampler") else _copied(value)
        for name, value in vars(scheduler).items()
        if name != "step"  # where `Watch` has put its wrapper
    }
    arguments = {name: _copied(value) for name, value in kwargs.items()}
    return lambda packing: SchedulerStep(
        type(scheduler), state, len(sample), timestep, args, arguments, packing
    )


def _copied(value: Any) -> Any:
    """A deep copy; a tensor's values alone, a generator in the same state."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, torch.Generator):
        return _same(value)
    if isinstance(value, list):
        return [_copied(part) for part in value]
    return copy.deepcopy(value) if isinstance(value, dict) else value


def _same(generator: torch.Generator) -> torch.Generator:
    again = torch.Generator(generator.device)
    again.set_state(generator.get_state())
    return again


def _devices(like: Tensor) -> list[torch.device]:
    return [like.device] if like.device.type == "cuda" else []
