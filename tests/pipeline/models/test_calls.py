"""What the pipeline of a family does not take, or ignores, is said before the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny

from pipeline.diffusion.generate import generate
from pipeline.errors import ModelError, StudyError
from pipeline.explain.attention import text_layers
from pipeline.models import loading
from pipeline.preflight.models import check_call, inspect_model
from pipeline.study.reading import parse_study
from pipeline.study.spec import study_spec
from tests.support.families import (
    CPU,
    FOLDERS,
    KNOWN,
    WORDS,
    pipeline_of,
    prompts_of,
    spec,
)
from tests.support.synthetic import small_study
from tests.support.tiny_pipelines import LABELS, folder_of


@pytest.mark.parametrize("name", [n for n in KNOWN if n not in ("dit", "ddpm", "kandinsky22")])
def test_a_side_that_is_no_multiple_is_refused(root, name):
    with pytest.raises(ModelError, match=r"width = 33 is not a multiple of \d"):
        check_call(inspect_model(spec(name, width=33)))


@pytest.mark.parametrize("kind", ["model", "sequential"])
def test_offload_needs_a_gpu(root, kind):
    with pytest.raises(ModelError, match=f"offload = '{kind}' moves parts"):
        loading.open_pipeline(spec("sd-epsilon", offload=kind), CPU)


def test_group_offload_is_refused_by_what_is_allowed():
    values = study_spec(small_study())
    values["model"][0]["offload"] = "group"
    with pytest.raises(StudyError, match="'group' is not offered: .* Allowed: model, sequential"):
        parse_study(values, Path("study.toml"), check_files=False)


def test_a_negative_prompt_without_guidance_is_said_to_have_no_effect(root):
    model = spec("sd-epsilon", negative_prompt="a red rocket", guidance=1.0)
    (notice,) = check_call(inspect_model(model), ["dog"])
    assert "negative_prompt has no effect while guidance is off" in notice
    run = generate(pipeline_of("sd-epsilon"), model, prompts_of("sd-epsilon"), 0, {})
    without = replace(model, negative_prompt="")
    assert torch.equal(
        run, generate(pipeline_of("sd-epsilon"), without, prompts_of("sd-epsilon"), 0, {})
    )


@pytest.mark.parametrize(("name", "most"), [("sd3", 64), ("auraflow", 128)])
def test_sizes_beyond_the_position_embedding_are_refused(root, name, most):
    check_call(inspect_model(spec(name, width=most)))
    with pytest.raises(ModelError, match=f"beyond the {most} px"):
        check_call(inspect_model(spec(name, width=most + 4)))


def test_a_tiny_autoencoder_of_another_model_is_refused(root, tmp_path):
    AutoencoderTiny(latent_channels=16).save_pretrained(tmp_path / "taesd3")
    model = spec("sd-epsilon", steps_decoder=str(tmp_path / "taesd3"))
    with pytest.raises(ModelError, match="decodes 16 channels, and the model's latents have 4"):
        loading.open_decoder(model, pipeline_of("sd-epsilon"))
    with pytest.raises(ModelError, match="could not be loaded"):
        loading.open_decoder(replace(model, steps_decoder=str(tmp_path)), pipeline_of("sd-epsilon"))
    with pytest.raises(ModelError, match="works on pixels"):
        check_call(inspect_model(spec("ddpm", steps_decoder=str(tmp_path))))


def test_labels_are_named_or_numbered(root):
    check_call(inspect_model(spec("dit")), ["dog", "Hound", "cat", "2"])
    with pytest.raises(ModelError, match=r"'zebra' is no class label .* one of 4 labels"):
        check_call(inspect_model(spec("dit")), ["zebra"])
    with pytest.raises(ModelError, match="'7'"):
        check_call(inspect_model(spec("dit")), ["7"])
    assert set(pipeline_of("dit").labels.values()) == set(LABELS)


def test_half_a_model_is_refused(root):
    folder = folder_of("kandinsky22", FOLDERS[0])
    index = json.loads((folder / "model_index.json").read_text())
    inspected = inspect_model(spec("kandinsky22"))
    from diffusers import KandinskyV22PriorPipeline, StableDiffusionImg2ImgPipeline

    half = replace(inspected, pipeline=KandinskyV22PriorPipeline, index=index)
    with pytest.raises(ModelError, match="KandinskyV22CombinedPipeline"):
        check_call(half)
    with pytest.raises(ModelError, match="also wants image"):
        check_call(replace(inspected, pipeline=StableDiffusionImg2ImgPipeline))


@pytest.mark.parametrize("name", ["dit", "ddpm", "kandinsky22"])
def test_schedulers_that_need_scaled_noise_are_refused(root, name):
    with pytest.raises(ModelError, match="needs noise scaled to its sigmas"):
        check_call(inspect_model(spec(name, scheduler="EulerDiscreteScheduler")), ["dog"])


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "auraflow", "sana"])
def test_schedulers_that_read_the_output_otherwise_are_refused(root, name):
    with pytest.raises(ModelError, match="was trained for flow"):
        check_call(inspect_model(spec(name, scheduler="DDIMScheduler")))


def test_text_layers_are_those_of_the_family(root):
    for name in WORDS:
        kinds = {layer.kind for layer in text_layers(loading.denoiser_of(pipeline_of(name)))}
        family = loading.family_of(pipeline_of(name))
        assert kinds == {"cross"} if family.attention == "cross" else kinds <= {"joint", "single"}
