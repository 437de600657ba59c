"""How much each word of a prompt tells the denoiser of the finished image, in nats, per noise level and position.

Source: docs/methods.md, "Information per word"; Kong et al. 2024, arXiv 2310.07972. The finished latents are noised to the level
of a step, and the noise is predicted under the whole prompt and under the prompt without a word: half the squared difference,
integrated over log-SNR, is the conditional information of the word about this image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.noise import NoiseLevel, unclipped
from pipeline.diffusion.redraw import noised
from pipeline.diffusion.watch import Batch, StepView, Watch
from pipeline.explain.maps import map_record
from pipeline.explain.observer import wanted_words
from pipeline.explain.switching import Sample
from pipeline.models.words import plain, split_words, word_roles
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ToolSpec

DRAWS = 1
# A level without signal, or without noise, has no place on the axis: its log-SNR is cut here.
CLIPPED = 60.0


class KeptCalls:
    """Observer that keeps the denoiser's calls at some steps, by reference, and the latents that the run ends with."""

    def __init__(self, at: Sequence[int]) -> None:
        self._at = frozenset(at)
        self.calls: dict[int, Denoiser] = {}
        self.latents: Tensor | None = None

    def on_step(self, view: StepView) -> None:
        """Keeps the call of a wanted step."""
        if view.step in self._at:
            self.calls[view.step] = view.denoiser
        self.latents = view.next_latents

    def columns(self, item: int) -> dict[str, Any]:
        """Nothing goes into a shard."""
        return {}


@dataclass
class Word:
    """What is measured of a word of an item: sums over the draws at each step, the map over all steps, the other image."""

    index: int
    density: dict[int, float]
    signed: dict[int, float]
    map: Float[Tensor, "h w"] | None = None
    effect: float = 0.0
    change: float = 0.0


class Information(KeptCalls):
    """The information of the words of a batch: watches its run, and measures afterwards; gives the shard's `information`.

    Args:
        batch: what is sampled.
        spec: the study's `information`.
        sample: the pipeline's own call for some prompts, with the batch's seed.
    """

    def __init__(self, batch: Batch, spec: ToolSpec, sample: Sample) -> None:
        super().__init__(spec.at(batch.total_steps))
        self._batch, self._spec, self._sample = batch, spec, sample
        self._items = [
            item
            for item, prompt in enumerate(batch.prompts)
            if "information" not in batch.family.missing() and measured_words(prompt, spec)
        ]
        self._predicted: dict[tuple[int, int], Tensor] = {}
        self._rows: dict[int, list[dict[str, Any]]] = {}

    @torch.no_grad()
    def measure(self, images: Float[Tensor, "b 3 h w"]) -> None:
        """Samples each prompt without each of its words, and compares predictions and images.

        Args:
            images: that the batch's run ended with.
        """
        if not self._items:
            return
        prompts = [self._batch.prompts[item] for item in self._items]
        scorer = self._batch.scorer
        images_seen = scorer.images(images[self._items])
        texts = scorer.texts([prompt.text for prompt in prompts])
        levels = {step: call.level for step, call in self.calls.items() if _finite(call.level)}
        weights = trapezoid_weights({step: level.log_snr for step, level in levels.items()})
        measured: list[list[Word]] = [[] for _ in prompts]
        for words, calls, changed in self._rounds(prompts):
            now = scorer.images(changed)
            effects = ((images_seen - now) * texts).sum(-1).tolist()
            changes = ((images_seen - now).square().sum(-1) / 2).tolist()  # 1 - cosine
            for row, word in enumerate(self._compared(words, calls, weights)):
                if word is not None:
                    measured[row].append(replace(word, effect=effects[row], change=changes[row]))
        for row, item in enumerate(self._items):
            self._rows[item] = self._records(prompts[row], measured[row], weights)

    def columns(self, item: int) -> dict[str, Any]:
        """`information` of an item."""
        return {"information": self._rows.get(item, [])}

    def _rounds(
        self, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[list[int | None], Mapping[int, Denoiser], Tensor]]:
        """(the word of each prompt that is left out, the denoiser's calls, the images); None for a prompt with fewer words."""
        lists = [measured_words(prompt, self._spec) for prompt in prompts]
        for number in range(max(map(len, lists))):
            words = [indices[number] if number < len(indices) else None for indices in lists]
            changed = [
                prompt if word is None else replace(prompt, text=without_word(prompt.text, word))
                for prompt, word in zip(prompts, words, strict=True)
            ]
            observer = KeptCalls(tuple(self.calls))
            with Watch(replace(self._batch, prompts=tuple(changed)), [observer]):
                images = self._sample(changed)
            yield words, observer.calls, images

    def _compared(
        self,
        words: Sequence[int | None],
        calls: Mapping[int, Denoiser],
        weights: Mapping[int, float],
    ) -> list[Word | None]:
        """The information of one word of each prompt, from all levels and draws."""
        out = [None if word is None else Word(word, {}, {}) for word in words]
        draws = draws_of(self._spec)
        for step, weight in weights.items():
            for number in range(draws):
                noisy = self._noisy(step, number)
                without = clean_of(calls[step], noisy, range(len(words)))
                density, signed = compare(
                    calls[step].level, self._with_all(step, number), without, self._clean()
                )
                for row, word in enumerate(out):
                    if word is not None:
                        _add(word, step, density[row] / draws, float(signed[row]) / draws, weight)
        return out

    def _clean(self) -> Float[Tensor, "n c h w"]:
        assert self.latents is not None
        return self.latents[self._items].float()

    def _noisy(self, step: int, number: int) -> Float[Tensor, "n c h w"]:
        return noised(self._clean(), self.calls[step].level, self._seed(step, number))

    def _with_all(self, step: int, number: int) -> Float[Tensor, "n c h w"]:
        """What is predicted with the whole prompts, which every word is compared with: once for each level and draw."""
        if (step, number) not in self._predicted:
            noisy = self._noisy(step, number)
            self._predicted[step, number] = clean_of(self.calls[step], noisy, self._items)
        return self._predicted[step, number]

    def _seed(self, step: int, number: int) -> int:
        """Of the noise of a draw: its own for each seed, step and draw, the same for every word."""
        return (self._batch.seed * 1_000_003 + step * 1_009 + number + 1) % 2**63

    def _records(
        self, prompt: Prompt, measured: Sequence[Word], weights: Mapping[int, float]
    ) -> list[dict[str, Any]]:
        words, roles = split_words(prompt.text), word_roles(prompt.text, prompt.roles)
        stored = bool(self._spec.options.get("maps"))
        return [
            {
                "word_index": word.index,
                "word": words[word.index],
                "role": roles[word.index],
                "steps": list(weights),
                "density": [word.density[step] for step in weights],
                "signed": [word.signed[step] for step in weights],
                "nats": _integral(word.density, weights),
                "signed_nats": _integral(word.signed, weights),
                "effect": word.effect,
                "change": word.change,
                **_map_columns(word.map if stored else None),
            }
            for word in measured
        ]


