"""How far each explanation can be trusted, on scenes whose object masks are known exactly.

Real scenes are noised to a step's noise level and that step is explained: does the map find the objects, and does it change
when the model's weights are shuffled? Beside the tools stand maps that know nothing of the model: `random`, `area` (the
sizes of superpixels) and `copy` (DF-RISE of a denoiser that returns its input). See `run_parts`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.demo.concept_maps import Maps, layer_maps, object_maps
from pipeline.demo.known import (
    GUIDANCE,
    SEED,
    KnownScene,
    known_scenes,
    show_noised,
    targets,
)
from pipeline.demo.known_words import WithoutObject, information_maps, without_objects
from pipeline.demo.phrases import CONCEPTS
from pipeline.diffusion.phrases import encode_phrases
from pipeline.diffusion.watch import StepView
from pipeline.explain.lime import LimeOptions, lime_weights, segment_areas
from pipeline.explain.maps import resize_map
from pipeline.explain.recorders import AttentionRecorder, RelevanceRecorder, StepWords
from pipeline.explain.rise import RiseOptions, make_masks, map_of_scores, score_masks
from pipeline.explain.tools import TOOLS, clean_of
from pipeline.metrics.localisation import cascade, localise, map_spearman, randomised
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.results import safe_files
from pipeline.results.folder import Results
from pipeline.results.storage import write_whole
from pipeline.study.concepts import Concept
from pipeline.study.spec import ModelSpec, ScorerSpec, ToolSpec

Rows = list[dict[str, Any]]
BANK = [Concept(each.name, each.family, tuple(each.phrasings)) for each in CONCEPTS]
SUPERPIXELS = LimeOptions(segmentation="slic")


@dataclass(frozen=True)
class TrustOptions:
    """What is run: scenes explained at steps, masks per map, scenes whose maps of the randomised model are compared.

    With `words` only what has a map of each word is run: attention, relevance, ConceptAttention, information.
    """

    scenes: int = 20
    steps: int = 30
    at: tuple[int, ...] = (10, 18, 26)
    masks: int = 64
    random_scenes: int = 20
    random_at: tuple[int, ...] = (10,)
    stages: int = 4
    batch: int = 5
    words: bool = False


# Maps of words alone, on trained weights: some minutes for all scenes and steps.
WORDS = TrustOptions(random_scenes=0, random_at=(), words=True)
# A look of about a minute on two cores, for `make demo`: the same procedure, wider intervals.
QUICK = TrustOptions(scenes=8, at=(10, 18), masks=32, random_scenes=8, stages=2, batch=4)


@dataclass(frozen=True)
class Trust:
    """Rows of the `localisation` and `randomisation` tables, with `model` for `model_id`, and of LIME's maps against area.

    One row of `randomisation` is one map; `area` has `model`, `scene`, `step` and `spearman`.
    """

    localisation: Rows
    randomisation: Rows
    area: Rows

    def add(self, other: Trust) -> None:
        """Append the rows of another."""
        self.localisation.extend(other.localisation)
        self.randomisation.extend(other.randomisation)
        self.area.extend(other.area)


def run_batch(folder: Path, name: str, first: int, options: TrustOptions) -> Trust:
    """Explains the batch of known scenes from number `first` on under one model, and again with its weights shuffled.

    Args:
        folder: of the models.
        name: of the model.
        first: one of `firsts(options)`.
        options: how much.
    """
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    scorer = Scorer(ScorerSpec(str(folder / "scenes-clip")))
    spec = ModelSpec(name, name, str(folder / name), steps=options.steps, guidance=GUIDANCE)
    pipeline = loading.open_pipeline(spec, torch.device("cpu"))
    phrases = encode_phrases(pipeline, loading.family_of(pipeline), BANK)
    at = sorted({*options.at, *options.random_at})
    scenes = known_scenes(options.scenes)[first : first + options.batch]
    without = without_objects(pipeline, spec, scorer, scenes, at)
    judge = _Judge(name, scenes, first, options, Trust([], [], []), without)
    show_noised(pipeline, spec, scorer, judge.known, first, at, judge.see, phrases)
    return judge.trust


def firsts(options: TrustOptions) -> range:
    """The number of each batch's first scene."""
    return range(0, options.scenes, options.batch)


