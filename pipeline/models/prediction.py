"""What a model predicts: epsilon, velocity, sample or flow."""

from __future__ import annotations

import inspect
from typing import Any

from pipeline.errors import ModelError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample", "flow")


def prediction_type(scheduler: Any) -> str:
    """What the denoiser's output means under this scheduler: one of PREDICTION_TYPES."""
    if is_flow(scheduler):
        return "flow"
    declared = getattr(scheduler.config, "prediction_type", "epsilon")
    declared = {"flow_prediction": "flow", "trigflow": "v_prediction"}.get(declared, declared)
    if declared not in PREDICTION_TYPES:
        raise ModelError(
            f"scheduler {type(scheduler).__name__}: prediction_type {declared!r} is not known "
            f"(known: {', '.join(PREDICTION_TYPES)}). Choose a scheduler with one of these."
        )
    return declared


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler steps along straight lines from noise to image (x = (1 - sigma) x0 + sigma eps)."""
    name = type(scheduler).__name__
    if name.startswith("FlowMatch"):
        return True
    asked = bool(getattr(scheduler.config, "use_flow_sigmas", False))
    # a configuration taken over from another class may hold keys that this one does not know
    return asked and "use_flow_sigmas" in inspect.signature(type(scheduler).__init__).parameters
