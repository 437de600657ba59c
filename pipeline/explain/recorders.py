"""What each word of a prompt got at each step: raw attention, and relevance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.diffusion.watch import Batch, StepView
from pipeline.explain.attention import (
    AttentionCall,
    AttentionLayer,
    AttentionTap,
    attention_layers,
    layer_groups,
    text_layers,
)
from pipeline.explain.paper_relevance import paper_relevance
from pipeline.explain.relevance import token_relevance, word_scores
from pipeline.explain.tools import apart, conditional_forward
from pipeline.explain.word_attention import WordAccumulator
from pipeline.models.loading import denoiser_of, stage_of
from pipeline.models.transfers import index_of, to_host
from pipeline.models.words import SPECIAL, plain, split_words, word_average, word_roles


@dataclass(frozen=True)
class StepWords:
    """An item's maps at one step, for the words that the text encoder saw."""

    words: tuple[str, ...]
    maps: Float[Tensor, "word h w"]

    def total(self) -> Float[Tensor, "h w"]:
        """The sum over all words: where the prompt as a whole acts."""
        return self.maps.sum(0)

    def named(self, wanted: Collection[str] | None = None) -> dict[str, Float[Tensor, "h w"]]:
        """Map by word; a word that comes again is called `a (2)`.

        Args:
            wanted: plain words to keep; None = all.
        """
        by_word: dict[str, Tensor] = {}
        for word, values in zip(self.words, self.maps, strict=True):
            count = 1 + sum(name == word or name.startswith(f"{word} (") for name in by_word)
            by_word[word if count == 1 else f"{word} ({count})"] = values
        if wanted is None:
            return by_word
        names = [
            name for name, word in zip(by_word, self.words, strict=True) if plain(word) in wanted
        ]
        return {name: by_word[name] for name in names}


@dataclass(frozen=True)
class Layout:
    """Which text positions are which words, for all items of a batch.

    Attributes:
        average: see `word_average`.
        present: per item, the indices of the words that have a position.
    """

    average: Float[Tensor, "b token column"]
    present: tuple[tuple[int, ...], ...]


def batch_layout(batch: Batch, length: int) -> Layout:
    """The layout of a batch whose denoiser attends to `length` text positions."""
    texts = [prompt.text for prompt in batch.prompts]
    layouts = [text_layout(batch, text, length) for text in texts]
    count = max(len(split_words(text)) for text in texts)
    present = tuple(tuple(sorted({int(w) for w in row} - {SPECIAL})) for row in layouts)
    return Layout(word_average(layouts, count), present)


def text_layout(batch: Batch, text: str, length: int) -> Int[np.ndarray, " length"]:
    """The word index of each text position that the batch's denoiser attends to.

    What belongs to no word (special tokens, padding, registers, instructions) is -1.
    """
    layout = batch.family.layout
    return np.full(length, SPECIAL) if layout is None else layout(batch.pipeline, text, length)


@dataclass(frozen=True)
class StepValues:
    """What the words of some items got at a step, on the model's device.

    Attributes:
        words: of each item: the column of `values` that each word has.
        values: "item group column", by name.
    """

    step: int
    items: tuple[int, ...]
    groups: tuple[str, ...]
    words: tuple[Mapping[int, int], ...]
    values: Mapping[str, Tensor]


