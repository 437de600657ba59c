"""What a study keeps of ConceptAttention: every concept's share of the image at each step, and the maps that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.diffusion.watch import Batch, StepView
from pipeline.explain.concept_attention import concept_maps, concept_sets
from pipeline.explain.maps import MapRecords
from pipeline.models.transfers import to_host
from pipeline.study.concepts import Concept
from pipeline.study.pairs import named_concepts
from pipeline.study.spec import ToolSpec

METHOD = "concept-attention"


@dataclass(frozen=True)
class _Measured:
    """Share and peak of every concept at a step, on the model's device."""

    step: int
    items: tuple[int, ...]
    groups: tuple[str, ...]
    share: Float[Tensor, "b group concept"]
    peak: Float[Tensor, "b group concept"]


class ConceptRecorder:
    """Gives the shard's `concept_attention` and its maps in `explanations`.

    Args:
        batch: what is sampled, with the phrases of the concepts.
        spec: the study's `concept-attention`.

    Source: docs/methods.md, "ConceptAttention".
    """

    def __init__(self, batch: Batch, spec: ToolSpec) -> None:
        self._batch, self._spec = batch, spec
        self._measured: list[_Measured] = []
        self._curves: list[dict[tuple[str, str], dict[str, list]]] = [{} for _ in batch.prompts]

    def take(self, view: StepView, items: Sequence[int]) -> Iterator[tuple[int, MapRecords]]:
        """Measures a step for some items. Yields: (item, its maps that are stored)."""
        phrases = self._batch.phrases
        if not items or phrases is None:
            return
        sets = concept_sets(phrases, self._spec)
        maps = concept_maps(view.denoiser, items, phrases, sets)
        share, peak = maps.maps.mean((-2, -1)), maps.maps.amax((-2, -1))
        self._measured.append(_Measured(view.step, tuple(items), maps.groups, share, peak))
        stored = view.step in self._spec.map_steps(view.total_steps)
        for row, item in enumerate(items):
            wanted = self._wanted(item) if stored else ()
            named = {
                concept.key: maps.maps[row, 0, index]
                for index, concept in enumerate(phrases.concepts)
                if concept in wanted
            }
            if named:
                stacked = torch.stack(list(named.values()))
                yield item, MapRecords(view.step, METHOD, tuple(named), stacked)

    def rows(self, item: int) -> list[dict[str, Any]]:
        """The shard's `concept_attention` of an item."""
        self._note_measured()
        return [
            {"concept": concept, "layer_group": group, **curves}
            for (concept, group), curves in self._curves[item].items()
        ]

    def _note_measured(self) -> None:
        """Brings the numbers of all steps to the host, by one copy, and sorts them by item."""
        measured, self._measured = self._measured, []
        host = to_host([tensor for each in measured for tensor in (each.share, each.peak)])
        for each, share, peak in zip(measured, host[::2], host[1::2], strict=True):
            self._note(each, share.tolist(), peak.tolist())

    def _note(self, measured: _Measured, share: list, peak: list) -> None:
        assert self._batch.phrases is not None
        for row, item in enumerate(measured.items):
            for position, group in enumerate(measured.groups):
                for index, concept in enumerate(self._batch.phrases.concepts):
                    empty: dict[str, list] = {"steps": [], "share": [], "peak": []}
                    curves = self._curves[item].setdefault((concept.key, group), empty)
                    curves["steps"].append(measured.step)
                    curves["share"].append(share[row][position][index])
                    curves["peak"].append(peak[row][position][index])

    def _wanted(self, item: int) -> tuple[Concept, ...]:
        """The concepts whose maps are stored: those that the study lists, else those that the prompt names."""
        assert self._batch.phrases is not None
        concepts = self._batch.phrases.concepts
        listed = self._spec.options.get("concepts")
        if isinstance(listed, tuple):
            return tuple(c for c in concepts if c.key in listed or c.name in listed)
        return tuple(named_concepts(self._batch.prompts[item].text, concepts))
