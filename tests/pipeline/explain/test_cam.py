import pytest
import torch
from captum.attr import LayerGradCam

from pipeline.errors import StudyError
from pipeline.explain.cam import (
    as_grid,
    cam_layers,
    choose_layers,
    combine,
    df_cam,
    layer_cams,
    patch_size_of,
)
from pipeline.explain.maps import resize_map, scale_map
from tests.support.tiny import MODELS, call_unet, tiny_unet


@pytest.fixture(scope="module")
def unet():
    return tiny_unet()


def test_every_layer_equals_captums_grad_cam(unet):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    call = call_unet(unet)
    ours = layer_cams(lambda: call(latents), unet, (8, 8))
    assert set(ours) == set(cam_layers(unet))

    def total(x):
        return call(x).flatten(1).sum(1)

    for name, saliency in ours.items():
        layer = unet.get_submodule(name)
        oracle = LayerGradCam(total, layer).attribute(
            latents.clone().requires_grad_(), relu_attributions=True
        )
        oracle = oracle[0] if isinstance(oracle, tuple) else oracle
        assert torch.allclose(saliency, oracle[:, 0], atol=1e-5, rtol=1e-3), name


def test_guided_halves_combine_by_the_guidance_formula(unet):
    call, w = call_unet(unet, rows=4), 3.0
    with torch.enable_grad():
        out = {}
        layer = unet.get_submodule("mid_block.resnets.0")
        hook = layer.register_forward_hook(lambda m, i, o: out.update(a=o))
        guided = combine(call(), w)
        hook.remove()
        gradient = torch.autograd.grad(guided.sum(), out["a"])[0]
    weights = combine(gradient, w).mean((2, 3), keepdim=True)
    expected = (weights * combine(out["a"].detach(), w)).sum(1).relu()
    saliency = layer_cams(lambda: combine(call(), w), unet, (8, 8), 2, w, ["mid_block.resnets.0"])[
        "mid_block.resnets.0"
    ]
    assert saliency.shape[0] == 2
    assert torch.allclose(saliency, expected, atol=1e-5)


def test_of_the_raw_sum_at_guidance_one_is_captums_grad_cam_of_the_conditional_half(unet):
    """The paper's target: both halves as they are; their activations and gradients meet in the guidance formula alone."""
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(6))
    call = call_unet(unet, rows=4)
    ours = layer_cams(lambda: call(latents), unet, (8, 8), 2, 1.0)

    def total(x):
        return call(x).flatten(1).sum(1)

    for name, saliency in ours.items():
        oracle = LayerGradCam(total, unet.get_submodule(name)).attribute(
            latents.clone().requires_grad_(), relu_attributions=True
        )
        oracle = oracle[0] if isinstance(oracle, tuple) else oracle
        assert torch.allclose(saliency, oracle[2:, 0], atol=1e-5, rtol=1e-3), name


@pytest.mark.parametrize("name", list(MODELS))
def test_maps_of_every_architecture(name):
    make, call = MODELS[name]
    denoiser = make()
    patch = {"unet": 1, "sd3": 2, "flux": 2}[name]
    saliency = df_cam(call(denoiser), denoiser, (8, 8), patch=patch)
    assert saliency.shape == (2, 8, 8)
    assert saliency.amin((1, 2)).tolist() == [0, 0]
    assert saliency.amax((1, 2)).tolist() == pytest.approx([1, 1])
    assert patch_size_of(denoiser, 4) == patch
    assert not any(m._forward_hooks for m in denoiser.modules())


def test_items_do_not_mix(unet):
    g = torch.Generator().manual_seed(5)
    latents, text = torch.randn(3, 4, 8, 8, generator=g), torch.randn(3, 6, 12, generator=g)
    together = df_cam(lambda: unet(latents, 9, text).sample, unet, (8, 8))
    for i in range(3):
        one = lambda i=i: unet(latents[i : i + 1], 9, text[i : i + 1]).sample
        assert torch.allclose(df_cam(one, unet, (8, 8))[0], together[i], atol=1e-4)


def test_all_layers_come_from_one_pass(unet):
    calls = []
    counted = call_unet(unet)

    def forward():
        calls.append(1)
        return counted()

    maps = layer_cams(forward, unet, (8, 8))
    assert len(calls) == 1
    total = torch.stack([scale_map(resize_map(m, (8, 8))) for m in maps.values()]).sum(0)
    assert torch.allclose(df_cam(counted, unet, (8, 8)), scale_map(total), atol=1e-5)


def test_layers_are_resnets_attentions_and_samplers(unet):
    kinds = {name.split(".")[-2] for name in cam_layers(unet)}
    assert kinds == {"resnets", "attentions", "downsamplers", "upsamplers"}


def test_patterns_choose_layers(unet):
    known = cam_layers(unet)
    assert choose_layers(known, ()) == known
    chosen = choose_layers(known, ["mid_block.*"])
    assert chosen
    assert all(name.startswith("mid_block") for name in chosen)


def test_a_layer_that_does_not_exist_is_named(unet):
    with pytest.raises(StudyError, match=r"no layer 'up_blocks\.7"):
        choose_layers(cam_layers(unet), ["up_blocks.7.resnets.0"])


def test_the_images_tokens_are_the_last_ones():
    tokens = torch.arange(10.0).view(1, 10, 1)
    assert as_grid(tokens, (4, 4), 2)[0, 0].tolist() == [[6, 7], [8, 9]]
