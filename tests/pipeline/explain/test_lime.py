from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.explain.lime import (
    LimeOptions,
    fit_ridge,
    kernel_weights,
    lime,
    lime_weights,
    segment,
    segment_areas,
)

LATENTS = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(0))
QUARTERS = (np.indices((16, 16)) // 8 * np.array([2, 1])[:, None, None]).sum(0)


def untouched(corner):
    rows, columns = (slice(8 * i, 8 * i + 8) for i in corner)
    return lambda out: (
        (out[:, :, rows, columns] == LATENTS[:, rows, columns]).float().mean((1, 2, 3))
    )


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_segment_that_counts_is_found(corner):
    options = LimeOptions(perturbations=200)
    fitted = lime(lambda x: x, LATENTS, options, untouched(corner), QUARTERS)
    rows, columns = (slice(8 * i, 8 * i + 8) for i in corner)
    assert float(fitted[rows, columns].min()) == 1
    fitted[rows, columns] = 0
    assert float(fitted.max()) < 0.05


def test_a_linear_score_gives_back_its_weights():
    true = torch.tensor([0.5, 0.0, -0.25, 1.0])
    parts = [untouched(corner) for corner in ((0, 0), (0, 1), (1, 0), (1, 1))]
    score = lambda out: sum(w * part(out) for w, part in zip(true, parts, strict=True))
    options = LimeOptions(perturbations=4000)
    fitted = lime_weights(lambda x: x, LATENTS, options, score, QUARTERS)[
        [0, 0, 15, 15], [0, 15, 0, 15]
    ]
    fitted = fitted / fitted[3]
    assert torch.allclose(fitted, true, atol=0.05)


def test_weights_per_area_do_not_follow_the_size_of_a_segment():
    """A denoiser that copies: the share that stays as it was is the area, whatever the segment is worth."""
    uneven = np.zeros((16, 16), dtype=int)
    uneven[:4], uneven[4:6], uneven[6:, :2] = 1, 2, 3
    same = lambda out: (out == LATENTS).all(1).float().mean((1, 2))
    options = LimeOptions(perturbations=600)
    fitted = lime_weights(lambda x: x, LATENTS, options, same, uneven)
    assert float(fitted.max() / fitted.min()) < 1.2
    raw = lime_weights(lambda x: x, LATENTS, replace(options, per_area=False), same, uneven)
    assert float(raw.max() / raw.min()) > 3


def test_the_area_map_has_the_size_of_each_segment():
    options = LimeOptions(segmentation="slic")
    cut, areas = segment(LATENTS, options), segment_areas(LATENTS, options).numpy()
    for number in np.unique(cut):
        assert set(areas[cut == number]) == {float((cut == number).sum())}


def test_the_default_segments_are_squares_of_one_size():
    areas = segment_areas(LATENTS, LimeOptions())
    assert areas.unique().tolist() == [16]


def test_a_constant_score_gives_no_saliency():
    options = LimeOptions(perturbations=50)
    fitted = lime(lambda x: x, LATENTS, options, lambda out: torch.ones(len(out)))
    assert float(fitted.max()) == 0


@pytest.mark.parametrize("segmentation", ["slic", "quickshift", "felzenszwalb", "grid"])
@pytest.mark.parametrize("size", [(16, 16), (64, 48)])
def test_every_segmentation_cuts_any_size_the_same_way_twice(segmentation, size):
    latents = torch.nn.functional.interpolate(LATENTS[None], size, mode="bilinear")[0]
    options = LimeOptions(segmentation=segmentation)
    cut = segment(latents, options)
    assert cut.shape == size
    assert set(np.unique(cut)) == set(range(cut.max() + 1))
    assert cut.max() >= 2
    assert np.array_equal(cut, segment(latents, options))


def test_chunks_and_repeats_do_not_change_the_map():
    denoise = lambda x: x.roll(1, -1) * 0.5
    maps = [lime(denoise, LATENTS, LimeOptions(60, chunk=chunk)) for chunk in (7, 60, 60)]
    assert torch.allclose(maps[0], maps[1], atol=1e-4)
    assert torch.equal(maps[1], maps[2])


def test_the_kernel_is_one_for_the_untouched_and_falls():
    on = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]])
    weights = kernel_weights(on)
    assert float(weights[0]) == 1
    assert weights[0] > weights[1] > weights[2] > 0


def test_ridge_without_a_signal_is_zero():
    on = (torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    fitted = fit_ridge(on, torch.ones(50).double(), torch.ones(50).double())
    assert torch.allclose(fitted, torch.zeros(3).double(), atol=1e-9)
