"""Measures against the facts of a model, read without its weights: refused or left out before the run."""

from dataclasses import replace

import pytest

from pipeline.errors import StudyError
from pipeline.preflight.measures import ModelFacts, check_measures, read_facts
from pipeline.study.spec import Measures, ModelSpec, ToolSpec
from tests.support.explained import LAST, TEXTS, spec

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


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        (Measures(df_rise=ToolSpec(options={"similarity": "fid"})), 'df-rise.similarity holds "fid"'),
        (Measures(faithfulness=ToolSpec(options={"scores": ("clip", "fid")})), "2 - 2 cos"),
        (Measures(faithfulness=ToolSpec(options={"scores": ("inception",)})), "needs measures.inception"),
    ],
)  # fmt: skip
def test_a_distance_of_clip_vectors_is_not_called_fid(facts, measures, message):
    with pytest.raises(StudyError, match=message):
        check_measures(measures, facts)


def test_a_model_of_another_kind_says_that_the_papers_relevance_is_left_out():
    facts = read_facts(spec("scenes-dit"), TEXTS)
    measures = Measures(relevance=LAST, attention=LAST, protocol="park2024")
    (notice,) = check_measures(measures, facts)
    assert (
        "relevance is left out because the paper's protocol follows the one text encoder" in notice
    )
    assert check_measures(replace(measures, protocol="ours"), facts) == []


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
        (
            Measures(df_rise=ToolSpec(options={"design": "hadamard", "probability": 0.3})),
            "does not go with design = 'hadamard'",
        ),
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
