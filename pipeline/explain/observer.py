"""One observer for all explanations of a batch: maps, words, faithfulness, agreement; and one for spectra.

The tools share a step's maps, so that faithfulness and agreement judge the very maps that are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pipeline.diffusion.observers import ImageObserver
from pipeline.diffusion.watch import Batch, StepView
from pipeline.explain.concept_recorder import ConceptRecorder
from pipeline.explain.judge import agreement_rows, faithfulness_rows
from pipeline.explain.maps import MapRecords, resize_map
from pipeline.explain.recorders import AttentionRecorder, RelevanceRecorder, StepWords
from pipeline.explain.tools import TOOLS, random_maps
from pipeline.metrics.spectra import BAND_EDGES, band_power
from pipeline.models.transfers import to_host
from pipeline.models.words import plain
from pipeline.study.spec import METHODS, Measures, ToolSpec

COLUMNS = ("faithfulness", "agreement")
SEPARATE = (
    "faithfulness",
    "concept-attention",
)  # planned like a method; give no map of the whole prediction


class Explainer:
    """Runs the explanation tools of a study on every step of a batch.

    A context manager: attention is read while the pipeline itself runs, through hooks that come off again.
    """

    def __init__(self, measures: Measures, batch: Batch) -> None:
        self._measures, self._batch = measures, batch
        self._plan = plan_items(measures, batch)
        self._rows: list[dict[str, list[dict[str, Any]]]] = [
            {column: [] for column in COLUMNS} for _ in batch.prompts
        ]
        self._maps: list[list[MapRecords]] = [[] for _ in batch.prompts]
        self._attention = AttentionRecorder(batch, self._plan.get("attention", {}))
        self._relevance = RelevanceRecorder(batch, measures.protocol)
        self._concepts = ConceptRecorder(batch, self._spec("concept-attention"))

    def __enter__(self) -> Explainer:
        self._attention.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._attention.__exit__(*error)

    def on_step(self, view: StepView) -> None:
        """Explain this step as far as the study asks for it."""
        attended = self._attention.take(view)
        relevant = self._relevance.take(view, self._items("relevance", view.step))
        maps_by_method: dict[str, dict[int, Tensor]] = {
            "attention": self._store_words("attention", view, attended),
            "relevance": self._store_words("relevance", view, relevant),
        }
        for method, tool in TOOLS.items():
            items = self._items(method, view.step)
            if items:
                maps = tool(view, items, self._spec(method), self._measures.protocol)
                maps_by_method[method] = maps
                for item, values in maps.items():
                    self._maps[item].append(MapRecords(view.step, method, ("",), values[None]))
        for item, records in self._concepts.take(view, self._items("concept-attention", view.step)):
            self._maps[item].append(records)
        self._judge(view, maps_by_method)
        self._attention.expect(view.step + 1)

    def columns(self, item: int) -> dict[str, Any]:
        """All columns of explanations of an item; those that were not asked for are empty."""
        words = self._attention.rows(item) + self._relevance.rows(item)
        return {
            **self._rows[item],
            "words": words,
            "explanations": [row for maps in self._maps[item] for row in maps.rows()],
            "concept_attention": self._concepts.rows(item),
        }

    def _items(self, method: str, step: int) -> list[int]:
        return self._plan.get(method, {}).get(step, [])

    def _spec(self, method: str) -> ToolSpec:
        return self._measures.tools().get(method, ToolSpec())

    def _store_words(
        self, method: str, view: StepView, words: Mapping[int, StepWords]
    ) -> dict[int, Tensor]:
        """Stores an item's maps per word, if asked for; returns its map over all words."""
        stored = view.step in self._spec(method).map_steps(view.total_steps)
        wanted = wanted_words(self._spec(method))
        for item, step_words in words.items():
            named = {"": step_words.total()} | (step_words.named(wanted) if stored else {})
            if stored or item in self._items("faithfulness", view.step):
                maps = torch.stack(list(named.values()))
                self._maps[item].append(MapRecords(view.step, method, tuple(named), maps))
        return {item: step_words.total() for item, step_words in words.items()}

    def _judge(self, view: StepView, maps_by_method: Mapping[str, Mapping[int, Tensor]]) -> None:
        size = (view.latents.shape[-2], view.latents.shape[-1])
        judged = self._items("faithfulness", view.step)
        spec, protocol = self._measures.faithfulness, self._measures.protocol
        seed = spec.seed if spec else 0
        baseline = ToolSpec(options={"seed": seed + 1})  # not the map of the method "random"
        random = random_maps(view, judged, baseline, protocol)
        for item, rows in enumerate(self._rows):
            maps = {
                method: resize_map(maps_by_method[method][item].float(), size)
                for method in METHODS
                if item in maps_by_method.get(method, {})
            }
            if spec is not None and item in judged:
                chosen = {m: maps[m] for m in judged_methods(self._measures) if m in maps}
                rows["faithfulness"] += faithfulness_rows(
                    view, item, chosen, random[item], spec, protocol
                )
            if self._measures.agreement:
                rows["agreement"] += agreement_rows(view.step, maps)


