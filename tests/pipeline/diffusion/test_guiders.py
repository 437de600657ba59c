"""A guider that remembers earlier steps: a replay is the captured step, for a batch and for an item alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.diffusion.generate import generate
from pipeline.diffusion.guiders import GuidedBy, guided_at
from pipeline.models import loading
from pipeline.study.spec import Measures
from tests.support.families import CPU, pipeline_of, prompts_of, spec, watch
from tests.support.tiny_pipelines import build

pytestmark = pytest.mark.long

NAME = "hunyuan-image"


def test_images_are_those_of_diffusers_with_the_guidance_of_the_entry(root):
    model, prompt = spec(NAME, guidance=2.5), prompts_of(NAME)[0]
    ours = generate(pipeline_of(NAME), model, [prompt], 0, {})
    theirs = loading.open_pipeline(model, CPU)
    theirs.guider = theirs.guider.new(guidance_scale=2.5)
    sizes = {"height": model.height, "width": model.width, "num_inference_steps": model.steps}
    generator = torch.Generator().manual_seed(0)
    image = theirs(prompt.text, **sizes, generator=generator, output_type="pt").images
    assert torch.equal(ours, image)
    other = generate(pipeline_of(NAME), replace(model, guidance=4.0), [prompt], 0, {})
    assert not torch.equal(ours, other)


def test_the_steps_after_the_first_are_replayed_with_what_the_guider_remembers(root):
    run = watch(NAME, pipeline_of(NAME), spec(NAME), prompts_of(NAME), Measures())
    for view, replay in zip(run.views, run.replays, strict=True):
        guidance = view.denoiser.guidance
        assert isinstance(guidance, GuidedBy)
        assert torch.equal(replay, view.prediction)
        assert torch.equal(view.denoiser.replay(), replay), "a replay is remembered"
    last = run.views[-1].denoiser
    forgetful = replace(last.guidance, guider=build(NAME).guider.new())
    forgetful.guider.set_state(2, 3, None)
    forgotten = replace(last, guidance=forgetful).replay()
    assert not torch.allclose(forgotten, last.prediction, atol=1e-3)


@pytest.mark.parametrize("text", ['a sign "OPEN"', "a sign"])
def test_quoted_text_has_a_guider_of_its_own(root, text):
    run = watch(NAME, pipeline_of(NAME), spec(NAME), prompts_of(NAME, (text,)), Measures())
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)


def test_guiders_are_as_before_after_a_call(root):
    pipeline = build(NAME)
    guider, quoted = pipeline.guider, pipeline.ocr_guider
    with pytest.raises(RuntimeError), guided_at(pipeline, 9.0):
        assert pipeline.guider.guidance_scale == pipeline.ocr_guider.guidance_scale == 9
        raise RuntimeError
    assert pipeline.guider is guider and pipeline.ocr_guider is quoted
    assert guider.guidance_scale == 3.5