def clean_of(
    denoiser: Denoiser, noisy: Float[Tensor, "n c h w"], items: Sequence[int]
) -> Float[Tensor, "n c h w"]:
    """x0 of the conditional prediction, without clipping: guidance has no part in it.

    Args:
        denoiser: the call at the step that the latents are noised to.
        items: of the call, one for each of the latents.
    """
    prediction = denoiser.conditional_of(noisy.to(denoiser.prediction.dtype), items)
    return unclipped(denoiser.scheduler, denoiser.level, noisy, prediction.float())


def compare(
    level: NoiseLevel,
    with_word: Float[Tensor, "n c h w"],
    without: Float[Tensor, "n c h w"],
    clean: Float[Tensor, "n c h w"],
) -> tuple[Float[Tensor, "n h w"], Float[Tensor, " n"]]:
    """What a word tells of latents at one noise level, in nats per unit of log-SNR.

    Args:
        with_word, without: x0 as predicted from the same noisy latents with the word and without it. A difference of two predictions
            of the noise is alpha / sigma times that of x0.
        clean: the latents that were noised.

    Returns: (half the squared difference of the noise predictions, summed over channels, >= 0; half of how much the squared error
    of the predicted noise is smaller with the word, summed over channels and positions).
    """
    half_snr = (level.alpha / level.sigma) ** 2 / 2
    truth, known, left_out = clean.double(), with_word.double(), without.double()
    density = half_snr * (known - left_out).square().sum(1)
    errors = [(each - truth).square().sum((1, 2, 3)) for each in (left_out, known)]
    return density, half_snr * (errors[0] - errors[1])


def _finite(level: NoiseLevel) -> bool:
    return abs(level.log_snr) < CLIPPED


def trapezoid_weights(log_snr: Mapping[int, float]) -> dict[int, float]:
    """The share of the log-SNR axis that stands for each step in an integral by trapezoids; by step, 0 for a single one."""
    order = sorted(log_snr, key=lambda step: log_snr[step])
    x = np.array([log_snr[step] for step in order])
    share = np.zeros(len(x))
    share[:-1] += np.diff(x) / 2
    share[1:] += np.diff(x) / 2
    weights = dict(zip(order, share.tolist(), strict=True))
    return {step: weights[step] for step in sorted(weights)}


def _add(word: Word, step: int, density: Tensor, signed: float, weight: float) -> None:
    word.density[step] = word.density.get(step, 0.0) + float(density.sum())
    word.signed[step] = word.signed.get(step, 0.0) + signed
    part = weight * density.cpu()
    word.map = part if word.map is None else word.map + part


def _integral(values: Mapping[int, float], weights: Mapping[int, float]) -> float | None:
    if len(weights) < 2:
        return None
    return sum(weight * values[step] for step, weight in weights.items())


def _map_columns(values: Float[Tensor, "h w"] | None) -> dict[str, Any]:
    names = ("height", "width", "low", "high", "map")
    record = dict.fromkeys(names) if values is None else map_record(0, "", "", values)
    return {name: record[name] for name in names}


def without_word(text: str, index: int) -> str:
    """A prompt without one of its words; the others stay as they are, one space between them."""
    words = split_words(text)
    return " ".join(words[:index] + words[index + 1 :])


def measured_words(prompt: Prompt, spec: ToolSpec) -> list[int]:
    """The indices of a prompt's words that a study's `information` leaves out, one at a time; none beyond its first prompts."""
    if spec.prompts is not None and prompt.position >= spec.prompts:
        return []
    wanted = wanted_words(spec)
    words = split_words(prompt.text)
    return [i for i, word in enumerate(words) if wanted is None or plain(word) in wanted]


def draws_of(spec: ToolSpec) -> int:
    """Draws of noise at each level."""
    draws = spec.options.get("draws", DRAWS)
    assert isinstance(draws, int)
    return draws


def information_calls(prompt: Prompt, spec: ToolSpec, total_steps: int) -> int:
    """Denoiser calls that a prompt costs: an image without each word; per level and draw, a prediction without each and one with all."""
    words = len(measured_words(prompt, spec))
    predictions = draws_of(spec) * len(spec.at(total_steps))
    return words * (total_steps + predictions) + predictions if words else 0