def scene_steps(options: TrustOptions, first: int) -> int:
    """Explained scenes and steps of a batch: of the trained model, and of each stage of the randomised one."""
    scenes = min(options.batch, options.scenes - first)
    shuffled = min(max(options.random_scenes - first, 0), scenes)
    at = len({*options.at, *options.random_at})
    return scenes * at + shuffled * len(options.random_at) * options.stages


@dataclass
class _Judge:
    """Judges the maps of a batch of scenes at each step that it is shown."""

    name: str
    known: Sequence[KnownScene]
    first: int
    options: TrustOptions
    trust: Trust
    without: Sequence[WithoutObject]

    def see(self, view: StepView) -> None:
        """Explains the step; where the weights are to be shuffled, explains it again for each stage."""
        items = list(range(len(self.known)))
        masks = 0 if self.options.words else self.options.masks
        trained = explain(view, items, masks, without=self.without)
        if view.step in self.options.at:
            self._localise(view, trained)
        few = [item for item in items if self.first + item < self.options.random_scenes]
        if view.step in self.options.random_at and few:
            self._randomise(view, few, trained)

    def _localise(self, view: StepView, trained: Sequence[Maps]) -> None:
        of_layers = layer_maps(view, range(len(self.known)))
        for item, maps in enumerate(trained):
            keys = {"model": self.name, "scene": self.first + item, "step": view.step}
            for layer, maps_of_layer in ({"all": maps} | of_layers[item]).items():
                where = {**keys, "layer": layer}
                self.trust.localisation.extend(
                    _localisation_rows(where, self.known[item], maps_of_layer)
                )
            if view.step in self.options.random_at:
                self.trust.area.append({**keys, "spearman": self._against_area(view, item, maps)})

    def _against_area(self, view: StepView, item: int, maps: Maps) -> float | None:
        """Spearman of LIME's map on superpixels of many sizes with the sizes; on its regular grid all are alike."""
        options = replace(SUPERPIXELS, perturbations=self.options.masks)
        weights = lime_weights(clean_of(view.denoiser, item), view.latents[item], options)
        return map_spearman(weights.cpu().numpy(), maps["area", ""])

    def _randomise(self, view: StepView, items: Sequence[int], trained: Sequence[Maps]) -> None:
        """The run up to the step is the trained model's; only the explained call is randomised."""
        module = view.denoiser.module
        for label, layers, share in cascade(module, self.options.stages):
            with randomised(module, layers, seed=SEED):
                now = with_weights_as_they_are(view)
                changed = explain(now, items, self.options.masks, draw=1, without=self.without)
            keys = {"model": self.name, "step": view.step, "layers": label, "share": share}
            for item, maps in zip(items, changed, strict=True):
                self.trust.randomisation.extend(_similarity_rows(keys, trained[item], maps))


def with_weights_as_they_are(view: StepView) -> StepView:
    """The same step predicted by the denoiser as it is now."""
    prediction = view.denoiser.replay()
    denoiser = replace(view.denoiser, prediction=prediction)
    denoised = denoiser.denoised(view.latents, prediction)
    return replace(view, denoiser=denoiser, prediction=prediction, denoised=denoised)


def explain(
    view: StepView,
    items: Sequence[int],
    masks: int,
    draw: int = 0,
    without: Sequence[WithoutObject] = (),
) -> list[Maps]:
    """Every method's maps of some items at a step, and those that know nothing of the model.

    Args:
        masks: of DF-RISE, and perturbations of LIME; 0 = only what has a map of each word.
        draw: seed of masks and perturbations.
        without: the calls under captions without an object, for the information of the words that name objects.
    """
    maps_of: dict[int, Maps] = {item: {} for item in items}
    if masks:
        _add_tools(maps_of, view, masks, draw)
    for method, read in _word_methods(view, items).items():
        for item, step_words in read.items():
            for word, values in ({"": step_words.total()} | step_words.named()).items():
                maps_of[item][method, word] = values.float().cpu().numpy()
    for item, named in object_maps(view, items).items():
        maps_of[item] |= named
    for item, by_word in information_maps(view, items, without).items():
        for word, values in by_word.items():
            maps_of[item]["information", word] = values.cpu().numpy()
    return [maps_of[item] for item in items]


