from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.metrics.localisation import (
    cascade,
    localise,
    map_spearman,
    pointing_game,
    randomised,
    top_iou,
    top_pixels,
)
from tests.support.tiny import call_unet, tiny_sd3, tiny_unet

MASK = np.zeros((8, 8), dtype=bool)
MASK[2:5, 3:6] = True


def test_the_mask_itself_is_a_perfect_map():
    scores = localise(MASK.astype(float), MASK)
    assert (scores.pointing, scores.iou, scores.average_precision) == (1, 1, 1)
    assert scores.mask_share == pytest.approx(9 / 64)


def test_a_constant_map_is_worth_the_masks_share():
    scores = localise(np.ones((8, 8)), MASK)
    assert scores.pointing == scores.iou == scores.average_precision == pytest.approx(9 / 64)


def test_the_inverse_of_the_mask_is_worst():
    scores = localise(-MASK.astype(float), MASK)
    assert scores.pointing == 0
    assert scores.average_precision == pytest.approx(9 / 64)


@given(st.integers(0, 10_000))
def test_average_precision_is_the_textbooks(seed):
    rng = np.random.default_rng(seed)
    saliency, mask = rng.random((6, 6)).round(1), rng.random((6, 6)) < 0.3
    mask[0, 0] = True
    steps = []
    for threshold in np.unique(saliency)[::-1]:
        chosen = saliency >= threshold
        steps.append(((mask & chosen).sum() / mask.sum(), (mask & chosen).sum() / chosen.sum()))
    recalls = [0.0, *[r for r, _ in steps]]
    expected = sum((r - before) * p for (r, p), before in zip(steps, recalls, strict=False))
    scores = localise(saliency, mask)
    assert scores.average_precision == pytest.approx(expected)
    ious = [
        (mask & (saliency >= t)).sum() / (mask | (saliency >= t)).sum() for t in np.unique(saliency)
    ]
    assert scores.iou == pytest.approx(max(ious))


def test_random_maps_come_to_the_masks_share():
    rng = np.random.default_rng(0)
    scores = [localise(rng.random((8, 8)), MASK) for _ in range(600)]
    assert np.mean([f.pointing for f in scores]) == pytest.approx(9 / 64, abs=0.05)
    assert np.mean([f.average_precision for f in scores]) == pytest.approx(9 / 64, abs=0.08)


def test_ties_at_the_top_share_the_point():
    saliency = np.zeros((8, 8))
    saliency[2, 3] = saliency[0, 0] = 1
    assert pointing_game(saliency, MASK) == 0.5


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="0 pixels"):
        localise(np.ones((8, 8)), np.zeros((8, 8), dtype=bool))


def test_agreement_of_a_map_with_itself_and_its_inverse():
    saliency = np.random.default_rng(1).random((10, 10))
    assert map_spearman(saliency, saliency**3) == pytest.approx(1)
    assert map_spearman(saliency, -saliency) == pytest.approx(-1)
    assert map_spearman(saliency, np.ones((10, 10))) is None
    assert top_iou(saliency, saliency) == 1
    assert top_iou(saliency, -saliency) == 0
    assert top_pixels(np.ones((10, 10)), 0.2).sum() == 20


def test_agreement_of_unrelated_maps_is_chance():
    rng = np.random.default_rng(2)
    pairs = [(rng.random((16, 16)), rng.random((16, 16))) for _ in range(100)]
    assert np.mean([top_iou(a, b) for a, b in pairs]) == pytest.approx(1 / 9, abs=0.02)


def test_randomised_weights_come_back_to_the_bit():
    unet = tiny_unet()
    call = call_unet(unet)
    with torch.no_grad():
        plain = call()
        last = cascade(unet)[-1]
        with pytest.raises(RuntimeError), randomised(unet, last[1], seed=1):
            assert not torch.allclose(call(), plain)
            raise RuntimeError
        assert torch.equal(call(), plain)


def test_shuffling_keeps_the_values_and_the_global_state():
    unet = tiny_unet()
    before, state = unet.conv_in.weight.detach().clone(), torch.get_rng_state()
    with randomised(unet, ["conv_in"], seed=1):
        changed = unet.conv_in.weight.detach().clone()
    assert not torch.equal(before, changed)
    assert torch.equal(before.flatten().sort().values, changed.flatten().sort().values)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("make", "last"), [(tiny_unet, "conv_out"), (tiny_sd3, "proj_out")])
def test_the_cascade_grows_from_the_output_to_all_weights(make, last):
    denoiser = make()
    stages = cascade(denoiser, 4)
    assert stages[0][1][0] == last
    assert stages[-1][0] == "all layers"
    assert stages[-1][2] == pytest.approx(1)
    for before, after in pairwise(stages):
        assert set(before[1]) < set(after[1])
        assert before[2] < after[2]
    weighted = {n for n, m in denoiser.named_modules() if list(m.parameters(recurse=False))} - {""}
    assert set(stages[-1][1]) == weighted
