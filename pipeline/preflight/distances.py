"""What the distances to reference entries will cost: pairs counted from the plan, and a few timed."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from pipeline.errors import StepscopeError
from pipeline.preflight.estimate import show_duration
from pipeline.study.plan import Plan
from pipeline.study.spec import DistanceSpec, ModelSpec

PAIRS = 2  # that are timed
SIDE = 512  # px where no entry names its size


def distance_costs(plan: Plan, device: str = "auto") -> list[str]:
    """What each distance of a study will cost, a line each."""
    return [_line(plan, spec, device) for spec in plan.study.distances]


def _line(plan: Plan, spec: DistanceSpec, device: str) -> str:
    models = plan.study.models
    images = len(plan.prompts) * len(plan.study.seeds)
    frames = plan.study.measures.frames
    height, width = image_size(models)
    pairs, what = (len(models) - 1) * images, "images"
    if spec.steps and frames is not None:
        others = [model for model in models if model.name != spec.reference]
        pairs, what = images * sum(len(frames.at(model.steps)) for model in others), "frames"
        height = width = frames.size
    try:
        seconds = show_duration(pairs * _seconds_per_pair(spec, height, width, device))
    except StepscopeError as error:
        return f"{spec.name}: {pairs:,} pairs of {what} with {spec.reference!r}, not timed: {error}"
    return f"{spec.name}: {pairs:,} pairs of {what} with {spec.reference!r}, about {seconds} at {width} x {height} px"


def image_size(models: Sequence[ModelSpec]) -> tuple[int, int]:
    """Height and width of the largest images that the entries name."""
    return (
        max((model.height or SIDE for model in models), default=SIDE),
        max((model.width or SIDE for model in models), default=SIDE),
    )


def _seconds_per_pair(spec: DistanceSpec, height: int, width: int, device: str) -> float:
    from pipeline.models.devices import choose_device
    from pipeline.models.distances import open_distance

    distance = open_distance(spec, choose_device(device))
    images = torch.rand(PAIRS, 3, height, width, generator=torch.Generator().manual_seed(0))
    distance.between(images[:1], images[:1])  # the first call is slower
    started = time.perf_counter()
    distance.between(images, images.flip(0))
    return (time.perf_counter() - started) / PAIRS
