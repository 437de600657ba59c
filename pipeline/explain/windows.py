"""Critical windows: from which step on an attribute of an image no longer changes, by drawing finished images anew.

Source: docs/methods.md, "Critical windows"; Li and Chen 2024, arXiv 2403.01633. A redraw from a noise level keeps an attribute
that is decided there, and loses it where it is still open.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.diffusion.redraw import record, redraw, unfit
from pipeline.diffusion.watch import Batch
from pipeline.explain.switching import Sample
from pipeline.models import loading
from pipeline.study.concepts import Concept
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ToolSpec
from pipeline.study.windows import redraws_of

Reading = Mapping[str, Hashable]
"""What an image shows: attribute by family; a family that nothing is known of is missing."""
Reader = Callable[[Float[Tensor, "b 3 h w"], Sequence[str]], Sequence[Reading]]


class CriticalWindows:
    """The redraws of a batch, after its own images are sampled; gives the shard's `redraws`.

    Args:
        batch: what was sampled.
        spec: the study's `critical-windows`.
        bank: the study's concepts.
        embed: unit embeddings of each concept's phrasings by the first scorer, in the order of the bank.
        sample: the pipeline's own call for some prompts, with the batch's seed.
        judge: reads images; None = nobody does.
    """

    def __init__(
        self,
        batch: Batch,
        spec: ToolSpec,
        bank: Sequence[Concept],
        embed: Float[Tensor, "k d"],
        sample: Sample,
        judge: Reader | None = None,
    ) -> None:
        self._batch, self._spec, self._sample = batch, spec, sample
        self._families = [concept.family for concept in bank]
        self._embed, self._judge = embed, judge
        most = len(batch.prompts) if spec.prompts is None else spec.prompts
        first = spec.prompts is None
        self._items = [
            i for i, prompt in enumerate(batch.prompts) if first or prompt.position < most
        ]
        self._rows: dict[int, list[dict[str, Any]]] = {}

    @torch.no_grad()
    def measure(self) -> None:
        """Draw the images anew and compare them with the finished ones, all prompts of the batch in one call."""
        stage, module = (
            loading.stage_of(self._batch.pipeline),
            loading.denoiser_of(self._batch.pipeline),
        )
        if not self._items or unfit(type(stage.scheduler)):
            return
        prompts = [self._batch.prompts[i] for i in self._items]
        run = partial(self._sample, prompts)
        plain = record(module, stage.scheduler, run)
        finished = self._readings(plain.images, prompts)
        self._rows = {i: [] for i in self._items}
        count = redraws_of(self._spec)
        for step in self._spec.after_start(self._batch.total_steps):
            images = (
                redraw(module, stage.scheduler, run, plain, step, self._seed(step, number))
                for number in range(count)
            )
            self._note(step, finished, [self._readings(each, prompts) for each in images])

    def columns(self, item: int) -> dict[str, Any]:
        """`redraws` of an item."""
        return {"redraws": self._rows.get(item, [])}

    def _seed(self, step: int, number: int) -> int:
        """Of the noise of a redraw: its own for each seed, step and redraw."""
        return (self._batch.seed * 1_000_003 + step * 1_009 + number + 1) % 2**63

    def _readings(
        self, images: Float[Tensor, "b 3 h w"], prompts: Sequence[Prompt]
    ) -> dict[str, Sequence[Reading]]:
        """What each view reads off each image."""
        similarity = self._batch.scorer.images(images) @ self._embed.T
        read: dict[str, Sequence[Reading]] = {
            "kept": [nearest(row, self._families) for row in similarity]
        }
        if self._judge is not None:
            read["judged"] = self._judge(images, [prompt.text for prompt in prompts])
        return read

    def _note(
        self,
        step: int,
        finished: Mapping[str, Sequence[Reading]],
        redraws: Sequence[Mapping[str, Sequence[Reading]]],
    ) -> None:
        for index, item in enumerate(self._items):
            families = sorted({f for view in finished.values() for f in view[index]})
            for family in families:
                counts = {
                    view: count_kept(rows[index], [each[view][index] for each in redraws], family)
                    for view, rows in finished.items()
                }
                self._rows[item].append(
                    {"step": step, "family": family, "redraws": len(redraws), "judged": None}
                    | counts
                )


def count_kept(finished: Reading, redraws: Sequence[Reading], family: str) -> int | None:
    """How many redraws show the finished image's attribute of a family; None where it has none."""
    if family not in finished:
        return None
    return sum(each.get(family) == finished[family] for each in redraws)


def nearest(similarity: Float[Tensor, " k"], families: Sequence[str]) -> Reading:
    """The scorer's nearest concept of each family with at least two, by its place in the bank (zero-shot classification)."""
    members: dict[str, list[int]] = {}
    for number, family in enumerate(families):
        members.setdefault(family, []).append(number)
    return {
        family: which[int(similarity[which].argmax())]
        for family, which in members.items()
        if len(which) > 1
    }