class WordTable:
    """Rows of the shard's `words`, gathered step by step; the numbers stay on their device until the rows are asked for."""

    def __init__(self, batch: Batch, source: str) -> None:
        self._batch, self._source = batch, source
        self._steps: list[StepValues] = []
        self._rows: list[dict[tuple[int, str], dict[str, list]]] = [{} for _ in batch.prompts]

    def add(self, values: StepValues) -> None:
        """Notes the words of a step."""
        self._steps.append(values)

    def _bring(self) -> None:
        """Brings the numbers of all steps to the host, by one copy, and sorts them by item and word."""
        steps, self._steps = self._steps, []
        host = iter(to_host([tensor for step in steps for tensor in step.values.values()]))
        for step in steps:
            self._sort(step, {name: next(host).tolist() for name in step.values})

    def _sort(self, step: StepValues, values: Mapping[str, list]) -> None:
        for position, (item, words) in enumerate(zip(step.items, step.words, strict=True)):
            for number, group in enumerate(step.groups):
                for word, column in words.items():
                    empty: dict[str, list] = {"steps": [], **{name: [] for name in values}}
                    row = self._rows[item].setdefault((word, group), empty)
                    row["steps"].append(step.step)
                    for name, of_items in values.items():
                        row[name].append(of_items[position][number][column])

    def rows(self, item: int) -> list[dict[str, Any]]:
        """The item's rows, by word, the special tokens (index -1) last."""
        self._bring()
        prompt = self._batch.prompts[item]
        words, roles = split_words(prompt.text), word_roles(prompt.text, prompt.roles)
        return [
            {
                "word_index": word,
                "word": "special" if word == SPECIAL else words[word],
                "role": "special" if word == SPECIAL else roles[word],
                "source": self._source,
                "layer_group": group,
                "steps": row["steps"],
                "mass": row["mass"],
                "scaled": row.get("scaled"),
                "entropy": row.get("entropy"),
            }
            for (word, group), row in sorted(
                self._rows[item].items(), key=lambda pair: pair[0][0] % (len(words) + 1)
            )
        ]


class AttentionRecorder:
    """Reads the attention of the pipeline's own denoiser calls, at some steps and for some items.

    Args:
        batch: what is sampled.
        plan: step -> the items to look at.
        layers: the layers to look at; None = all through which image positions attend to text.

    Source: docs/methods.md, "Attention".
    """

    def __init__(
        self,
        batch: Batch,
        plan: Mapping[int, Sequence[int]],
        layers: Sequence[AttentionLayer] | None = None,
    ) -> None:
        self._batch, self._plan, self._layers = batch, plan, layers
        self._table = WordTable(batch, "attention")
        self._tap: AttentionTap | None = None
        self._layout: Layout | None = None
        self._averages: dict[tuple[int, ...], Tensor] = {}
        self._calls = 0
        self._sums: WordAccumulator | None = None
        self._step = 0

    def __enter__(self) -> AttentionRecorder:
        if self._plan:
            layers = self._layers
            if layers is None:
                layers = text_layers(denoiser_of(self._batch.pipeline))
            self._groups = layer_groups(layers)
            self._tap = AttentionTap(layers, self._see)
            self._tap.__enter__()
            denoiser = denoiser_of(self._batch.pipeline)
            self._counter = denoiser.register_forward_pre_hook(self._count)
            self.expect(0)
        return self

    def __exit__(self, *error: object) -> None:
        if self._tap is not None:
            self._counter.remove()
            self._tap.__exit__(*error)

    def _count(self, *_: object) -> None:
        """The first call of a step is looked at; a second is the unconditional one, or a replay of another observer."""
        self._calls += 1
        if self._tap is not None and self._calls == 2:
            self._tap.active = False

    def expect(self, step: int) -> None:
        """Look at the denoiser's next call if it belongs to a wanted step."""
        self._step, self._sums, self._calls = step, None, 0
        if self._tap is not None:
            self._tap.active = step in self._plan

    @torch.no_grad()
    def _see(self, call: AttentionCall, model_output: Any) -> Tensor:
        output, call = model_output(), call.aligned()
        items, batch = self._plan[self._step], len(self._batch.prompts)
        if self._layout is None:
            length = call.key.shape[2] if call.layer.kind == "cross" else call.text
            self._layout = batch_layout(self._batch, length)
        if self._sums is None:
            self._sums = WordAccumulator(self._average_of(tuple(items), call.query.device))
        first = self._first_row(call.query.shape[0], batch)
        rows: slice | Tensor = slice(first, first + batch)
        if len(items) < batch:
            rows = index_of(tuple(first + item for item in items), call.query.device)
        self._sums.add(call, rows)
        return output

    def _first_row(self, rows: int, batch: int) -> int:
        """The first of the conditional items: they come last, or first; with perturbed attention, first but for unconditional ones."""
        guidance = self._batch.family.guidance
        if guidance == "perturbed":
            return batch if stage_of(self._batch.pipeline).do_classifier_free_guidance else 0
        return 0 if guidance == "swapped" else rows - batch

    def _average_of(self, items: tuple[int, ...], device: torch.device) -> Tensor:
        """The part of the layout that is of some items; copied to the device once."""
        assert self._layout is not None
        if items not in self._averages:
            self._averages[items] = self._layout.average[list(items)].to(device)
        return self._averages[items]

    def take(self, view: StepView) -> dict[int, StepWords]:
        """What was seen at this step, by item; until `expect`, calls are not looked at."""
        if self._tap is None:
            return {}
        self._tap.active = False
        if self._sums is None or self._layout is None:
            return {}
        sums = self._sums.finish(self._groups, view.latents.shape[-2], view.latents.shape[-1])
        items = tuple(self._plan[view.step])
        words = [(*self._layout.present[item], SPECIAL) for item in items]
        columns = tuple({word: word for word in of_item} for of_item in words)
        values = {"mass": sums.mass, "entropy": sums.entropy}
        self._table.add(StepValues(view.step, items, sums.groups, columns, values))
        return {
            item: self._words_of(item, maps) for item, maps in zip(items, sums.maps, strict=True)
        }

    def _words_of(self, item: int, maps: Float[Tensor, "column h w"]) -> StepWords:
        """The maps of an item's words; picked one by one, for a list as an index is copied to the device."""
        assert self._layout is not None
        words, present = split_words(self._batch.prompts[item].text), self._layout.present[item]
        picked = torch.stack([maps[word] for word in present]) if present else maps[:0]
        return StepWords(tuple(words[word] for word in present), picked)

    def rows(self, item: int) -> list[dict[str, Any]]:
        """The shard's `words` rows of an item."""
        return self._table.rows(item)


