"""Caches of diffusers: the images are diffusers' own, recording changes no bit, and no tool looks into such a model."""

from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from pipeline.diffusion.generate import generate
from pipeline.engine.worker import Worker
from pipeline.errors import ModelError, StudyError
from pipeline.models.caches import check_cache
from pipeline.models.loading import check_tensors, open_pipeline
from pipeline.preflight.prepare import check_models
from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.plan import Plan, Revisions, WorkUnit, plan_study
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import (
    CacheSpec,
    Frames,
    Measures,
    ModelSpec,
    ToolSpec,
    model_spec,
    study_spec,
)
from tests.support import families
from tests.support.synthetic import small_study

pytestmark = pytest.mark.usefixtures("root")
CPU = torch.device("cpu")
FIRST = CacheSpec("first-block", threshold=0.5)
PYRAMID = CacheSpec("pyramid-attention", every=2, timesteps=(100, 900))
FASTER = CacheSpec("faster-cache", every=2, timesteps=(0, 900))
METHODS = pytest.mark.parametrize("cache", [FIRST, PYRAMID, FASTER], ids=lambda cache: cache.method)
BANK = ConceptBank("one", (Concept("dog", "object", ("a dog",)),))


def spec(cache: CacheSpec | None, **options: object) -> ModelSpec:
    return replace(families.spec("flux-dev", steps=6), cache=cache, **options)


def images(pipeline, model: ModelSpec, prompts=None) -> torch.Tensor:
    return generate(pipeline, model, prompts or families.prompts_of("flux-dev")[:1], 0, {})


def theirs(cache: CacheSpec, pipeline):
    if cache.method == "first-block":
        return diffusers.FirstBlockCacheConfig(threshold=cache.threshold)
    if cache.method == "faster-cache":
        return diffusers.FasterCacheConfig(
            spatial_attention_block_skip_range=cache.every,
            spatial_attention_timestep_skip_range=cache.timesteps,
            is_guidance_distilled=True,
            current_timestep_callback=lambda: pipeline.current_timestep,
        )
    return diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=cache.every,
        spatial_attention_timestep_skip_range=cache.timesteps,
        current_timestep_callback=lambda: pipeline.current_timestep,
    )


@METHODS
def test_images_are_those_of_diffusers_with_the_cache(cache):
    ours, plain = open_pipeline(spec(cache), CPU), open_pipeline(spec(None), CPU)
    before = images(plain, spec(None))
    plain.transformer.enable_cache(theirs(cache, plain))
    cached = images(ours, spec(cache))
    assert torch.equal(cached, images(plain, spec(None)))
    assert not torch.equal(cached, before), "nothing was taken over"
    assert torch.equal(cached, images(ours, spec(cache))), "a run leaves something behind"


def study_of(cache: CacheSpec, measures: Measures):
    study = load_study("data/studies/small.toml")
    return replace(study, models=(spec(cache),), measures=measures, run=replace(study.run, batch_size=3))  # fmt: skip


@METHODS
def test_such_a_model_is_sampled_and_scored(cache):
    study = study_of(cache, Measures(frames=Frames(), spectrum=True, embeddings=True))
    worker = Worker(study, study.models[0], BANK, "cpu")
    assert worker.description["trial"]["same_bits"] is True
    assert worker.description["trial"]["replay"] is None
    prompts = families.prompts_of("flux-dev", ("a red dog", "a cat on a dog", "a dog"))
    rows = worker.run(WorkUnit("u", study.models[0], prompts, 0))
    assert [row["status"] for row in rows] == ["done"] * 3, rows[0]["error"]
    assert all(len(row["steps"]) == len(row["frames"]) == 6 for row in rows)
    alone = worker.run(WorkUnit("u", study.models[0], prompts[1:2], 0))[0]
    if cache is FIRST:  # its choice is made for a whole batch, so a batch is one image
        assert alone["image"] == rows[1]["image"]
    assert np.allclose(alone["clip_score"], rows[1]["clip_score"], atol=1e-4)


def test_what_a_run_that_failed_left_behind_is_forgotten():
    pipeline, model = open_pipeline(spec(FIRST), CPU), spec(FIRST)
    expected = images(pipeline, model)
    step, calls = pipeline.scheduler.step, []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("stopped")
        return step(*args, **kwargs)

    pipeline.scheduler.step = failing
    with pytest.raises(RuntimeError, match="stopped"):
        images(pipeline, model)
    del pipeline.scheduler.step
    assert torch.equal(images(pipeline, model), expected)


