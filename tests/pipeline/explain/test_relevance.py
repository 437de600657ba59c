import pytest
import torch

from pipeline.explain.attention import attention_layers
from pipeline.explain.relevance import (
    AttentionGradient,
    attention_gradients,
    cross_relevance,
    joint_relevance,
    normalised,
    scale_free,
    token_relevance,
    word_scores,
)
from tests.support.tiny import MODELS, call_unet, tiny_unet

EVERYTHING = slice(None)


def random_attention(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_one_self_and_one_cross_layer_by_hand():
    self_attention, cross = random_attention(1, 4, 4), random_attention(1, 4, 3, seed=1)
    records = [
        AttentionGradient("self", EVERYTHING, EVERYTHING, self_attention),
        AttentionGradient("cross", EVERYTHING, EVERYTHING, cross),
    ]
    image = torch.eye(4) + self_attention[0]
    rest = image - torch.eye(4)
    expected = (rest / rest.sum(1, keepdim=True) + torch.eye(4)).T @ cross[0]
    assert torch.allclose(cross_relevance(records)[4][0], expected, atol=1e-6)


def test_self_attention_afterwards_spreads_what_the_image_has():
    self_attention, cross = random_attention(1, 4, 4), random_attention(1, 4, 3, seed=1)
    records = [
        AttentionGradient("cross", EVERYTHING, EVERYTHING, cross),
        AttentionGradient("self", EVERYTHING, EVERYTHING, self_attention),
    ]
    assert torch.allclose(
        cross_relevance(records)[4][0], cross[0] + self_attention[0] @ cross[0], atol=1e-6
    )


def test_joint_attention_is_the_same_rule_on_one_matrix():
    first, second = random_attention(1, 5, 5), random_attention(1, 5, 5, seed=1)
    records = [
        AttentionGradient("joint", slice(0, 4), slice(4, 5), part) for part in (first, second)
    ]
    whole = torch.eye(5) + first[0]
    whole = whole + second[0] @ whole
    relevance = joint_relevance(records)[4][0]
    assert torch.allclose(relevance, whole[:4, 4:], atol=1e-6)


@pytest.mark.parametrize("text_first", [True, False])
def test_image_queries_over_both_leave_the_text_as_it_is(text_first):
    """As in PRX: the rows of the text stay the identity's, wherever it stands among the keys."""
    image, text = (slice(2, 6), slice(0, 2)) if text_first else (slice(0, 4), slice(4, 6))
    first, second = random_attention(1, 4, 6), random_attention(1, 4, 6, seed=1)
    records = [AttentionGradient("joint", image, text, part) for part in (first, second)]
    by_hand = torch.eye(6)
    for part in (first, second):
        by_hand[image] = by_hand[image] + part[0] @ by_hand
    assert torch.equal(by_hand[text], torch.eye(6)[text])
    assert torch.allclose(joint_relevance(records)[4][0], by_hand[image][:, text], atol=1e-6)


def test_text_that_every_layer_gets_anew_keeps_nothing_of_the_layer_before():
    """Of positions image, kept text, renewed text; the last one's row is its own again before each layer."""
    layer = torch.tensor([[[0.1, 0.2, 0.3], [0.4, 0.1, 0.2], [0.3, 0.5, 0.1]]])
    records = [AttentionGradient("joint", slice(0, 1), slice(1, 3), layer, renewed=1)] * 2
    expected = torch.eye(3)
    for _ in range(2):
        expected = expected + layer[0] @ expected
        expected[2] = torch.tensor([0.0, 0.0, 1.0])
    assert torch.allclose(joint_relevance(records)[1][0], expected[:1, 1:])


def test_without_any_layer_before_it_the_identity_is_left():
    eye = torch.eye(3)[None]
    assert torch.equal(normalised(eye), eye)


@pytest.mark.parametrize("name", list(MODELS))
def test_every_architecture_gives_maps_per_token(name):
    make, call = MODELS[name]
    denoiser = make()
    layers = attention_layers(denoiser)
    relevance = token_relevance(call(denoiser), layers, (8, 8))
    side = 8 if name == "unet" else 4
    assert relevance.shape == (2, 6, side, side)
    assert torch.isfinite(relevance).all()
    assert float(relevance.min()) >= 0
    assert float(relevance.max()) > 0
    assert torch.equal(relevance, token_relevance(call(denoiser), layers, (8, 8)))


@pytest.mark.parametrize("name", list(MODELS))
def test_the_explicit_pass_is_the_models_own_to_rounding(name):
    make, call = MODELS[name]
    denoiser = make()
    seen = []
    forward = call(denoiser)

    def watched():
        seen.append(forward())
        return seen[-1]

    attention_gradients(watched, attention_layers(denoiser), halves=2)
    with torch.no_grad():
        assert torch.allclose(seen[0], forward(), atol=1e-4)


def test_only_the_conditional_half_is_explained():
    unet = tiny_unet()
    both = call_unet(unet, rows=4)
    layers = attention_layers(unet)
    halved = attention_gradients(lambda: both().chunk(2)[1], layers, halves=2)
    alone = attention_gradients(lambda: both()[2:], layers, halves=1)
    for a, b in zip(halved, alone, strict=True):
        assert torch.allclose(a.averaged, b.averaged[2:], atol=1e-5)


def test_gradients_are_those_of_autograd():
    unet = tiny_unet()
    relevance = attention_gradients(call_unet(unet), attention_layers(unet))
    assert len(relevance) == len(attention_layers(unet))
    assert {record.kind for record in relevance} == {"self", "cross"}
    assert all(float(record.averaged.min()) >= 0 for record in relevance)


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("factor", [10.0, 0.01])
def test_a_larger_target_changes_neither_the_order_of_words_nor_their_scaled_scores(name, factor):
    make, call = MODELS[name]
    denoiser = make()
    layers, forward = attention_layers(denoiser), call(denoiser)
    scores = []
    for scale in (1.0, factor):
        tokens = token_relevance(lambda scale=scale: scale * forward(), layers, (8, 8))
        scores.append(word_scores(tokens[0], [True] * tokens.shape[1])[1])
    assert torch.allclose(scores[0], scores[1], atol=1e-4)
    assert torch.equal(scores[0].argsort(), scores[1].argsort())


def test_the_items_of_a_batch_have_scales_of_their_own():
    unet = tiny_unet()
    layers, forward = attention_layers(unet), call_unet(unet)
    factors = torch.tensor([1.0, 50.0]).view(2, 1, 1, 1)
    plain = token_relevance(forward, layers, (8, 8))
    assert torch.allclose(
        plain, token_relevance(lambda: factors * forward(), layers, (8, 8)), rtol=1e-3, atol=1e-6
    )


def test_layers_keep_their_proportions():
    records = [
        AttentionGradient("self", EVERYTHING, EVERYTHING, factor * random_attention(2, 4, 4))
        for factor in (1.0, 3.0)
    ]
    first, second = scale_free(records)
    assert torch.allclose(second.averaged, 3 * first.averaged)
    rows = [record.averaged.sum(-1).mean(-1) for record in (first, second)]
    assert torch.allclose(rows[0] + rows[1], torch.ones(2), atol=1e-6)


def test_scores_are_scaled_over_the_words_that_are_there():
    maps = torch.tensor([1.0, 3.0, 100.0, 2.0]).view(4, 1, 1)
    raw, scaled = word_scores(maps, [True, True, False, True])
    assert raw.tolist() == [1, 3, 100, 2]
    assert [float(scaled[i]) for i in (0, 1, 3)] == [0, 1, 0.5]


def test_equal_scores_scale_to_nothing():
    assert word_scores(torch.ones(3, 2, 2), [True] * 3)[1].tolist() == [0, 0, 0]
