import math

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import SlicedAttnProcessor
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ModelError
from pipeline.explain.attention import (
    AttentionTap,
    attention_layers,
    attention_weights,
    grid_of,
    layer_groups,
    text_layers,
)
from pipeline.explain.word_attention import WordAccumulator, spatial_entropy
from tests.support.tiny import MODELS, tiny_flux, tiny_unet

pytestmark = pytest.mark.parametrize("name", list(MODELS))


def collect(denoiser, call, layers):
    calls = []

    def keep(seen, plain_call):
        calls.append(seen)
        return plain_call()

    with torch.no_grad(), AttentionTap(layers, keep):
        return call(), calls


def build(name):
    make, call = MODELS[name]
    denoiser = make()
    return denoiser, call(denoiser)


def test_looking_changes_no_bit(name):
    denoiser, call = build(name)
    with torch.no_grad():
        plain = call()
    seen, calls = collect(denoiser, call, attention_layers(denoiser))
    assert torch.equal(plain, seen)
    assert len(calls) == len(attention_layers(denoiser))


def test_weights_sum_to_one_over_all_keys(name):
    denoiser, call = build(name)
    _, calls = collect(denoiser, call, text_layers(denoiser))
    for seen in calls:
        total = seen.weights().sum(-1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


def test_explicit_attention_equals_the_built_in_one(name):
    denoiser, call = build(name)
    _, calls = collect(denoiser, call, attention_layers(denoiser))
    for seen in calls:
        built_in = F.scaled_dot_product_attention(
            seen.query, seen.key, seen.value, attn_mask=seen.mask, scale=seen.scale
        )
        assert torch.allclose(seen.weights() @ seen.value, built_in, atol=1e-4)


def test_text_and_image_are_told_apart(name):
    denoiser, call = build(name)
    _, calls = collect(denoiser, call, text_layers(denoiser))
    for seen in calls:
        queries = len(range(*seen.image_positions().indices(seen.query.shape[2])))
        keys = len(range(*seen.text_positions().indices(seen.key.shape[2])))
        assert keys == 6
        assert queries in (64, 16)


def test_hooks_come_off_also_after_an_error(name):
    denoiser, call = build(name)

    def fail(seen, plain_call):
        raise RuntimeError("looked and broke")

    with pytest.raises(RuntimeError, match="broke"), AttentionTap(attention_layers(denoiser), fail):
        call()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in denoiser.modules())
    collect(denoiser, call, attention_layers(denoiser))


def test_a_paused_tap_sees_nothing(name):
    denoiser, call = build(name)
    seen = []
    with AttentionTap(
        attention_layers(denoiser), lambda c, plain_call: seen.append(c) or plain_call()
    ) as tap:
        with tap.paused():
            call()
        assert seen == []
        call()
    assert seen


def test_words_share_the_attention_on_words(name):
    denoiser, call = build(name)
    average = torch.zeros(2, 6, 4)  # two words, special tokens, all text
    average[:, 1, 0] = 1
    average[:, 2, 1] = average[:, 3, 1] = 0.5
    average[:, [0, 4, 5], 2] = 1
    average[:, :, 3] = 1
    accumulator = WordAccumulator(average)
    _, calls = collect(denoiser, call, text_layers(denoiser))
    for seen in calls:
        accumulator.add(seen, slice(0, 2))
    groups = layer_groups(text_layers(denoiser))
    result = accumulator.finish(groups, 8, 8)
    assert result.groups[0] == "all"
    assert torch.allclose(result.mass[..., :2].sum(-1), torch.ones(2, len(groups)), atol=1e-5)
    assert ((result.mass >= 0) & (result.mass <= 1)).all()
    assert ((result.entropy > 0) & (result.entropy <= 1 + 1e-6)).all()
    by_hand = torch.stack(
        [
            s.weights()[:, :, s.image_positions(), s.text_positions()].mean((1, 2)) @ average[0]
            for s in calls
        ]
    ).mean(0)
    share = by_hand[:, :2] / by_hand[:, :2].sum(-1, keepdim=True)
    assert torch.allclose(result.mass[:, 0, :2], share, atol=1e-5)


def test_queries_and_keys_are_the_models_own(name):
    if name != "unet":
        pytest.skip("projections of a cross-attention layer")
    denoiser, call = build(name)
    layer = text_layers(denoiser)[0]
    kept = {}
    layer.module.to_q.register_forward_hook(lambda m, i, o: kept.update(q=o))
    layer.module.to_k.register_forward_hook(lambda m, i, o: kept.update(k=o))
    _, (seen,) = collect(denoiser, call, [layer])
    heads = layer.module.heads
    q, k = (kept[x].unflatten(-1, (heads, -1)).transpose(1, 2) for x in "qk")
    explicit = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    assert torch.allclose(seen.weights(), explicit, atol=1e-6)


def test_layer_groups(name):
    denoiser, _ = build(name)
    expected = {
        "unet": ["all", "down", "mid", "up"],
        "sd3": ["all", "blocks 0-0", "blocks 1-1", "blocks 2-2"],
        "flux": ["all", "blocks 0-0", "blocks 1-1", "blocks 2-2"],
    }
    assert layer_groups(text_layers(denoiser)) == expected[name]


def test_flux_single_blocks_count(name):
    kinds = [layer.kind for layer in text_layers(tiny_flux())]
    assert kinds == ["joint", "single", "single"]


def test_a_processor_that_hides_its_weights_is_refused(name):
    unet = tiny_unet()
    unet.set_attn_processor(SlicedAttnProcessor(1))
    with (
        pytest.raises(ModelError, match="SlicedAttnProcessor"),
        AttentionTap(text_layers(unet), None),
    ):
        pass


@pytest.mark.parametrize("boolean", [True, False])
def test_masks_count(name, boolean):
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 4, generator=g) for _ in range(3))
    allowed = torch.tensor([1, 1, 0, 1, 0]).bool().expand(2, 1, 5, 5)
    mask = allowed if boolean else torch.zeros(2, 1, 5, 5).masked_fill(~allowed, -1e4)
    weights = attention_weights(q, k, mask)
    assert float(weights[..., [2, 4]].max()) < 1e-6
    built_in = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(weights @ v, built_in, atol=1e-5)


@given(height=st.integers(2, 40), width=st.integers(2, 40), factor=st.sampled_from([1, 2, 4]))
def test_the_grid_is_found_for_any_shape(name, height, width, factor):
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    grid = grid_of(rows * columns, height, width)
    assert grid[0] * grid[1] == rows * columns


def test_positions_that_fit_no_grid_are_refused(name):
    with pytest.raises(ModelError, match="fit no grid"):
        grid_of(63, 8, 8)


def test_entropy_runs_from_a_point_to_even(name):
    point = torch.zeros(4, 4)
    point[1, 2] = 3
    assert float(spatial_entropy(point)) == 0
    assert float(spatial_entropy(torch.ones(4, 4))) == pytest.approx(1)
    assert math.isnan(float(spatial_entropy(torch.zeros(4, 4))))
