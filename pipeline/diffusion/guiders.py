"""Guidance by a component of the pipeline: a guider of diffusers (HunyuanImage), which may remember earlier steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from diffusers.guiders import BaseGuidance
from torch import Tensor

from pipeline.diffusion.denoiser import Guidance

GUIDERS = ("ocr_guider", "guider")
"""Components that guide: the first where a prompt has quoted text, the other elsewhere."""
QUOTED = "encoder_hidden_states_2"


@dataclass(frozen=True)
class GuidedBy(Guidance):
    """The guidance of one step by a guider, a copy of it as it stood before it combined that step's calls.

    Attributes:
        guider: of diffusers, with `pred_cond` and `pred_uncond`.
    """

    guider: Any = None

    def __call__(
        self, unconditional: Tensor | None, conditional: Tensor, perturbed: Tensor | None = None
    ) -> Tensor:
        """The guided prediction by the guider's own code; what it remembers stays as it was."""
        return as_it_stands(self.guider).forward(conditional, unconditional).pred

    def of_item(self, item: int) -> GuidedBy:
        """The guidance of one item: what is remembered of the others is left out."""
        guider = as_it_stands(self.guider)
        average = getattr(getattr(guider, "momentum_buffer", None), "running_average", None)
        if isinstance(average, Tensor):
            guider.momentum_buffer.running_average = average[item : item + 1]
        return replace(self, guider=guider)


def as_it_stands(guider: Any) -> Any:
    """A copy that may go a step on while the guider stays where it is."""
    twin = copy.copy(guider)
    if getattr(twin, "momentum_buffer", None) is not None:
        twin.momentum_buffer = copy.copy(twin.momentum_buffer)
    return twin


def standing_guider(pipeline: Any, kwargs: Mapping[str, Any]) -> Any:
    """A copy of the guider that combines the calls of a step; None where the pipeline has none.

    Args:
        pipeline: the pipeline whose denoiser is called.
        kwargs: of the conditional call.
    """
    there = {name: getattr(pipeline, name, None) for name in GUIDERS}
    if there["ocr_guider"] is not None and bool((kwargs[QUOTED] != 0).any()):
        return as_it_stands(there["ocr_guider"])
    return None if there["guider"] is None else as_it_stands(there["guider"])


@contextmanager
def guided_at(pipeline: Any, scale: float) -> Iterator[None]:
    """Gives the guiders of a pipeline a study's guidance scale, for one call; at 1 or less nothing is guided."""
    before = {name: getattr(pipeline, name, None) for name in GUIDERS}
    ours = {name: guider for name, guider in before.items() if isinstance(guider, BaseGuidance)}
    for name, guider in ours.items():
        twin = as_it_stands(guider)
        twin.guidance_scale = max(1.0, scale)
        setattr(pipeline, name, twin)
    try:
        yield
    finally:
        for name, guider in ours.items():
            setattr(pipeline, name, guider)
