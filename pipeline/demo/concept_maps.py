"""Maps of the objects that a scene's caption names, by ConceptAttention and, layer by layer, by attention too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pipeline.diffusion.watch import StepView
from pipeline.explain.attention import AttentionLayer, text_layers
from pipeline.explain.concept_attention import ConceptMaps, concept_maps, group_of
from pipeline.explain.concept_recorder import METHOD
from pipeline.explain.recorders import AttentionRecorder
from pipeline.study.pairs import named_concepts

Maps = dict[tuple[str, str], Float[np.ndarray, "h w"]]
"""(method, word) -> map; word '' for all objects."""


def object_maps(view: StepView, items: Sequence[int]) -> dict[int, Maps]:
    """ConceptAttention of each object that an item's caption names, and their sum; nothing where the batch has no phrases."""
    if view.batch.phrases is None:
        return {}
    measured = _measure(view, items, group_of)
    maps: dict[int, Maps] = {}
    for row, item in enumerate(items):
        named = _of_objects(view, item, measured.maps[row, 0])
        total = sum(named.values(), start=0 * measured.maps[row, 0, 0])
        maps[item] = _arrays(METHOD, {"": total} | dict(named))
    return maps


def layer_maps(view: StepView, items: Sequence[int]) -> dict[int, dict[str, Maps]]:
    """Attention to each word and ConceptAttention of each object, of every layer alone: item -> layer -> maps."""
    layers = text_layers(view.denoiser.module)
    maps: dict[int, dict[str, Maps]] = {
        item: {layer.name: {} for layer in layers} for item in items
    }
    with ExitStack() as stack:
        recorders = [
            stack.enter_context(AttentionRecorder(view.batch, {view.step: items}, [layer]))
            for layer in layers
        ]
        for recorder in recorders:
            recorder.expect(view.step)
        view.denoiser.replay()
        for layer, recorder in zip(layers, recorders, strict=True):
            for item, words in recorder.take(view).items():
                maps[item][layer.name] |= _arrays("attention", words.named())
    if view.batch.phrases is not None:
        measured = _measure(view, items, lambda layer: layer.name)
        for row, item in enumerate(items):
            for position, name in enumerate(measured.groups[1:], 1):
                named = _of_objects(view, item, measured.maps[row, position])
                maps[item][name] |= _arrays(METHOD, named)
    return maps


def _measure(
    view: StepView, items: Sequence[int], name_of: Callable[[AttentionLayer], str]
) -> ConceptMaps:
    phrases = view.batch.phrases
    assert phrases is not None
    return concept_maps(view.denoiser, items, phrases, phrases.families(), name_of)


def _of_objects(
    view: StepView, item: int, maps: Float[Tensor, "concept h w"]
) -> dict[str, Float[Tensor, "h w"]]:
    """The maps of the objects that an item's caption names, by the object's name."""
    assert view.batch.phrases is not None
    concepts = view.batch.phrases.concepts
    named = named_concepts(view.batch.prompts[item].text, concepts)
    return {
        concept.name: maps[index]
        for index, concept in enumerate(concepts)
        if concept in named and concept.family == "object"
    }


def _arrays(method: str, maps: Mapping[str, Float[Tensor, "h w"]]) -> Maps:
    return {(method, word): values.float().cpu().numpy() for word, values in maps.items()}