class RelevanceRecorder:
    """Relevance of every word, by a replay of the denoiser with gradients.

    Source: docs/methods.md, "Relevance".
    """

    def __init__(self, batch: Batch, protocol: str = "ours") -> None:
        self._batch, self._protocol = batch, protocol
        self._table = WordTable(batch, "relevance")
        self._layout: Layout | None = None

    def take(self, view: StepView, items: Sequence[int]) -> dict[int, StepWords]:
        """Relevance at this step of some items."""
        if not items:
            return {}
        return {item: self._one(view.step, item, maps) for item, maps in self._tokens(view, items)}

    def _tokens(
        self, view: StepView, items: Sequence[int]
    ) -> Iterable[tuple[int, Float[Tensor, "token h w"]]]:
        if self._protocol == "park2024":
            return ((item, paper_relevance(view, item)) for item in items)
        layers = attention_layers(view.denoiser.module)
        size = (view.latents.shape[-2], view.latents.shape[-1])
        return (
            pair
            for members in apart(view.batch.family, items)
            for pair in zip(
                members,
                token_relevance(conditional_forward(view.denoiser, members), layers, size),
                strict=True,
            )
        )

    def _one(self, step: int, item: int, tokens: Float[Tensor, "token h w"]) -> StepWords:
        if self._layout is None or self._layout.average.shape[1] != tokens.shape[0]:
            self._layout = batch_layout(self._batch, tokens.shape[0])
        present = self._layout.present[item]
        average = self._layout.average[item].to(tokens)[:, list(present)]
        if self._protocol == "park2024":  # the sum over a word's tokens
            average = (average > 0).to(tokens)
        maps = torch.einsum("thw,tk->khw", tokens, average)
        raw, scaled = word_scores(maps, [True] * len(present))
        columns = ({word: column for column, word in enumerate(present)},)
        values = {"mass": raw[None, None], "scaled": scaled[None, None]}
        self._table.add(StepValues(step, (item,), ("all",), columns, values))
        words = split_words(self._batch.prompts[item].text)
        return StepWords(tuple(words[word] for word in present), maps)

    def rows(self, item: int) -> list[dict[str, Any]]:
        """The shard's `words` rows of an item."""
        return self._table.rows(item)
