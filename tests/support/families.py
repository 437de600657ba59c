"""Every family's tiny pipeline, run plain and with everything recorded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.observers import ConceptObserver, FrameObserver
from pipeline.diffusion.phrases import encode_phrases
from pipeline.diffusion.watch import Batch, Watch
from pipeline.explain import make_observers
from pipeline.models import loading
from pipeline.models.prediction import prediction_type
from pipeline.models.scorer import Scorer
from pipeline.study.concepts import Concept
from pipeline.study.prompts import Prompt
from pipeline.study.spec import Frames, Measures, ModelSpec, ScorerSpec, ToolSpec
from tests.support.tiny_pipelines import BUILDERS, folder_of

NAMES = list(BUILDERS)
KNOWN = [name for name in NAMES if name != "unknown"]
WORDS = [name for name in KNOWN if name not in ("kandinsky22", "dit", "ddpm")]
# Turbo is asked for 0, and these guide at 1 too.
UNGUIDED_AT_0 = ("sd-turbo", "z-image", "krea2")
# Classes of today that take no negative prompt.
UNSTEERED = ("flux2-klein", "flux2", "sana-sprint", "hunyuan-distilled")
# diffusers' call takes one prompt where it guides: its timesteps are those of two items.
ONE_PROMPT = ("prx",)
CPU = torch.device("cpu")
STEPS = 3
TEXTS = ("a dog on a red background", "a cat left of a rocket")
LAST = ToolSpec(steps=(STEPS - 1,))
FULL = Measures(
    attention=ToolSpec(options={"maps": True, "map_steps": (STEPS - 1,)}),
    relevance=LAST,
    df_cam=LAST,
    # At its last step a denoiser nearly copies its input, whose map would be flat: without that check, the map is looked at.
    df_rise=replace(LAST, options={"masks": 6, "edges": False}),
    lime=replace(LAST, options={"perturbations": 8}),
    concept_attention=replace(LAST, options={"maps": True, "concepts": ("red", "object/dog")}),
    faithfulness=replace(LAST, prompts=1, options={"methods": ("df-cam",)}),
    agreement=True,
    spectrum=True,
)
TOOLS = ("attention", "relevance", "df-cam", "df-rise", "lime", "faithfulness", "concept-attention")
BANK = (
    Concept("dog", "object", ("a dog", "a picture of a dog")),
    Concept("cat", "object", ("a cat",)),
    Concept("red", "colour", ("red",)),
)
FOLDERS: list[Path] = []
SIDES = {"lumina2": 64}
"""Pixels along a side, where 32 are too few: latents of Lumina2 are an eighth of them."""
WIDE = {"hidream": (16, 64)}
"""A size that is not square, where 32 x 64 px is none: images of HiDream have as many pixels whatever their shape."""


def spec(name, **options):
    side = SIDES.get(name, 32)
    size = {"height": side, "width": side} if name not in ("dit", "ddpm") else {}
    options = {"steps": STEPS, "guidance": 3.0, **size} | options
    return ModelSpec(name, name, str(folder_of(name, FOLDERS[0])), **options)


@cache
def pipeline_of(name):
    return loading.open_pipeline(spec(name), CPU)


@cache
def scorer():
    return Scorer(ScorerSpec("data/models/scenes-clip"))


def prompts_of(name, texts=TEXTS):
    """Those of one call."""
    return all_prompts_of(name, texts)[: 1 if name in ONE_PROMPT else None]


def all_prompts_of(name, texts=TEXTS):
    if name == "dit":
        texts = ("hound", "2")
    return tuple(Prompt(f"k{i}", text, "test", "", {}, i) for i, text in enumerate(texts))


class Views:
    """Keeps every view, and replays the call while it is at hand."""

    def __init__(self):
        self.views, self.replays, self.alone = [], [], []

    def on_step(self, view):
        self.views.append(view)
        if view.batch.family.known:
            self.replays.append(view.denoiser.replay())
            item = view.latents.shape[0] - 1
            again = view.denoiser(view.latents[item:].expand(2, -1, -1, -1), item)
            self.alone.append((again - view.prediction[item]).abs().max())

    def columns(self, item):
        return {}


@dataclass
class Seen:
    """A run of a pipeline with everything recorded, beside a plain one."""

    plain: torch.Tensor
    watched: torch.Tensor
    views: list
    replays: list
    alone: list
    columns: list[dict[str, Any]]


def watch(name, pipeline, model, prompts, measures=FULL):
    calls = count_calls(pipeline.scheduler, model.steps, {})
    family = loading.family_of(pipeline)
    phrases = None
    if measures.concept_attention and "concept-attention" not in family.missing():
        phrases = encode_phrases(pipeline, family, BANK)
    guided = model.guidance > 1
    batch = Batch(
        prompts, 0, pipeline, family, scorer(), calls, guided, model.guidance, phrases=phrases
    )
    keep = Views()
    texts = scorer().texts(["a dog", "a cat"])
    concepts = ConceptObserver(["object/dog", "object/cat"], texts, texts[: len(prompts)])
    observers = [keep, FrameObserver(Frames()), concepts, *make_observers(measures, batch)]
    plain = generate(pipeline, model, prompts, 0, {})
    with ExitStack() as stack:
        for observer in observers:
            if hasattr(observer, "__enter__"):
                stack.enter_context(observer)
        stack.enter_context(Watch(batch, observers))
        watched = generate(pipeline, model, prompts, 0, {})
    columns = [
        {k: v for o in observers for k, v in o.columns(i).items()} for i in range(len(prompts))
    ]
    return Seen(plain, watched, keep.views, keep.replays, keep.alone, columns)


@cache
def seen(name):
    return watch(name, pipeline_of(name), spec(name), prompts_of(name))


def shared_out(names, *values):
    """Some families with one of some values, in turn; every family with each of them under the marker `thorough`."""
    usual = {(name, values[number % len(values)]) for number, name in enumerate(names)}
    return [
        pytest.param(name, value, marks=[] if (name, value) in usual else pytest.mark.thorough)
        for name in KNOWN
        for value in values
    ]


def noise_of(view):
    """The noise that a prediction implies, from the definitions alone."""
    x, v, a, s = view.latents, view.prediction, view.alpha, view.sigma
    kind = prediction_type(view.denoiser.scheduler)
    if kind == "flow":
        return v + view.denoised
    if kind == "v_prediction":
        return a * v + s * x
    if getattr(view.denoiser.scheduler.config, "clip_sample", False):
        return (x - a * view.denoised) / s  # clipped: nothing to compare with
    return v


def check_concepts(name, rows):
    """Shares of a family sum to 1 in every group of layers; the maps that were asked for are stored."""
    assert {row["concept"] for row in rows} == {"object/dog", "object/cat", "colour/red"}
    groups = {row["layer_group"] for row in rows}
    assert "all" in groups and len(groups) >= 2
    for group in groups:
        of_group = [row for row in rows if row["layer_group"] == group]
        objects = [row["share"][0] for row in of_group if row["concept"].startswith("object/")]
        assert np.isclose(sum(objects), 1, atol=1e-4)
        assert all(row["steps"] == [STEPS - 1] and 0 <= row["peak"][0] <= 1 for row in of_group)
    maps = [r for r in seen(name).columns[0]["explanations"] if r["method"] == "concept-attention"]
    assert [row["word"] for row in maps] == ["object/dog", "colour/red"]


def check_words(name, rows):
    words = TEXTS[0].split()
    whole = [r for r in rows if r["layer_group"] == "all" and r["word_index"] >= 0]
    assert [words[r["word_index"]] for r in whole] == [r["word"] for r in whole] == words
    shares = np.array([r["mass"] for r in whole])
    assert np.isfinite(shares).all() and (shares >= 0).all()
    if rows[0]["source"] == "attention":
        assert np.allclose(shares.sum(0), 1, atol=1e-4)


def check_areas(name, rows):
    assert {row["game"] for row in rows} == {"insertion", "deletion"}
    for row in rows:
        assert len(row["curve"]) == seen(name).views[0].latents.shape[-2] + 1
        assert np.isfinite([row["auc"], row["auc_random"], row["auc_inverse"]]).all()


def check_maps(name, rows):
    size = seen(name).views[0].latents.shape[-2:]
    for row in rows:
        values = np.frombuffer(row["map"], np.float16)
        assert len(values) == row["height"] * row["width"]
        assert (row["height"], row["width"]) == tuple(size)
        assert values.max() == 1 and values.min() == 0
