"""ConceptAttention: where the denoiser's attention outputs are those of a concept, named by the prompt or not.

The denoiser is called once more with the tokens of all concepts behind those of the prompt. Image and prompt do not attend
to them, so the call computes what it would without them; the tokens of a phrasing attend to the image and to each other and
pass through the text stream of every block. A concept's map in a layer is the softmax over concepts of the inner product of
an image position's attention output with the concept's.

Source: docs/methods.md, "ConceptAttention"; Helbling et al. 2025, arXiv 2502.04320.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.phrases import Phrases
from pipeline.explain.attention import (
    AttentionCall,
    AttentionLayer,
    AttentionTap,
    grid_of,
    layer_groups,
    text_layers,
)
from pipeline.explain.word_attention import bring_to_grid
from pipeline.models.transfers import index_of
from pipeline.study.spec import ToolSpec


@dataclass(frozen=True)
class ConceptMaps:
    """Each concept's map at one step, for b items.

    Attributes:
        groups: `all` layers, then groups of them or single ones.
        maps: the mean over a group's layers of the softmax over concepts, 0..1, on the finest grid of the layers.
    """

    groups: tuple[str, ...]
    maps: Float[Tensor, "b group concept h w"]


def group_of(layer: AttentionLayer) -> str:
    """The group of a layer, as attention to words has it."""
    return layer.group


def concept_sets(phrases: Phrases, spec: ToolSpec) -> list[list[int]]:
    """The sets of concepts that a softmax is taken over: each family, or the whole bank; of one concept alone it would say nothing."""
    bank = list(range(len(phrases.concepts)))
    if spec.options.get("among") == "bank":
        return [bank]
    return phrases.families()


@torch.no_grad()
def concept_maps(
    denoiser: Denoiser,
    items: Sequence[int],
    phrases: Phrases,
    sets: Sequence[Sequence[int]],
    name_of: Callable[[AttentionLayer], str] = group_of,
) -> ConceptMaps:
    """The map of every concept for some items of a captured call, by one call of its conditional half.

    Args:
        denoiser: the call; what it computes is not changed.
        items: of its batch.
        phrases: the concepts.
        sets: indices of the concepts that each softmax is taken over; a concept alone is compared with the whole bank.
        name_of: the group that a layer is counted in, beside `all`.
    """
    layers = text_layers(denoiser.module)
    stream = ConceptStream(phrases, sets, name_of, denoiser.text_behind)
    longer = denoiser.with_more_text(phrases.tokens, phrases.indices)
    index = index_of(tuple(items), denoiser.latents.device)
    with AttentionTap(layers, stream.see):
        longer.conditional_of(denoiser.latents.index_select(0, index), items)
    names = layer_groups(layers)[1:] if name_of is group_of else list(map(name_of, layers))
    return stream.finish(["all", *names], denoiser.latents.shape[-2], denoiser.latents.shape[-1])


@dataclass
class ConceptStream:
    """Keeps the concepts' tokens from image and prompt, and adds up the concepts' maps over the layers of one call."""

    phrases: Phrases
    sets: Sequence[Sequence[int]]
    name_of: Callable[[AttentionLayer], str] = group_of
    behind: int = 0  # text keys that follow the concepts'
    _sums: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    _counts: dict[tuple[str, int], int] = field(default_factory=dict)

    def see(self, call: AttentionCall, _model_output: Callable[[], Tensor]) -> Tensor:
        """The layer's output: of image and prompt as without concepts, of concepts as they see the image."""
        if call.has_text_keys_only:
            output, concepts = self._keys_alone(call)
            image = output
        else:
            output, concepts = self._joint(call)
            image = output[:, :, call.image_positions()]
        self._add(call.layer, self.outputs(image), self.outputs(concepts))
        return output

    def finish(self, groups: Sequence[str], height: int, width: int) -> ConceptMaps:
        """Brings the layers to one grid and averages them."""
        grids = {count: grid_of(count, height, width) for _, count in self._sums}
        finest = grids[max(grids)]
        brought = {
            key: bring_to_grid(total, grids[key[1]], finest) for key, total in self._sums.items()
        }
        maps = []
        for group in groups:
            keys = [key for key in self._sums if group in ("all", key[0])]
            total = torch.stack([brought[key] for key in keys]).sum(0)
            maps.append(total / sum(self._counts[key] for key in keys))
        return ConceptMaps(tuple(groups), torch.stack(maps, 1))

    @staticmethod
    def outputs(values: Float[Tensor, "b head n d"]) -> Float[Tensor, "b n channel"]:
        """The heads side by side, in float32."""
        return values.transpose(1, 2).flatten(2).float()

    def _keys_alone(self, call: AttentionCall) -> tuple[Tensor, Tensor]:
        """(the layer's output, the concepts' values: what a position would get that attends to the concept alone)."""
        end = call.text_positions().stop or call.key.shape[2]
        concepts = slice(end - len(self.phrases.tokens), end)
        key, value = without(call.key, concepts, 2), without(call.value, concepts, 2)
        mask = None if call.mask is None else without(call.mask, concepts, call.mask.ndim - 1)
        output = F.scaled_dot_product_attention(call.query, key, value, mask, scale=call.scale)
        return output, call.value[:, :, concepts]

    def _joint(self, call: AttentionCall) -> tuple[Tensor, Tensor]:
        """(the layer's output, the concepts' part of it)."""
        end = call.text_positions().stop - self.behind
        concepts = slice(end - len(self.phrases.tokens), end)
        image = call.image_positions()
        output = call.value.new_empty(*call.query.shape[:3], call.value.shape[3])
        of_others = F.scaled_dot_product_attention(
            without(call.query, concepts, 2),
            without(call.key, concepts, 2),
            without(call.value, concepts, 2),
            _cropped(call.mask, concepts),
            scale=call.scale,
        )
        output[:, :, : concepts.start] = of_others[:, :, : concepts.start]
        output[:, :, concepts.stop :] = of_others[:, :, concepts.start :]
        key = torch.cat([call.key[:, :, image], call.key[:, :, concepts]], 2)
        value = torch.cat([call.value[:, :, image], call.value[:, :, concepts]], 2)
        of_concepts = F.scaled_dot_product_attention(
            call.query[:, :, concepts], key, value, self._seen(key.shape[2]), scale=call.scale
        )
        output[:, :, concepts] = of_concepts
        return output, of_concepts

    def _seen(self, keys: int) -> Bool[Tensor, "token key"]:
        """What each token of a concept attends to: the image, and the tokens of its phrasing."""
        phrase = self.phrases.phrase
        same = phrase[:, None] == phrase[None]
        return torch.cat([same.new_ones(len(phrase), keys - len(phrase)), same], 1)

    def _add(
        self,
        layer: AttentionLayer,
        image: Float[Tensor, "b position channel"],
        tokens: Float[Tensor, "b token channel"],
    ) -> None:
        maps = shares(image, self.phrases.average.to(tokens) @ tokens, self.sets)
        key = (self.name_of(layer), image.shape[1])
        self._sums[key] = self._sums[key] + maps if key in self._sums else maps
        self._counts[key] = self._counts.get(key, 0) + 1


