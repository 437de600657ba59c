"""The tools on real pipelines: nothing they do changes the image, and what they write fits the shard."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.diffusion.generate import generate
from pipeline.diffusion.watch import Batch
from pipeline.explain import make_observers
from pipeline.models import loading
from pipeline.models.families import FAMILIES
from pipeline.results.rows import SCHEMA
from pipeline.study.prompts import Prompt
from pipeline.study.spec import Measures, ToolSpec
from tests.support import families
from tests.support.explained import LAST, NAMES, PROMPTS, explained, spec

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

# Insertion and deletion are most of the cost: of every map by one score for one model, of two maps by both for the other.
BY_STRUCTURE = ToolSpec(steps=(2,), prompts=1, options={"scores": ("structure",)})
TWO_MAPS = ToolSpec(steps=(2,), prompts=1, options={"methods": ("df-cam", "df-rise")})
GAMES = {"scenes-unet": BY_STRUCTURE, "scenes-dit": TWO_MAPS}
MEASURES = {name: replace(FULL, faithfulness=games) for name, games in GAMES.items()}


@pytest.fixture(scope="module")
def results(pipelines, scorer):
    return {n: explained(pipelines[n], scorer, MEASURES[n], spec(n)) for n in NAMES}


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_explaining_everything_changes_no_bit(pipelines, results, name):
    assert torch.equal(generate(pipelines[name], spec(name), PROMPTS, 0, {}), results[name][0])
    module = loading.denoiser_of(pipelines[name])
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
    options = GAMES[name].options
    assert {row["method"] for row in first} == set(options.get("methods", methods))
    scores = options.get("scores", ("clip", "structure"))
    expected = {(game, score) for game in ("insertion", "deletion") for score in scores}
    assert {(row["game"], row["score"]) for row in first} == expected
    for row in first:
        end = row["curve"][-1] if row["game"] == "insertion" else row["curve"][0]
        assert end == pytest.approx(1, abs=1e-3)
        assert len(row["curve"]) == 17


def test_every_pair_of_maps_is_compared(results):
    rows = [r for r in results["scenes-unet"][1][0]["agreement"] if r["step"] == 2]
    assert len(rows) == 10
    assert all(-1 <= r["spearman"] <= 1 and 0 <= r["iou"] <= 1 for r in rows)


def test_twice_gives_the_same_numbers(root, scorer):
    pipeline, model = families.pipeline_of("pixart-alpha"), families.spec("pixart-alpha")
    measures = MEASURES["scenes-dit"]
    first, second = (explained(pipeline, scorer, measures, model)[1] for _ in range(2))
    assert first[0]["faithfulness"]
    for a, b in zip(first, second, strict=True):
        assert repr(a) == repr(b)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_one_by_one_gives(pipelines, scorer, results, name):
    measures = replace(FULL, faithfulness=None, lime=None, df_rise=None)
    _, (alone,) = explained(pipelines[name], scorer, measures, spec(name), PROMPTS[1:])
    together = results[name][1][1]
    for a, b in zip(alone["words"], together["words"], strict=True):
        assert np.allclose(a["mass"], b["mass"], rtol=2e-2, atol=1e-3)


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
