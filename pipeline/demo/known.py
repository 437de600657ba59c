"""Scenes whose object masks are known exactly, noised to a denoising step's level, for tools to be judged on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.demo.corpus import to_pixels
from pipeline.demo.scenes import Scene, caption, compose, sample_scene, words
from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.phrases import Phrases
from pipeline.diffusion.watch import Batch, StepView, Watch
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ModelSpec

NAMES = ("scenes-unet", "scenes-unet-short", "scenes-dit")
SEED = 92_001
GUIDANCE = 4.0


@dataclass(frozen=True)
class KnownScene:
    """A scene, its picture and the pixels of each of its objects."""

    scene: Scene
    image: Float[Tensor, "3 h w"]
    masks: Bool[np.ndarray, "object h w"]


def known_scenes(count: int, seed: int = SEED) -> list[KnownScene]:
    """Scenes that no training saw, drawn from the categories that were trained on."""
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(count):
        scene = sample_scene(rng)
        image, masks = compose(scene, rng)
        scenes.append(KnownScene(scene, to_pixels(torch.from_numpy(image)[None])[0], masks))
    return scenes


def scene_prompt(scene: Scene, position: int) -> Prompt:
    """The scene's caption with the roles of its words."""
    roles: dict[str, tuple[str, ...]] = {}
    for word, role in words(scene):
        if role != "other":
            roles[role] = (*roles.get(role, ()), word)
    text = caption(scene)
    return Prompt(text, text, "scene", "", roles, position)


def targets(known: KnownScene) -> dict[str, Bool[np.ndarray, "h w"]]:
    """What a map should find: '' all objects, or the object that a word names."""
    masks: dict[str, Any] = {"": known.masks.any(0)}
    for name, mask in zip(known.scene.objects, known.masks, strict=True):
        if mask.any():
            masks[name] = mask
    return masks


class NoisedScenes:
    """Observer that shows, at some steps, real scenes noised to the step's level; the run itself is not changed."""

    def __init__(
        self, clean: Float[Tensor, "b c h w"], at: Sequence[int], see: Callable[[StepView], None]
    ) -> None:
        self._clean, self._at, self._see = clean, at, see

    def on_step(self, view: StepView) -> None:
        """Shows the noised scenes if the step is wanted."""
        if view.step in self._at:
            self._see(noised(view, self._clean))

    def columns(self, item: int) -> dict[str, Any]:
        """Nothing goes into a shard."""
        return {}


def noised(view: StepView, clean: Float[Tensor, "b c h w"]) -> StepView:
    """The same step on real latents: x_t = alpha x0 + sigma eps, eps from a seed of the step."""
    generator = torch.Generator().manual_seed(SEED + view.step)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    latents = (view.alpha * clean + view.sigma * noise).to(view.latents)
    moved = replace(view.denoiser, latents=latents)
    prediction = moved.replay()
    denoised = moved.denoised(latents, prediction)
    following = [
        view.take_step(latents[item : item + 1], prediction[item : item + 1], item)
        for item in range(len(latents))
    ]
    return replace(
        view,
        latents=latents,
        prediction=prediction,
        denoised=denoised,
        next_latents=torch.cat(following),
        denoiser=replace(moved, prediction=prediction),
    )


@torch.no_grad()
def encode(pipeline: Any, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
    """Pictures in [-1, 1] to the latents that the denoiser works on."""
    config = pipeline.vae.config
    latents = pipeline.vae.encode(images.to(pipeline.vae.dtype)).latent_dist.mean
    shift = getattr(config, "shift_factor", None) or 0.0
    return (latents - shift) * config.scaling_factor


def show_noised(
    pipeline: Any,
    spec: ModelSpec,
    scorer: Scorer,
    known: Sequence[KnownScene],
    first: int,
    at: Sequence[int],
    see: Callable[[StepView], None],
    phrases: Phrases | None = None,
) -> None:
    """One pipeline run over the captions of some scenes; `see` gets the scenes themselves, noised, at some steps.

    Args:
        first: number of the first scene, which names its prompt.
        at: the steps.
        see: called with the view of each of these steps; its items are the scenes.
        phrases: concepts that the views know.
    """
    prompts = tuple(scene_prompt(one.scene, first + i) for i, one in enumerate(known))
    total = count_calls(pipeline.scheduler, spec.steps, {})
    family = loading.family_of(pipeline)
    batch = Batch(prompts, 0, pipeline, family, scorer, total, guided=True, phrases=phrases)
    clean = encode(pipeline, torch.stack([one.image for one in known]))
    with Watch(batch, [NoisedScenes(clean, at, see)]):
        generate(pipeline, spec, prompts, 0, {"num_inference_steps": spec.steps})