def _add_tools(maps_of: Mapping[int, Maps], view: StepView, masks: int, draw: int) -> None:
    """The maps of the whole image, and those that know nothing of the model."""
    settings = {
        "df-rise": ToolSpec(options={"masks": masks, "seed": draw}),
        "lime": ToolSpec(options={"perturbations": masks, "seed": draw}),
    }
    for method, tool in TOOLS.items():
        asked = settings.get(method, ToolSpec())
        for item, values in tool(view, list(maps_of), asked, "ours").items():
            maps_of[item][method, ""] = values.float().cpu().numpy()
    for item, maps in maps_of.items():
        maps["area", ""] = segment_areas(view.latents[item], SUPERPIXELS).float().cpu().numpy()
        maps["copy", ""] = copy_map(view, item, masks, draw).float().cpu().numpy()


def copy_map(view: StepView, item: int, masks: int, draw: int) -> Float[Tensor, "h w"]:
    """DF-RISE of a denoiser that returns x_t as its prediction: a map of the input alone.

    `rise_scores` says that this map is flat; here its values are wanted, as the floor that tools are held against.
    """
    options, latents = RiseOptions(masks=masks, seed=draw), view.latents[item]
    copied = lambda latents: view.denoiser.denoised(latents, latents)  # noqa: E731
    drawn = make_masks(latents.shape[-2], latents.shape[-1], options).to(latents)
    return map_of_scores(drawn, score_masks(copied, latents, options), options)


def _word_methods(view: StepView, items: Sequence[int]) -> dict[str, Mapping[int, StepWords]]:
    with AttentionRecorder(view.batch, {view.step: items}) as recorder:
        recorder.expect(view.step)
        view.denoiser.replay()
        attention = recorder.take(view)
    return {"attention": attention, "relevance": RelevanceRecorder(view.batch).take(view, items)}


def _localisation_rows(
    keys: Mapping[str, Any], known: KnownScene, maps: Maps
) -> Iterator[dict[str, Any]]:
    masks = targets(known)
    for (method, word), values in maps.items():
        if word in masks:
            localisation = localise(enlarge(values, masks[word].shape), masks[word])
            yield {**keys, "method": method, "word": word, **localisation.__dict__}


def enlarge(values: Float[np.ndarray, "h w"], size: tuple[int, ...]) -> Float[np.ndarray, "h2 w2"]:
    """A map on the picture's grid, bilinear."""
    return resize_map(torch.from_numpy(values)[None], (size[0], size[1]))[0].numpy()


def _similarity_rows(
    keys: Mapping[str, Any], trained: Maps, changed: Maps
) -> Iterator[dict[str, Any]]:
    """One row per method: Spearman of its map of the shuffled model with that of the trained one."""
    for method in sorted({method for method, _ in trained}):
        spearman = map_spearman(trained[method, ""], changed[method, ""])
        yield {
            **keys,
            "method": method,
            "spearman": spearman,
            "samples": int(spearman is not None),
        }


LOCALISATION = pa.schema(
    [
        ("model", pa.string()),
        ("scene", pa.int32()),
        ("step", pa.int32()),
        ("method", pa.string()),
        ("word", pa.string()),
        ("layer", pa.string()),
        *[(n, pa.float32()) for n in ("pointing", "iou", "average_precision", "mask_share")],
    ]
)
RANDOMISATION = pa.schema(
    [
        ("model", pa.string()),
        ("method", pa.string()),
        ("step", pa.int32()),
        ("layers", pa.string()),
        ("share", pa.float32()),
        ("spearman", pa.float32()),
        ("samples", pa.int32()),
    ]
)


def write_trust(folder: Path, trust: Trust) -> None:
    """Writes both tables where `publish` looks for them: DIR/extra/*.parquet."""
    extra = Results(folder).extra
    extra.parent.mkdir(parents=True, exist_ok=True)
    safe_files.make_folder(extra)
    for name, rows, schema in (
        ("localisation", trust.localisation, LOCALISATION),
        ("randomisation", trust.randomisation, RANDOMISATION),
    ):
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
        write_whole(extra / f"{name}.parquet", buffer.getvalue())