@pytest.mark.parametrize(
    ("measures", "named"),
    [
        (Measures(attention=ToolSpec()), "attention"),
        (Measures(df_cam=ToolSpec(), relevance=ToolSpec()), "relevance, df-cam"),
        (Measures(concept_attention=ToolSpec()), "concept-attention"),
    ],
)
def test_tools_are_refused_by_name(measures, named):
    study = study_of(FIRST, measures)
    words = f"cache = 'first-block' takes parts of a step over .* {named} cannot be measured"
    with pytest.raises(ModelError, match=words):
        Worker(study, study.models[0], BANK, "cpu")
    revisions = Revisions({study.models[0].name: "x"}, "x")
    plan = Plan(study, revisions, families.prompts_of("flux-dev"), BANK)
    with pytest.raises(ModelError, match=words) as caught:
        check_models(plan, hub=False, say=lambda line: None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "options", "words"),
    [
        ("sd-epsilon", {}, "cache = 'first-block' is not available for a UNet2DConditionModel"),
        ("sd3", {}, "is not available for a SD3Transformer2DModel, which diffusers gives no cache"),
        ("flux-dev", {"compile": True}, "and compile exclude each other"),
    ],
)
def test_a_class_that_cannot_have_one_is_refused_by_name(family, options, words):
    model = replace(families.spec(family), cache=FIRST, **options)
    with pytest.raises(ModelError, match=words) as caught:
        check_tensors(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["chroma", "qwen-image", "cogview4"])
def test_faster_cache_is_refused_where_guidance_takes_a_call_of_its_own(family):
    """It would take the unconditional call for the next step of the conditional one."""
    model = replace(families.spec(family), cache=FASTER)
    words = "counts calls of the transformer as steps, so it needs .*: FluxPipeline, Flux2Pipeline"
    with pytest.raises(ModelError, match=words) as caught:
        check_tensors(model)
    assert "\n" not in str(caught.value)


def test_a_pipeline_that_does_not_tell_the_cache_where_it_is_is_refused():
    class Pipeline:
        pass

    with pytest.raises(ModelError, match="Pipeline, whose call does not tell a cache where it is"):
        check_cache(spec(FIRST), Pipeline, diffusers.FluxTransformer2DModel)


def read(cache: object):
    values = study_spec(small_study())
    values["model"][0]["cache"] = cache
    return parse_study(values, Path("study.toml"), check_files=False)


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ({}, "cache.method is missing"),
        ({"method": "magic"}, "cache.method = 'magic'"),
        ({"method": "first-block", "threshold": -1}, "cache.threshold"),
        ({"method": "first-block", "every": 2}, "cache.every is a key of 'pyramid-attention'"),
        ({"method": "pyramid-attention", "threshold": 0.1}, "cache.threshold is a key of 'first-block'"),
        ({"method": "pyramid-attention", "every": 1}, "cache.every"),
        ({"method": "pyramid-attention", "timesteps": [800, 100]}, "cache.timesteps = \\[800, 100\\] is no range"),
        ({"method": "faster-cache", "threshold": 0.1}, "cache.threshold is a key of 'first-block'"),
        ({"method": "faster-cache", "timesteps": [0, 1001]}, "cache.timesteps"),
        ({"method": "first-block", "x": 1}, "cache.x is an unknown key"),
        ("first-block", "cache"),
    ],
)  # fmt: skip
def test_an_entry_that_means_nothing_is_one_line(cache, words):
    with pytest.raises(StudyError, match=words) as caught:
        read(cache)
    assert "\n" not in str(caught.value)


def test_the_settings_are_part_of_what_a_model_is():
    assert "cache" not in model_spec(small_study().models[0]), "old studies keep their spelling"
    study = read({"method": "first-block"})
    assert study.models[0].cache == CacheSpec("first-block", threshold=0.05)
    other = read({"method": "pyramid-attention"})
    assert other.models[0].cache == CacheSpec("pyramid-attention", every=2, timesteps=(100, 800))
    faster = read({"method": "faster-cache"})
    assert faster.models[0].cache == CacheSpec("faster-cache", every=2, timesteps=(0, 681))
    for each in (study, other, faster):
        assert parse_study(study_spec(each), each.path, check_files=False) == each
    plans = [plan_study(each) for each in (small_study(), study, other, faster, read({"method": "first-block", "threshold": 0.1}))]  # fmt: skip
    first = [next(iter(plan)).unit_id for plan in plans]
    assert len(set(first)) == 5
