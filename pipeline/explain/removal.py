"""The baselines of insertion and deletion that a study asks for, for one item at one step."""

import zlib

import torch

from pipeline.diffusion.watch import StepView
from pipeline.explain.tools import clean_of
from pipeline.metrics.baselines import renoised, resampled
from pipeline.metrics.faithfulness import Remove
from pipeline.study.spec import DEFAULT_BASELINES, ToolSpec


def removals(view: StepView, item: int, spec: ToolSpec) -> dict[str, Remove | None]:
    """Baseline -> what stands in removed positions; None for `zero`, which is the games' own.

    The noise depends on the seed of the image and of the tool, on step and prompt, not on the item's place in its batch.
    """
    return {name: _removal(name, view, item, spec) for name in baselines_of(spec)}


def baselines_of(spec: ToolSpec) -> tuple[str, ...]:
    """The baselines of a study's `faithfulness`."""
    named = spec.options.get("baselines", DEFAULT_BASELINES)
    assert isinstance(named, tuple)
    return named


def _removal(name: str, view: StepView, item: int, spec: ToolSpec) -> Remove | None:
    if name == "zero":
        return None
    generator = torch.Generator().manual_seed(_seed(view, item, spec))
    latents, clean = view.latents[item], view.denoised[item]
    if name == "re-noised":
        return renoised(latents, clean, view.alpha, view.sigma, generator)
    outcome = clean_of(view.denoiser, item)
    return resampled(latents, clean, view.alpha, view.sigma, generator, outcome)


def _seed(view: StepView, item: int, spec: ToolSpec) -> int:
    prompt = zlib.crc32(view.batch.prompts[item].prompt_key.encode())
    seed = view.batch.seed + spec.seed
    return zlib.crc32(f"removed {seed} {view.step} {prompt}".encode())
