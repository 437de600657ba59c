"""The tools on real pipelines: nothing they do changes the image, and what they write fits the shard."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline import models
from pipeline.errors import StudyError
from pipeline.explain import make_observers
from pipeline.explain.checks import ModelFacts, check_measures, read_facts
from pipeline.families import FAMILIES
from pipeline.observe import Batch, Watch
from pipeline.prompts import Prompt
from pipeline.sampling import count_calls, generate
from pipeline.scorer import Scorer
from pipeline.shards import SCHEMA
from pipeline.study import Measures, ModelSpec, ScorerSpec, ToolSpec

NAMES = ["scenes-unet", "scenes-dit"]
TEXTS = ("a dog on a plain red background", "a cat left of a rocket on a plain red background")
ROLES = {"subject": ("cat",), "relation": ("left of",), "object": ("rocket",)}
PROMPTS = tuple(Prompt(f"k{i}", text, "test", "", ROLES, i) for i, text in enumerate(TEXTS))
LAST = ToolSpec(steps=(2,))
FULL = Measures(
    attention=ToolSpec(options={"maps": True}),
    relevance=ToolSpec(steps=(0, 2), options={"maps": True, "map_steps": (2,)}),
    df_cam=ToolSpec(),
    df_rise=ToolSpec(steps=(2,), options={"masks": 8}),
    lime=ToolSpec(steps=(2,), options={"perturbations": 12}),
    faithfulness=ToolSpec(steps=(2,), prompts=1),
    agreement=True,
    spectrum=True,
)


@pytest.fixture(scope="module")
def scorer():
    return Scorer(ScorerSpec("data/models/scenes-clip"))


@pytest.fixture(scope="module")
def pipelines():
    return {n: models.open_pipeline(spec(n), torch.device("cpu")) for n in NAMES}


def spec(name, **options):
    return ModelSpec(name, name, f"data/models/{name}", **{"steps": 3, "guidance": 3.0} | options)


def explained(pipeline, scorer, measures, model, prompts=PROMPTS):
    total = count_calls(pipeline.scheduler, model.steps, {})
    family = models.family_of(pipeline)
    batch = Batch(prompts, 0, pipeline, family, scorer, total, model.guidance > 1)
    observers = make_observers(measures, batch)
    with ExitStack() as stack:
        for observer in observers:
            if hasattr(observer, "__enter__"):
                stack.enter_context(observer)
        stack.enter_context(Watch(batch, observers))
        image = generate(pipeline, model, prompts, 0, {})
    columns = [
        {k: v for o in observers for k, v in o.columns(i).items()} for i in range(len(prompts))
    ]
    return image, columns


@pytest.fixture(scope="module")
def results(pipelines, scorer):
    return {n: explained(pipelines[n], scorer, FULL, spec(n)) for n in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_explaining_everything_changes_no_bit(pipelines, results, name):
    assert torch.equal(generate(pipelines[name], spec(name), PROMPTS, 0, {}), results[name][0])
    module = models.denoiser_of(pipelines[name])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_fits_the_shard(results, name):
    for columns in results[name][1]:
        for column, rows in columns.items():
            pa.array([rows], SCHEMA.field(column).type)


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_scaled_and_of_the_size_they_say(results, name):
    first, second = (columns["explanations"] for columns in results[name][1])
    for row in first + second:
        values = np.frombuffer(row["map"], np.float16).reshape(row["height"], row["width"])
        assert values.min() == 0
        assert values.max() == 1 or row["low"] == row["high"]
    whole = {(row["method"], row["step"]) for row in second if row["word"] == ""}
    assert {("df-cam", 0), ("df-cam", 2), ("df-rise", 2), ("lime", 2), ("attention", 2)} <= whole
    assert ("relevance", 0) not in whole
    words = {row["word"] for row in second if row["method"] == "attention"}
    assert {"cat", "rocket", "a", "a (2)", "a (3)"} <= words


@pytest.mark.parametrize("name", NAMES)
def test_words_have_roles_and_shares(results, name):
    rows = [r for r in results[name][1][1]["words"] if r["layer_group"] == "all"]
    attention = [r for r in rows if r["source"] == "attention"]
    roles = {r["word"]: r["role"] for r in attention if r["role"]}
    assert {
        "cat": "subject",
        "left": "relation",
        "of": "relation",
        "rocket": "object",
    }.items() <= roles.items()
    assert [r["word_index"] for r in attention] == [*range(11), -1]
    shares = np.array([r["mass"] for r in attention if r["word_index"] >= 0])
    assert np.allclose(shares.sum(0), 1, atol=1e-5)
    relevance = [r for r in rows if r["source"] == "relevance"]
    scaled = np.array([r["scaled"] for r in relevance])
    assert list(relevance[0]["steps"]) == [0, 2]
    assert scaled.min(0).tolist() == [0, 0]
    assert scaled.max(0).tolist() == [1, 1]


def test_only_the_words_that_are_asked_for_get_maps(pipelines, scorer):
    options = {"maps": True, "words": ("Cat", "a")}
    measures = Measures(attention=ToolSpec(steps=(2,), options=options))
    _, columns = explained(pipelines["scenes-unet"], scorer, measures, spec("scenes-unet"))
    words = {row["word"] for row in columns[1]["explanations"]}
    assert words == {"", "cat", "a", "a (2)", "a (3)"}
    assert len({row["word_index"] for row in columns[1]["words"]}) == 12, (
        "the shares are of all words"
    )


@pytest.mark.parametrize("name", NAMES)
def test_only_the_first_prompts_play_the_dear_games(results, name):
    first, second = (columns["faithfulness"] for columns in results[name][1])
    assert second == []
    methods = {"df-rise", "df-cam", "lime", "attention", "relevance"}
    assert {row["method"] for row in first} == methods
    assert {(row["game"], row["score"]) for row in first} == {
        (g, s) for g in ("insertion", "deletion") for s in ("clip", "structure")
    }
    for row in first:
        end = row["curve"][-1] if row["game"] == "insertion" else row["curve"][0]
        assert end == pytest.approx(1, abs=1e-3)
        assert len(row["curve"]) == 17


def test_every_pair_of_maps_is_compared(results):
    rows = [r for r in results["scenes-unet"][1][0]["agreement"] if r["step"] == 2]
    assert len(rows) == 10
    assert all(-1 <= r["spearman"] <= 1 and 0 <= r["iou"] <= 1 for r in rows)


def test_twice_gives_the_same_numbers(pipelines, scorer, results):
    again = explained(pipelines["scenes-unet"], scorer, FULL, spec("scenes-unet"))[1]
    for a, b in zip(results["scenes-unet"][1], again, strict=True):
        assert repr(a) == repr(b)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_one_by_one_gives(pipelines, scorer, results, name):
    measures = replace(FULL, faithfulness=None, lime=None, df_rise=None)
    _, (alone,) = explained(pipelines[name], scorer, measures, spec(name), PROMPTS[1:])
    together = results[name][1][1]
    for a, b in zip(alone["words"], together["words"], strict=True):
        assert np.allclose(a["mass"], b["mass"], rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_protocol(pipelines, scorer, name):
    measures = Measures(
        df_rise=ToolSpec(steps=(1,), options={"masks": 6, "similarity": "fid"}),
        df_cam=LAST,
        faithfulness=ToolSpec(steps=(1,), options={"methods": ("df-rise", "random")}),
        protocol="park2024",
    )
    _, (columns, _) = explained(pipelines[name], scorer, measures, spec(name))
    rows = columns["faithfulness"]
    assert {(row["method"], row["score"]) for row in rows} == {
        ("df-rise", "fid"),
        ("random", "fid"),
    }
    for row in rows:
        end = row["curve"][-1] if row["game"] == "insertion" else row["curve"][0]
        assert end == pytest.approx(0, abs=1e-3)


def test_without_guidance(pipelines, scorer):
    measures = Measures(attention=LAST, relevance=LAST, df_cam=LAST)
    for name in NAMES:
        _, columns = explained(pipelines[name], scorer, measures, spec(name, guidance=1.0))
        assert {r["source"] for r in columns[0]["words"]} == {"attention", "relevance"}


def test_prompts_over_the_window_lose_their_last_words(pipelines, scorer):
    text = "a dog " * 30
    prompts = (Prompt("k", text.strip(), "test", "", {}, 0),)
    _, (columns,) = explained(
        pipelines["scenes-unet"], scorer, Measures(attention=LAST), spec("scenes-unet"), prompts
    )
    indices = {r["word_index"] for r in columns["words"]}
    window = pipelines["scenes-unet"].tokenizer.model_max_length - 2
    assert indices == {-1, *range(window)}


def test_an_empty_prompt_has_special_tokens_only(pipelines, scorer):
    prompts = (Prompt("k", "", "test", "", {}, 0),)
    measures = Measures(attention=LAST, relevance=LAST, agreement=True)
    _, (columns,) = explained(
        pipelines["scenes-unet"], scorer, measures, spec("scenes-unet"), prompts
    )
    assert {r["word_index"] for r in columns["words"]} == {-1}


def test_nothing_is_watched_that_is_not_asked_for(pipelines, scorer):
    batch = Batch(
        PROMPTS,
        0,
        pipelines["scenes-unet"],
        FAMILIES["StableDiffusionPipeline"],
        scorer,
        3,
        True,
    )
    assert make_observers(Measures(), batch) == []


@pytest.fixture(scope="module")
def facts():
    return read_facts(spec("scenes-unet"), TEXTS)


def test_facts_are_read_without_weights(facts):
    assert facts.attention == "cross"
    assert facts.latents == (4, 16, 16)
    assert "mid_block.resnets.0" in facts.layers
    assert read_facts(spec("scenes-dit")).attention == "joint"
    assert read_facts(ModelSpec("x", "x", "owner/name")).attention == "unknown"


def test_a_study_that_can_be_run_is_not_complained_of(facts):
    assert check_measures(FULL, facts) == []


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        (Measures(df_cam=ToolSpec(steps=(3,))), "has steps 0 to 2"),
        (
            Measures(attention=ToolSpec(options={"maps": True, "map_steps": (9,)})),
            "map_steps holds 9",
        ),
        (
            Measures(attention=ToolSpec(steps=(0, 2), options={"maps": True, "map_steps": (1,)})),
            r"map_steps holds 1, which is not among its steps \(0, 2\)",
        ),
        (Measures(df_cam=ToolSpec(options={"layers": ("up_blocks.9.*",)})), "no layer"),
        (Measures(attention=ToolSpec(options={"words": ("zebra",)})), "'zebra'"),
        (Measures(df_rise=ToolSpec(options={"masks": 10**10})), "at most"),
        (Measures(lime=ToolSpec(options={"perturbations": 10**10})), "at most"),
    ],
)
def test_what_cannot_be_run_is_said_before_it_is_run(facts, measures, message):
    with pytest.raises(StudyError, match=message):
        check_measures(measures, facts)


def test_a_model_without_words_loses_the_word_measures_by_name():
    facts = ModelFacts("ddpm", 3, attention="none")
    notices = check_measures(FULL, facts)
    assert len(notices) == 2
    assert all("'ddpm'" in notice and "left out" in notice for notice in notices)


def test_distances_of_rise_are_between_pictures_of_what_the_masked_latents_lead_to(
    pipelines, scorer
):
    maps = {}
    for protocol in ("ours", "park2024"):
        rise = ToolSpec(steps=(1,), prompts=1, options={"masks": 6, "similarity": "fid"})
        measures = Measures(df_rise=rise, protocol=protocol)
        _, (columns, _) = explained(pipelines["scenes-unet"], scorer, measures, spec("scenes-unet"))
        (maps[protocol],) = columns["explanations"]
    assert all(row["high"] <= 0 for row in maps.values())  # minus a distance
    assert maps["ours"]["map"] != maps["park2024"]["map"]


def test_the_seed_of_faithfulness_draws_another_random_baseline(pipelines, scorer):
    areas = {}
    for seed in (0, 5):
        games = {"seed": seed, "games": ("deletion",), "scores": ("structure",)}
        measures = Measures(df_cam=LAST, faithfulness=ToolSpec((2,), prompts=1, options=games))
        _, (columns, _) = explained(pipelines["scenes-unet"], scorer, measures, spec("scenes-unet"))
        (row,) = columns["faithfulness"]
        areas[seed] = row["auc"], row["auc_random"]
    assert areas[0][0] == areas[5][0]
    assert areas[0][1] != areas[5][1]
