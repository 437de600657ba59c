"""What each tool scores on real pipelines, under our protocol and under the paper's."""

from dataclasses import replace

import pytest
import torch

from pipeline.diffusion.denoiser import Guidance
from pipeline.explain.cam import cam_layers, df_cam, patch_size_of
from pipeline.explain.lime import LimeOptions, lime_weights
from pipeline.explain.rise import RiseOptions, rise_scores
from pipeline.explain.tools import (
    cam_maps,
    lime_maps,
    lime_options,
    rise_maps,
    rise_options,
)
from pipeline.metrics.similarity import similarity_to
from pipeline.study.spec import Measures, ToolSpec
from tests.support.explained import NAMES, at_step, explained, spec


def test_distances_of_rise_are_between_pictures_of_what_the_masked_latents_lead_to(
    pipelines, scorer
):
    maps = {}
    for protocol in ("ours", "park2024"):
        rise = ToolSpec(steps=(1,), prompts=1, options={"masks": 6, "similarity": "clip"})
        measures = Measures(df_rise=rise, protocol=protocol)
        _, (columns, _) = explained(pipelines["scenes-unet"], scorer, measures, spec("scenes-unet"))
        (maps[protocol],) = columns["explanations"]
    assert maps["ours"]["map"] != maps["park2024"]["map"]


@pytest.mark.parametrize("name", NAMES)
def test_the_conditional_half_alone_is_that_half(pipelines, scorer, name):
    maps_by_name = {}

    def compare(view):
        denoiser = view.denoiser
        with torch.no_grad():
            _, both = denoiser.halves_of_batch(view.latents)
            maps_by_name["all"] = both, denoiser.conditional_of(view.latents, [0, 1])
            maps_by_name["one"] = both[1:], denoiser.conditional_of(view.latents[1:], [1])
        with pytest.raises(IndexError, match="2 items"):
            denoiser.conditional_of(view.latents, [0, 2])

    at_step(pipelines[name], scorer, spec(name), compare)
    for expected, alone in maps_by_name.values():
        assert torch.allclose(expected, alone, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_guidance_has_no_part_in_df_cam(pipelines, scorer, name):
    """The same latents under another guidance scale give the same map; the paper's protocol combines halves by it."""
    maps_by_name = {"ours": [], "park2024": []}

    def look(view):
        for scale in (3.0, 9.0):
            denoiser = replace(view.denoiser, guidance=Guidance(scale))
            for protocol, maps in maps_by_name.items():
                changed = replace(view, denoiser=denoiser)
                maps.append(cam_maps(changed, [0, 1], ToolSpec(), protocol)[1])

    at_step(pipelines[name], scorer, spec(name), look)
    assert torch.equal(*maps_by_name["ours"])
    assert not torch.allclose(*maps_by_name["park2024"], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_df_rise_and_lime_are_scored_by_clean_latents(pipelines, scorer, name):
    maps_by_name = {}

    def look(view):
        options = RiseOptions(masks=10, seed=4)
        clean = lambda latents: view.denoiser.denoised(latents, view.denoiser(latents, 1))
        maps_by_name["expected"] = rise_scores(clean, view.latents[1], options, view.denoised[1])
        tool = ToolSpec(options={"masks": 10, "seed": 4})
        maps_by_name["map"] = rise_maps(view, [1], tool, "ours")[1]
        few = LimeOptions(perturbations=10)
        maps_by_name["lime"] = lime_weights(clean, view.latents[1], few)
        maps_by_name["lime map"] = lime_maps(
            view, [1], ToolSpec(options={"perturbations": 10}), "ours"
        )[1]

    at_step(pipelines[name], scorer, spec(name), look)
    assert torch.allclose(maps_by_name["expected"], maps_by_name["map"], atol=1e-4)
    assert torch.allclose(maps_by_name["lime"], maps_by_name["lime map"], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_protocol_reaches_df_cam_and_lime(pipelines, scorer, name):
    """DF-CAM at guidance 1 is Grad-CAM of the conditional half's share; LIME scores predictions against x_{t-1}."""
    maps_by_name = {}

    def look(view):
        denoiser = view.denoiser
        layers = cam_layers(denoiser.module, view.batch.family.cam)[:2]
        tool = ToolSpec(options={"layers": tuple(layers)})
        both = lambda: torch.cat(denoiser.halves_of_batch(view.latents.requires_grad_()))
        size = tuple(view.latents.shape[-2:])
        patch = patch_size_of(denoiser.module, 4)
        maps_by_name["expected"] = df_cam(both, denoiser.module, size, 2, 3.0, layers, patch)
        maps_by_name["cam"] = torch.stack(list(cam_maps(view, [0, 1], tool, "park2024").values()))
        maps_by_name["one"] = cam_maps(view, [1], tool, "park2024")[1]
        view.latents.requires_grad_(False)
        few = LimeOptions(perturbations=10, segmentation="slic", per_area=False)
        similar = similarity_to(view.next_latents[1].float(), "structure", "park2024")
        maps_by_name["lime"] = lime_weights(
            lambda latents: denoiser(latents, 1), view.latents[1], few,
            lambda out: similar(out).mean((1, 2)),
        )  # fmt: skip
        options = ToolSpec(options={"perturbations": 10})
        maps_by_name["lime map"] = lime_maps(view, [1], options, "park2024")[1]

    at_step(pipelines[name], scorer, spec(name), look)
    assert torch.allclose(maps_by_name["expected"], maps_by_name["cam"], atol=1e-4)
    assert torch.allclose(maps_by_name["one"], maps_by_name["cam"][1], atol=1e-3)
    assert torch.allclose(maps_by_name["lime"], maps_by_name["lime map"], atol=1e-4)


@pytest.mark.parametrize("similarity", ["clip", "cosine", "luminance"])
def test_other_scores_of_the_papers_figure_5_give_maps(pipelines, scorer, similarity):
    rise = ToolSpec(steps=(1,), prompts=1, options={"masks": 8, "similarity": similarity})
    _, (columns, _) = explained(
        pipelines["scenes-unet"], scorer, Measures(df_rise=rise), spec("scenes-unet")
    )
    (row,) = columns["explanations"]
    assert -1 <= row["low"] < row["high"] <= 1.2


def test_what_a_study_leaves_open_is_the_papers_under_its_protocol():
    ours, paper = (rise_options(ToolSpec(), protocol) for protocol in ("ours", "park2024"))
    assert ours == RiseOptions()
    assert paper.protocol == "park2024" and ours.protocol == "ours"
    assert paper.masks == 500 and paper.per_position and paper.per_pixel and paper.against_next
    assert rise_options(ToolSpec(options={"masks": 7}), "park2024").masks == 7
    assert lime_options(ToolSpec(), "ours") == LimeOptions()
    superpixels = lime_options(ToolSpec(), "park2024")
    assert (superpixels.segmentation, superpixels.per_area) == ("slic", False)
