"""Attention to words, added up over the layers of a denoiser call and reduced to shares, entropies and maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipeline.explain.attention import AttentionCall, attention_weights, grid_of

MOST_HELD = 4_000_000
"""Numbers of queries and keys that may wait at once (16 MB)."""


@dataclass(frozen=True)
class WordAttention:
    """Attention to words at one step, for b items.

    Attributes:
        mass: per group, each word's share of the attention on words; the last column is the special
            tokens' share of the attention on text. NaN for a word that the item does not have.
        entropy: per group, of the word's map over space: 0 = one point, 1 = even. Same columns.
        maps: mean over heads and layers on the finest grid; special tokens last.
    """

    groups: tuple[str, ...]
    mass: Float[Tensor, "b group word"]
    entropy: Float[Tensor, "b group word"]
    maps: Float[Tensor, "b word h w"]


@dataclass(frozen=True)
class _Layer:
    """One layer's image queries and all keys, of the items that are looked at."""

    group: str
    query: Float[Tensor, "b head query d"]
    key: Float[Tensor, "b head key d"]
    mask: Tensor | None
    scale: float
    text: slice

    @classmethod
    def of(cls, call: AttentionCall, rows: slice | Tensor) -> _Layer:
        """The part of a call that belongs to some rows of the batch."""
        image, mask = call.image_positions(), call.mask
        if mask is not None and mask.ndim == 4:
            mask = mask[rows] if mask.shape[0] > 1 else mask
            mask = mask[:, :, image] if mask.shape[2] > 1 else mask
        query, key = call.query[rows][:, :, image], call.key[rows]
        return cls(call.layer.group, query, key, mask, call.scale, call.text_positions())

    def shape(self) -> tuple:
        """Layers that are alike in this share their operations; a masked one stays alone."""
        masked = None if self.mask is None else id(self)
        bounds = (self.text.start, self.text.stop)
        return *self.query.shape, *self.key.shape, self.scale, bounds, masked


@dataclass
class WordAccumulator:
    """Adds up attention per word over the layers of one denoiser call.

    `average` (pipeline/models/words.py, `word_average`) has two columns more than there are words: special
    tokens and all text.
    """

    average: Float[Tensor, "b token column"]
    sums: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    _waiting: dict[tuple, list[_Layer]] = field(default_factory=dict)
    _waiting_values: int = 0

    def add(self, call: AttentionCall, rows: slice | Tensor) -> None:
        """Adds one layer's attention, for the rows of the items that `average` describes.

        Small layers of one shape wait for each other and share their operations; on the bundled
        UNet with one image that takes a third off the cost of looking.
        """
        layer = _Layer.of(call, rows)
        self._waiting.setdefault(layer.shape(), []).append(layer)
        self._waiting_values += layer.query.numel() + layer.key.numel()
        if self._waiting_values > MOST_HELD or layer.mask is not None:
            self._add_waiting()

    def _add_waiting(self) -> None:
        for layers in self._waiting.values():
            first = layers[0]
            query = torch.stack([layer.query for layer in layers])
            key = torch.stack([layer.key for layer in layers])
            weights = attention_weights(query, key, first.mask, first.scale)
            per_word = weights[..., first.text].mean(2) @ self.average
            for layer, words in zip(layers, per_word, strict=True):
                group = (layer.group, words.shape[1])
                self.sums[group] = self.sums[group] + words if group in self.sums else words
                self.counts[group] = self.counts.get(group, 0) + 1
        self._waiting, self._waiting_values = {}, 0

    def finish(self, groups: Sequence[str], height: int, width: int) -> WordAttention:
        """Brings the layers to one grid and reduces them to shares, entropies and maps."""
        self._add_waiting()
        grids = {n: grid_of(n, height, width) for _, n in self.sums}
        finest = grids[max(grids)]
        members = {g: [key for key in self.sums if g in ("all", key[0])] for g in groups}
        brought = {
            key: bring_to_grid(total, grids[key[1]], finest) for key, total in self.sums.items()
        }
        maps, means = [], []
        for keys in members.values():
            count = sum(self.counts[key] for key in keys)
            maps.append(torch.stack([brought[key] for key in keys]).sum(0) / count)
            means.append(torch.stack([self.sums[key].mean(1) for key in keys]).sum(0) / count)
        mass = _shares(torch.stack(means, 1))
        stacked = torch.stack(maps, 1)[:, :, :-1]
        return WordAttention(tuple(groups), mass, spatial_entropy(stacked), stacked[:, 0])


def bring_to_grid(
    total: Float[Tensor, "b position k"], grid: tuple[int, int], finest: tuple[int, int]
) -> Float[Tensor, "b k h w"]:
    """Values per position as maps on another grid, bilinear."""
    maps = total.transpose(1, 2).unflatten(2, grid)
    if grid == finest:
        return maps
    return F.interpolate(maps, finest, mode="bilinear", align_corners=False)


def _shares(mean: Float[Tensor, "b group column"]) -> Float[Tensor, "b group word"]:
    words, special, text = mean[..., :-2], mean[..., -2:-1], mean[..., -1:]
    total = words.sum(-1, keepdim=True)
    shares = torch.where(words > 0, words / total.clamp(min=1e-12), torch.nan)
    return torch.cat([shares, special / text.clamp(min=1e-12)], -1)


def spatial_entropy(maps: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b"]:
    """Entropy of each map as a distribution over space, divided by that of an even one.

    Returns: 0 (all in one position) to 1 (even); NaN for a map without any mass.
    """
    flat = maps.flatten(-2).clamp(min=0)
    total = flat.sum(-1, keepdim=True)
    share = flat / total
    entropy = -torch.special.xlogy(share, share).sum(-1)
    return entropy / math.log(max(2, flat.shape[-1]))