class SpectrumObserver(ImageObserver):
    """The radial power spectrum of every step's clean image: the shard's `spectrum`."""

    def __init__(self) -> None:
        self._power: list[Tensor] = []

    def on_step(self, view: StepView) -> None:
        """Measure this step's images."""
        self._power.append(band_power(view.images()))

    def finish(self) -> None:
        """Bring the spectra to the host, by one copy."""
        self._power = to_host(self._power)

    def columns(self, item: int) -> dict[str, Any]:
        """`spectrum` of an item: one record a band."""
        self.finish()
        powers = torch.stack(self._power)[:, item].T.tolist()
        records = [
            {"band": band, "low": low, "high": high, "power": power}
            for band, ((low, high), power) in enumerate(
                zip(pairwise(BAND_EDGES), powers, strict=True)
            )
        ]
        return {"spectrum": records}


def wanted_words(spec: ToolSpec) -> frozenset[str] | None:
    """The words whose maps a study stores, without case and punctuation; None = all."""
    words = spec.options.get("words")
    return None if words is None else frozenset(plain(word) for word in words)  # type: ignore[union-attr]


def judged_methods(measures: Measures) -> tuple[str, ...]:
    """The methods whose maps play insertion and deletion: those named, or all that the study runs."""
    if measures.faithfulness is None:
        return ()
    named = measures.faithfulness.options.get("methods")
    if isinstance(named, tuple):
        return named
    return tuple(method for method in METHODS if method in measures.tools())


def plan_items(measures: Measures, batch: Batch) -> dict[str, dict[int, list[int]]]:
    """Per method and step, the items to explain: those that the tool or faithfulness asks for.

    What the model's family cannot give is left out; `check_measures` has said so.
    """
    missing = batch.family.missing(measures.protocol)
    tools, judged = measures.tools(), judged_methods(measures)
    plan: dict[str, dict[int, list[int]]] = {}
    for method in (*METHODS, *SEPARATE):
        if method in missing:
            continue
        specs = [tools[method]] if method in tools else []
        if method in judged:
            specs.append(tools["faithfulness"])
        plan[method] = _items_by_step(specs, batch)
    return plan


def _items_by_step(specs: Sequence[ToolSpec], batch: Batch) -> dict[int, list[int]]:
    item_sets: dict[int, set[int]] = {}
    for spec in specs:
        items = {
            item
            for item, prompt in enumerate(batch.prompts)
            if spec.prompts is None or prompt.position < spec.prompts
        }
        for step in spec.at(batch.total_steps) if items else ():
            item_sets.setdefault(step, set()).update(items)
    return {step: sorted(items) for step, items in item_sets.items()}
