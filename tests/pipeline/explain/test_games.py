"""Insertion and deletion on real pipelines: protocols, baselines, seeds, and the calls that the plan counts."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.watch import Batch, Watch
from pipeline.engine.work import calls_per_step
from pipeline.explain.judge import default_scores, faithfulness_rows, item_scores
from pipeline.metrics.faithfulness import game_points
from pipeline.models import loading
from pipeline.models.families import FAMILIES
from pipeline.results.rows import SCHEMA
from pipeline.study.spec import Measures, ModelSpec, ToolSpec
from tests.support import families
from tests.support.explained import (
    FIRST,
    LAST,
    PROMPTS,
    AtStep,
    explained,
    spec,
)
from tests.support.synthetic import plan_of, small_study

BASELINES = ("zero", "re-noised", "resampled")


TINY = {"scenes-unet": "sd-epsilon", "scenes-dit": "pixart-alpha"}
# A game has a point for each row of the latents, and scenes-unet's have four times a tiny pipeline's.
BUNDLED = [pytest.param(name, marks=pytest.mark.thorough) for name in TINY]


@pytest.fixture
def opened(root, pipelines):
    """Opens a model by its name: the pipeline and its entry."""

    def open_model(name):
        if name in TINY.values():
            return families.pipeline_of(name), families.spec(name)
        return pipelines[name], spec(name)

    return open_model


@pytest.mark.parametrize("name", [*BUNDLED, TINY["scenes-dit"]])
def test_the_papers_protocol(opened, scorer, name):
    measures = Measures(
        df_rise=ToolSpec(steps=(1,), options={"masks": 6, "similarity": "clip"}),
        df_cam=LAST,
        faithfulness=ToolSpec(steps=(1,), options={"methods": ("df-rise", "random")}),
        protocol="park2024",
    )
    pipeline, model = opened(name)
    _, (columns, _) = explained(pipeline, scorer, measures, model)
    rows = columns["faithfulness"]
    assert {(row["method"], row["score"]) for row in rows} == {
        ("df-rise", "clip"),
        ("random", "clip"),
    }
    for row in rows:
        end = row["curve"][-1] if row["game"] == "insertion" else row["curve"][0]
        assert end == pytest.approx(1, abs=1e-3), "the next step of the untouched latents"


def test_points_are_scored_by_the_next_step_as_the_scheduler_takes_it(pipelines, scorer):
    """DPM-Solver++ at its third step, by hand: points, guided predictions, a copy of the scheduler, decoded, embedded."""
    model = spec("scenes-unet", steps=5)
    pipeline = pipelines["scenes-unet"]
    before, pipeline.scheduler = pipeline.scheduler, DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)  # fmt: skip
    seen = {}

    def look(view):
        ramp = torch.arange(256.0).view(16, 16)
        tool = ToolSpec(options={"games": ("deletion",)})
        rows = faithfulness_rows(view, 1, {"ramp": ramp}, ramp.flip(0), tool, "park2024")
        points = game_points(view.latents[1], ramp, "deletion")
        history = [output[1:].expand(len(points), -1, -1, -1) for output in seen["history"]]
        scheduler = copy.deepcopy(seen["scheduler"])
        scheduler.model_outputs = history
        following = scheduler.step(view.denoiser(points, 1), view.timestep, points).prev_sample
        seen["row"], seen["embedded"] = rows[0], scorer.images(view.batch.decode(following))
        seen["target"] = scorer.images(view.batch.decode(view.next_latents[1:]))[0]

    class Before(AtStep):
        """The scheduler as it stands after the step before."""

        def on_step(self, view):
            if view.step == 1:
                scheduler = pipeline.scheduler
                seen["history"] = [output.clone() for output in scheduler.model_outputs]
                seen["scheduler"] = copy.copy(scheduler)
                seen["scheduler"].__dict__.pop("step", None)
            super().on_step(view)

    total = count_calls(pipeline.scheduler, model.steps, {})
    batch = Batch(PROMPTS, 0, pipeline, loading.family_of(pipeline), scorer, total, True)
    with Watch(batch, [Before(2, look)]):
        generate(pipeline, model, PROMPTS, 0, {})
    pipeline.scheduler = before
    assert seen["row"]["score"] == "clip"
    expected = seen["embedded"] @ seen["target"]
    assert np.allclose(seen["row"]["curve"], expected, atol=1e-4)


def test_the_papers_score_is_inceptions_where_the_study_has_its_weights(pipelines, scorer):
    family = FAMILIES["StableDiffusionPipeline"]
    batch = Batch(PROMPTS, 0, pipelines["scenes-unet"], family, scorer, 3, True)
    with_weights = replace(batch, inception=lambda images: images.flatten(1))
    assert default_scores(batch, "park2024") == ("clip",)
    assert default_scores(with_weights, "park2024") == ("inception",)
    assert default_scores(with_weights, "ours") == ("clip", "structure")
    reference = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(1))
    other = reference.flip(0)
    (score,) = item_scores(with_weights, reference, ("inception",)).values()
    pixels = batch.decode(torch.stack([reference, other])).flatten(1)
    expected = (pixels - pixels[0]).square().sum(1)
    distances = score(torch.empty(0), torch.stack([reference, other]))
    assert torch.allclose(distances, expected, rtol=1e-3, atol=1e-3), (
        "a distance, of decoded images"
    )


def test_the_seed_of_faithfulness_draws_another_random_baseline(opened, scorer):
    areas = {}
    pipeline, model = opened("sd-epsilon")
    for seed in (0, 5):
        games = {"seed": seed, "games": ("deletion",), "scores": ("structure",)}
        measures = Measures(df_cam=LAST, faithfulness=ToolSpec((2,), prompts=1, options=games))
        _, (columns, _) = explained(pipeline, scorer, measures, model)
        (row,) = columns["faithfulness"]
        areas[seed] = row["auc"], row["auc_random"]
    assert areas[0][0] == areas[5][0]
    assert areas[0][1] != areas[5][1]


@dataclass(frozen=True)
class Judged:
    """A run of a model with insertion and deletion.

    Attributes:
        rows: of faithfulness.
        calls: of the denoiser, counted at it: rows of its batches, two to a call.
    """

    rows: list[dict[str, Any]]
    calls: float


GAMES = {
    "none": None,
    "default": ToolSpec((1,), prompts=1),
    "re-noised": ToolSpec((1,), prompts=1, options={"baselines": ("re-noised",)}),
    "every baseline": ToolSpec((1,), prompts=1, options={"baselines": BASELINES}),
}


@pytest.fixture(scope="module")
def judged_once():
    """The runs that `judged` has made."""
    return {}


@pytest.fixture
def judged(opened, scorer, judged_once):
    """Runs a model with games; each pair once."""

    def run(name: str, games: str) -> Judged:
        if (name, games) not in judged_once:
            judged_once[name, games] = judge(*opened(name), games)
        return judged_once[name, games]

    def judge(pipeline: Any, model: ModelSpec, games: str) -> Judged:
        sizes: list[int] = []

        def note(_, args, kwargs):
            sizes.append(len(args[0] if args else kwargs["hidden_states"]))

        denoiser = loading.denoiser_of(pipeline)
        hook = denoiser.register_forward_pre_hook(note, with_kwargs=True)
        measures = Measures(df_cam=FIRST, faithfulness=GAMES[games])
        _, (columns, _) = explained(pipeline, scorer, measures, model)
        hook.remove()
        return Judged(columns.get("faithfulness", []), sum(sizes) / 2)

    return run


@pytest.mark.parametrize("name", [*BUNDLED, TINY["scenes-unet"]])
def test_each_baseline_has_rows_of_its_own_and_zero_is_as_it_was(judged, name):
    alone, every = judged(name, "default").rows, judged(name, "every baseline").rows
    assert {row["baseline"] for row in alone} == {None}
    assert [row["baseline"] for row in every].count(None) == len(alone) == 4
    assert repr([row for row in every if row["baseline"] is None]) == repr(alone)
    pa.array([every], SCHEMA.field("faithfulness").type)
    for row in every:
        end = row["curve"][-1] if row["game"] == "insertion" else row["curve"][0]
        assert end == pytest.approx(1, abs=1e-3)
    for game in ("insertion", "deletion"):
        areas = {row["auc"] for row in every if row["game"] == game and row["score"] == "clip"}
        assert len(areas) == 3


@pytest.mark.parametrize("games", ["default", "re-noised", "every baseline"])
def test_the_plan_counts_the_denoiser_calls_of_every_baseline(judged, opened, games):
    calls = judged("sd-epsilon", games).calls - judged("sd-epsilon", "none").calls
    measures = Measures(df_cam=FIRST, faithfulness=GAMES[games])
    plan = plan_of(replace(small_study(models=1), measures=measures))
    assert calls == calls_per_step("faithfulness", GAMES[games], plan, opened("sd-epsilon")[1])
