"""Perturbed-attention guidance: words and replays are of the conditional part, whatever PAG's processors do to the one behind it."""

from __future__ import annotations

from dataclasses import replace

import diffusers as d
import pytest
import torch

from pipeline.diffusion.perturbed import Perturbation, perturbed_scale
from pipeline.models import loading
from pipeline.study.spec import Measures, ToolSpec
from tests.support.families import LAST, pipeline_of, prompts_of, seen, spec, watch
from tests.support.tiny_kolors import KOLORS
from tests.support.tiny_pipelines import sd3

pytestmark = pytest.mark.long

NAMES = ("sd-pag", "sdxl-pag", "sd3-pag", *(name for name in KOLORS if name == "kolors-pag"))
PLAIN = {
    "sd-pag": d.StableDiffusionPipeline,
    "sdxl-pag": d.StableDiffusionXLPipeline,
    "sd3-pag": d.StableDiffusion3Pipeline,
    "kolors-pag": d.KolorsPipeline,
}
ATTENTION = Measures(attention=ToolSpec(), relevance=LAST)


def processors(pipeline):
    return [type(each).__name__ for each in loading.denoiser_of(pipeline).attn_processors.values()]


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_the_first_step_are_those_of_the_same_weights_without_pag(
    root, name, guidance
):
    """There the latents are the same, and what PAG perturbs is a third part."""
    pipeline, model = pipeline_of(name), spec(name, guidance=guidance)
    options = {"requires_safety_checker": False} if name == "sd-pag" else {}
    plain = PLAIN[name](**pipeline.components, **options)
    plain.set_progress_bar_config(disable=True)
    runs = [watch(name, each, model, prompts_of(name), ATTENTION) for each in (pipeline, plain)]
    assert not torch.equal(runs[0].plain, runs[1].plain)
    for mine, other in zip(*(run.columns for run in runs), strict=True):
        rows = [
            [row for row in side["words"] if row["source"] == "attention"] for side in (mine, other)
        ]
        for one, two in zip(*rows, strict=True):
            assert one["word"] == two["word"]
            assert one["mass"][0] == pytest.approx(two["mass"][0], rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_the_conditional_part_alone_is_that_of_the_call(root, name, guidance):
    run = watch(
        name, pipeline_of(name), spec(name, guidance=guidance), prompts_of(name), Measures()
    )
    denoiser = run.views[0].denoiser
    assert denoiser.parts == denoiser.conditions + 1 == (3 if guidance > 1 else 2)
    with torch.no_grad(), denoiser.perturbation.present():
        output = denoiser.module(*denoiser.args, **denoiser.kwargs)[0].chunk(denoiser.parts)
    first, *unguided = reversed(
        [half for half in denoiser.halves_of_batch(denoiser.latents) if half is not None]
    )
    conditional = denoiser.conditional_of(denoiser.latents, range(denoiser.batch))
    assert torch.allclose(conditional, output[-2], atol=1e-5)
    assert torch.allclose(first, output[-2], atol=1e-5)
    assert all(torch.allclose(half, output[0], atol=1e-5) for half in unguided)
    assert not torch.allclose(output[-2], output[-1], atol=1e-4), "nothing is perturbed"


def test_norms_that_pag_leaves_out_are_left_out_of_the_part_alone():
    """PAG's processors of SD3 know no norms of queries and keys (SD3.5)."""
    parts = sd3(num_layers=3, qk_norm="rms_norm").components
    parts = {k: v for k, v in parts.items() if k not in ("image_encoder", "feature_extractor")}
    pipeline = d.StableDiffusion3PAGPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    for layer in pipeline.transformer.modules():
        if getattr(layer, "norm_q", None) is not None:
            layer.norm_q.weight.data.uniform_(2, 3)
    run = watch("sd3-pag", pipeline, spec("sd3-pag"), prompts_of("sd3-pag"), Measures())
    denoiser = run.views[0].denoiser
    with torch.no_grad(), denoiser.perturbation.present():
        output = denoiser.module(*denoiser.args, **denoiser.kwargs)[0].chunk(3)
    conditional = denoiser.conditional_of(denoiser.latents, [0, 1])
    assert torch.allclose(conditional, output[1], atol=1e-5)
    assert all(layer.norm_q is not None for layer in denoiser.perturbation.processors)


@pytest.mark.parametrize("name", NAMES)
def test_a_call_is_replayed_after_its_run_and_leaves_the_layers_as_they_were(root, name):
    pipeline, view = pipeline_of(name), seen(name).views[-1]
    before = processors(pipeline)
    assert not any("PAG" in each for each in before)
    assert torch.equal(view.denoiser.replay(), view.prediction)
    view.denoiser.conditional_of(view.latents, [0, 1])
    assert processors(pipeline) == before
    names = [type(each).__name__ for each in view.denoiser.perturbation.processors.values()]
    assert names and all(each.startswith("PAGCFG") for each in names)


def test_where_the_call_asks_for_no_perturbation_there_are_two_parts(root, monkeypatch):
    pipeline = pipeline_of("sd-pag")
    monkeypatch.setattr(type(pipeline), "do_perturbed_attention_guidance", False)
    run = watch("sd-pag", pipeline, spec("sd-pag"), prompts_of("sd-pag"), ATTENTION)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert view.denoiser.perturbation is None and view.denoiser.parts == 2
        assert torch.equal(replay, view.prediction)
    assert run.columns[0]["words"]


class Adaptive:
    """A pipeline whose scale falls with the timestep."""

    do_pag_adaptive_scaling = True
    pag_scale, pag_adaptive_scale = 3.0, 0.005


def test_the_scale_follows_the_timestep_and_is_never_negative():
    pipeline = Adaptive()
    assert perturbed_scale(pipeline, 1000) == 3
    assert perturbed_scale(pipeline, torch.tensor(800)) == 2
    assert perturbed_scale(pipeline, 0) == 0
    assert Perturbation.of(torch.nn.Linear(2, 2)).processors == {}


@pytest.mark.parametrize("protocol", ["ours", "park2024"])
def test_both_protocols_explain_what_is_not_perturbed(root, protocol):
    measures = replace(Measures(relevance=LAST, df_cam=LAST), protocol=protocol)
    run = watch("sd-pag", pipeline_of("sd-pag"), spec("sd-pag"), prompts_of("sd-pag"), measures)
    assert torch.equal(run.plain, run.watched)
    for columns in run.columns:
        assert [row for row in columns["words"] if row["source"] == "relevance"]
        assert [row for row in columns["explanations"] if row["method"] == "df-cam"]
