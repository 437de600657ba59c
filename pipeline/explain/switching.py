"""Prompt switching: from which step on a concept is decided, by sampling with one prompt first and another one after.

Source: docs/methods.md, "Prompt switching"; PCI, arXiv 2512.08486. Where an observer correlates steps with the outcome, this
intervenes: the share of switches at a step whose final image has the concept says what is still open there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.diffusion.branch import branches
from pipeline.diffusion.observers import encode
from pipeline.diffusion.watch import Batch
from pipeline.models import loading
from pipeline.study.concepts import Concept
from pipeline.study.pairs import Pair, differing_concepts, directions_of, pairs_of
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ToolSpec

Sample = Callable[[Sequence[Prompt]], Float[Tensor, "b 3 h w"]]
Judge = Callable[[Float[Tensor, "b 3 h w"], Sequence[str], Sequence[str]], list[float | None]]
"""(images, prompts with the concepts, their bases) -> 1 where an image has what only its prompt says, 0 where not, else None."""
SIZE, QUALITY = 64, 80  # of the stored images, WebP


@dataclass(frozen=True)
class Switched:
    """A pair of prompts of an item of the batch."""

    item: int
    pair: Pair
    prompt: Prompt
    concepts: tuple[Concept, ...]

    @property
    def base(self) -> Prompt:
        """The prompt to switch from."""
        return replace(self.prompt, text=self.pair.base)


class Switching:
    """The switches of a batch, after its own images are sampled; gives the shard's `switches` and `switch_images`.

    Args:
        batch: what was sampled.
        spec: the study's `switch`.
        bank: the study's concepts.
        embed: unit embeddings of each concept's phrasings by the first scorer, in the order of the bank.
        sample: the pipeline's own call for some prompts, with the batch's seed.
        most: pairs in one call.
        judge: says of images whether they have what they should; None = nobody does.
    """

    def __init__(
        self,
        batch: Batch,
        spec: ToolSpec,
        bank: Sequence[Concept],
        embed: Float[Tensor, "k d"],
        sample: Sample,
        most: int,
        judge: Judge | None = None,
    ) -> None:
        self._batch, self._spec, self._sample = batch, spec, sample
        self._most, self._judge = most, judge
        self._vectors = {concept.key: vector for concept, vector in zip(bank, embed, strict=True)}
        self._module: nn.Module = loading.denoiser_of(batch.pipeline)
        self._rows: list[list[dict[str, Any]]] = [[] for _ in batch.prompts]
        self._images: list[list[dict[str, Any]]] = [[] for _ in batch.prompts]
        self._pairs = [
            Switched(item, pair, prompt, tuple(differing_concepts(pair, prompt.text, bank)))
            for item, prompt in enumerate(batch.prompts)
            for pair in pairs_of(prompt, spec)
        ]

    @torch.no_grad()
    def measure(self) -> None:
        """Sample and score all switches, as many pairs in a call as fit."""
        if "switch" in self._batch.family.missing():
            return
        for start in range(0, len(self._pairs), self._most):
            pairs = self._pairs[start : start + self._most]
            for direction, step, images in self._switched(pairs):
                self._note(pairs, direction, step, images)

    def columns(self, item: int) -> dict[str, Any]:
        """`switches` and `switch_images` of an item."""
        return {"switches": self._rows[item], "switch_images": self._images[item]}

    def _switched(self, pairs: Sequence[Switched]) -> Iterator[tuple[str, int, Tensor]]:
        """(direction, step, images) of all switches: the plain images are sampled once for both directions."""
        total, asked = self._batch.total_steps, directions_of(self._spec)
        steps = self._spec.after_start(total)
        with_concept = partial(self._sample, [pair.prompt for pair in pairs])
        without = partial(self._sample, [pair.base for pair in pairs])
        runs = {"insert": (without, with_concept), "remove": (with_concept, without)}
        ends: dict[str, Tensor] = {}
        for direction in asked:
            for step, images in branches(self._module, *runs[direction], steps, total):
                if step == total:
                    ends[direction] = images
                yield direction, step, images
        opposite = {"insert": "remove", "remove": "insert"}
        for direction in asked:  # a switch at step 0 is the second prompt's own image
            known = ends.get(opposite[direction])
            yield direction, 0, runs[direction][1]() if known is None else known

    def _note(
        self, pairs: Sequence[Switched], direction: str, step: int, images: Float[Tensor, "b 3 h w"]
    ) -> None:
        scorer = self._batch.scorer
        embeddings = scorer.images(images)
        texts, bases = [p.prompt.text for p in pairs], [p.pair.base for p in pairs]
        gap = ((scorer.texts(texts) - scorer.texts(bases)) * embeddings).sum(-1).tolist()
        judged = self._judge(images, texts, bases) if self._judge else [None] * len(pairs)
        size = self._spec.options.get("size", SIZE)
        assert isinstance(size, int)
        for index, switched in enumerate(pairs):
            where = {"base": switched.pair.base, "direction": direction, "step": step}
            self._images[switched.item].append(
                {**where, "image": encode(images[index], size, QUALITY)}
            )
            said = {"preference": gap[index], "judged": judged[index]}
            self._rows[switched.item] += [
                {
                    **where,
                    "differs": switched.pair.differs,
                    "concept": key,
                    "similarity": value,
                    **said,
                }
                for key, value in self._similarities(switched, embeddings[index])
            ]

    def _similarities(
        self, switched: Switched, embedding: Float[Tensor, " d"]
    ) -> list[tuple[str, float | None]]:
        """(concept, cosine) of an image and the pair's concepts; one without a name where the bank has none."""
        keys = [concept.key for concept in switched.concepts]
        return [(key, float(embedding @ self._vectors[key])) for key in keys] or [("", None)]