def shares(
    image: Float[Tensor, "b position channel"],
    concepts: Float[Tensor, "b concept channel"],
    sets: Sequence[Sequence[int]],
) -> Float[Tensor, "b position concept"]:
    """Softmax over the concepts of a set of <o_image, o_concept / |o_concept|>, per position; a set's shares sum to 1.

    Source: Helbling et al. 2025, arXiv 2502.04320, section 4; concepts at length 1 as in the authors' code for SD3.
    """
    logits = image @ F.normalize(concepts, dim=-1).transpose(1, 2)
    result = torch.zeros_like(logits)
    for members in sets:
        # a list as an index would be copied to the device each time
        index = index_of(tuple(members), logits.device)
        if len(members) == 1:  # of itself it would always have all
            values = logits.softmax(-1).index_select(-1, index)
        else:
            values = logits.index_select(-1, index).softmax(-1)
        result.index_copy_(-1, index, values)
    return result


def without(values: Tensor, part: slice, axis: int) -> Tensor:
    """All but a part of an axis; a boolean mask would have to be read by the host."""
    before = values.narrow(axis, 0, part.start)
    after = values.narrow(axis, part.stop, values.shape[axis] - part.stop)
    return torch.cat([before, after], axis)


def _cropped(mask: Tensor | None, concepts: slice) -> Tensor | None:
    """A mask without the rows and columns of the concepts."""
    if mask is None:
        return None
    square = mask.shape[-2] == mask.shape[-1]
    mask = without(mask, concepts, mask.ndim - 1)
    return without(mask, concepts, mask.ndim - 2) if square else mask
