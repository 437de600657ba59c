"""Information per word on scenes whose object masks are known: the calls of the denoiser under captions without an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.demo.known import KnownScene, scene_prompt, targets
from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.watch import Batch, StepView, Watch
from pipeline.explain.information import KeptCalls, clean_of, compare, without_word
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.models.words import plain, split_words
from pipeline.study.spec import ModelSpec


@dataclass(frozen=True)
class WithoutObject:
    """The calls at some steps of a run whose captions lack one object each.

    Attributes:
        words: the object that is left out of each scene's caption; None where the caption is whole.
        calls: by step.
    """

    words: tuple[str | None, ...]
    calls: Mapping[int, Denoiser]


def without_objects(
    pipeline: Any,
    spec: ModelSpec,
    scorer: Scorer,
    known: Sequence[KnownScene],
    at: Sequence[int],
) -> list[WithoutObject]:
    """One run for the first object of each scene, one for the second, and so on.

    Args:
        at: the steps whose calls are kept.
    """
    names = [[word for word in targets(one) if word] for one in known]
    prompts = [scene_prompt(one.scene, i) for i, one in enumerate(known)]
    total = count_calls(pipeline.scheduler, spec.steps, {})
    family, runs = loading.family_of(pipeline), []
    for number in range(max(map(len, names), default=0)):
        words = tuple(each[number] if number < len(each) else None for each in names)
        changed = [
            replace(prompt, text=_without(prompt.text, word))
            for prompt, word in zip(prompts, words, strict=True)
        ]
        batch = Batch(tuple(changed), 0, pipeline, family, scorer, total, guided=True)
        observer = KeptCalls(at)
        with Watch(batch, [observer]):
            generate(pipeline, spec, changed, 0, {"num_inference_steps": spec.steps})
        runs.append(WithoutObject(words, observer.calls))
    return runs


def _without(text: str, name: str | None) -> str:
    words = [plain(word) for word in split_words(text)]
    return text if name is None else without_word(text, words.index(name))


@torch.no_grad()
def information_maps(
    view: StepView, items: Sequence[int], without: Sequence[WithoutObject]
) -> dict[int, dict[str, Float[Tensor, "h w"]]]:
    """Density of information of each object's word at a step, on the step's own latents; '' is the sum over the objects.

    Returns: by item, by word, nats per unit of log-SNR and position; nothing without runs to compare with.
    """
    if not without:
        return {}
    noisy = view.latents[list(items)].float()
    named = clean_of(view.denoiser, noisy, items)
    maps: dict[int, dict[str, Tensor]] = {item: {} for item in items}
    for run in without:
        density, _ = compare(view.level, named, clean_of(run.calls[view.step], noisy, items), named)
        for row, item in enumerate(items):
            if word := run.words[item]:
                maps[item][word] = density[row].float()
    return {
        item: {**each, "": torch.stack([*each.values()]).sum(0)}
        for item, each in maps.items()
        if each
    }
