"""What a study keeps of ConceptAttention: every concept's share of the image at each step, and the maps that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.diffusion.watch import Batch, StepView
from pipeline.explain.concept_attention import ConceptMaps, concept_maps, concept_sets
from pipeline.explain.maps import map_record
from pipeline.study.concepts import Concept
from pipeline.study.pairs import named_concepts
from pipeline.study.spec import ToolSpec

METHOD = "concept-attention"


class ConceptRecorder:
    """Gives the shard's `concept_attention` and its maps in `explanations`.

    Args:
        batch: what is sampled, with the phrases of the concepts.
        spec: the study's `concept-attention`.

    Source: docs/methods.md, "ConceptAttention".
    """

    def __init__(self, batch: Batch, spec: ToolSpec) -> None:
        self._batch, self._spec = batch, spec
        self._curves: list[dict[tuple[str, str], dict[str, list]]] = [{} for _ in batch.prompts]

    def take(
        self, view: StepView, items: Sequence[int]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Measures a step for some items. Yields: (item, its maps that are stored)."""
        phrases = self._batch.phrases
        if not items or phrases is None:
            return
        sets = concept_sets(phrases, self._spec)
        maps = concept_maps(view.denoiser, items, phrases, sets)
        self._note(view.step, items, maps)
        stored = view.step in self._spec.map_steps(view.total_steps)
        for row, item in enumerate(items):
            wanted = self._wanted(item) if stored else ()
            yield (
                item,
                [
                    map_record(view.step, METHOD, concept.key, maps.maps[row, 0, index])
                    for index, concept in enumerate(phrases.concepts)
                    if concept in wanted
                ],
            )

    def rows(self, item: int) -> list[dict[str, Any]]:
        """The shard's `concept_attention` of an item."""
        return [
            {"concept": concept, "layer_group": group, **curves}
            for (concept, group), curves in self._curves[item].items()
        ]

    def _note(self, step: int, items: Sequence[int], maps: ConceptMaps) -> None:
        assert self._batch.phrases is not None
        share, peak = maps.maps.mean((-2, -1)).tolist(), maps.maps.amax((-2, -1)).tolist()
        for row, item in enumerate(items):
            for position, group in enumerate(maps.groups):
                for index, concept in enumerate(self._batch.phrases.concepts):
                    empty: dict[str, list] = {"steps": [], "share": [], "peak": []}
                    curves = self._curves[item].setdefault((concept.key, group), empty)
                    curves["steps"].append(step)
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
