"""Caches of diffusers in a transformer: from one step to the next, a part of it is taken over where it hardly changes.

A cache remembers the call before, so a call alone cannot be replayed, and layers that are skipped have no attention: such a
model is sampled and scored, and no tool looks into it.

Source: First Block Cache (ParaAttention); Pyramid Attention Broadcast, Zhao et al. 2024 (arXiv 2408.12588); FasterCache, Lv et
al. 2024 (arXiv 2410.19355).
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    PyramidAttentionBroadcastConfig,
)
from diffusers.models.cache_utils import CacheMixin

from pipeline.errors import ModelError
from pipeline.models.families import FAMILIES
from pipeline.models.guard import one_line
from pipeline.study.spec import ModelSpec

DENOISERS = ("transformer", "unet")
NEEDED = {
    "first-block": "cache_context",
    "pyramid-attention": "current_timestep",
    "faster-cache": "current_timestep",
}
"""What a pipeline's call must do for a method to work, by the name that stands in its code."""
ADVICE = "Leave out cache."
ONE_CALL = tuple(
    name
    for name, family in FAMILIES.items()
    if family.guidance == "embedded" and family.denoiser == "transformer"
)
"""Classes that call their transformer once a step, for one image each."""
FASTER_WEIGHT = 0.5
"""How far FasterCache extrapolates attention from the two steps before; diffusers' default."""


def refuse_measures(spec: ModelSpec, measures: Collection[str]) -> None:
    """Refuses tools for a model with a cache.

    Args:
        spec: the model's entry.
        measures: the names of the tools that the study runs on it.

    Raises:
        ModelError: names them.
    """
    if spec.cache is not None and measures:
        raise ModelError(
            f"model {spec.name}: cache = {spec.cache.method!r} takes parts of a step over from the one before, so "
            f"{', '.join(measures)} cannot be measured: a step cannot be replayed, and layers that are skipped attend to nothing. "
            "Leave out cache, or these tools for this model."
        )


def check_cache(spec: ModelSpec, pipeline: type, denoiser: type) -> None:
    """That a model's classes can have the cache of its entry.

    Raises:
        ModelError: names the class that cannot.
    """
    if spec.cache is None:
        return
    method, problem = spec.cache.method, f"model {spec.name}: cache = {spec.cache.method!r}"
    if spec.compile:
        raise ModelError(f"{problem} and compile exclude each other. Leave out one of them.")
    if not issubclass(denoiser, CacheMixin):
        raise ModelError(f"{problem} is not available for a {denoiser.__name__}, which diffusers gives no cache. {ADVICE}")  # fmt: skip
    if NEEDED[method] not in inspect.getsource(pipeline):
        raise ModelError(f"{problem} is not available for {pipeline.__name__}, whose call does not tell a cache where it is. {ADVICE}")  # fmt: skip
    if method == "faster-cache" and pipeline.__name__ not in ONE_CALL:
        raise ModelError(
            f"{problem} is not available for {pipeline.__name__}: it counts calls of the transformer as steps, so it needs a "
            f"class whose guidance is a number that the transformer is given: {', '.join(ONE_CALL)}. Leave out cache, or take "
            "another method."
        )


def enable_cache(pipeline: Any, spec: ModelSpec) -> None:
    """Gives a loaded pipeline the cache of its entry.

    Raises:
        ModelError: its classes cannot have it, or diffusers does not know its blocks.
    """
    if spec.cache is None:
        return
    module = next(m for n in DENOISERS if (m := getattr(pipeline, n, None)) is not None)
    check_cache(spec, type(pipeline), type(module))
    with one_line(f"model {spec.name}: cache = {spec.cache.method!r} cannot be used here", ADVICE):
        module.enable_cache(_config(pipeline, spec))


def reset_cache(pipeline: Any, spec: ModelSpec) -> None:
    """Forgets what a run that ended with an error left in the cache; a run that ends well does so itself."""
    if spec.cache is not None:
        pipeline.maybe_free_model_hooks()


def images_at_once(spec: ModelSpec) -> int | None:
    """The most images that one call may sample; None = any number.

    First Block Cache decides for a whole batch whether a step is skipped, so that an image would depend on those beside it.
    """
    return 1 if spec.cache is not None and spec.cache.method == "first-block" else None


def _config(pipeline: Any, spec: ModelSpec) -> Any:
    cache = spec.cache
    assert cache is not None
    if cache.method == "first-block":
        return FirstBlockCacheConfig(threshold=cache.threshold or 0.0)
    timesteps = cache.timesteps or (100, 800)
    if cache.method == "faster-cache":
        return FasterCacheConfig(
            spatial_attention_block_skip_range=cache.every or 2,
            spatial_attention_timestep_skip_range=timesteps,
            attention_weight_callback=lambda _module: FASTER_WEIGHT,
            is_guidance_distilled=True,
            current_timestep_callback=lambda: pipeline.current_timestep,
        )
    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=cache.every,
        spatial_attention_timestep_skip_range=timesteps,
        cross_attention_block_skip_range=cache.every,
        cross_attention_timestep_skip_range=timesteps,
        current_timestep_callback=lambda: pipeline.current_timestep,
    )
