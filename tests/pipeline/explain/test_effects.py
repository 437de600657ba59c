from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.explain.effects import (
    PENALTIES,
    _covariance,
    _ridge,
    edge_weights,
    part_scores,
    part_shares,
    saliency_from_effects,
)
from pipeline.explain.masks import mask_grid
from pipeline.explain.rise import RiseOptions, make_masks, map_of_scores
from pipeline.metrics.localisation import map_spearman

GRID = mask_grid(16, 16)


def independent(count, seed=0):
    return make_masks(16, 16, RiseOptions(masks=count, design="independent", seed=seed))


def field_of(masks):
    """A score for each position that depends on its neighbourhood, not linearly, and on a corner far away."""
    weights = torch.linspace(0.2, 1, 256).view(16, 16)
    near = torch.nn.functional.avg_pool2d(masks[:, None], 5, 1, 2)[:, 0]
    corner = masks[:, :4, :4].mean((1, 2), keepdim=True)
    return weights * near.square() + 0.2 * corner


def mean_map(masks, single):
    return (masks * single[:, None, None]).sum(0) / masks.sum(0)


def test_masks_vary_together_as_the_covariance_says():
    masks = independent(20_000) - 0.5
    rows, columns = (_covariance(16, GRID.cell, n) for n in (GRID.rows, GRID.columns))
    expected = torch.einsum("ab,cd->acbd", rows, columns).flatten(0, 1).flatten(1) / 4
    flat = masks.flatten(1).double()
    assert torch.allclose(flat.T @ flat / len(flat), expected, atol=0.01)


def test_it_tends_to_the_mean_of_very_many_masks():
    truth_masks = independent(20_000, seed=9)
    truth = mean_map(truth_masks, field_of(truth_masks).mean((1, 2)))
    masks = independent(100)
    parts = part_scores(field_of(masks), GRID.cell)
    saliency = saliency_from_effects(masks, parts, float(parts.mean()), GRID, 0.5)
    plain = mean_map(masks, field_of(masks).mean((1, 2)))
    errors = [float((one - truth).square().mean().sqrt()) for one in (saliency, plain)]
    assert errors[0] < errors[1] / 3
    assert map_spearman(saliency.numpy(), truth.numpy()) > 0.97


@pytest.mark.parametrize("probability", [0.5, 0.3])
def test_a_linear_score_is_known_exactly(probability):
    """Every effect is 1: the map is E[S] plus what a position shares with all others, over E[M]."""
    options = RiseOptions(masks=600, design="independent", probability=probability)
    masks = make_masks(16, 16, options)
    scores = masks.sum((1, 2))[:, None, None]
    mean = float(scores.mean())
    saliency = saliency_from_effects(masks, scores, mean, GRID, probability)
    rows, columns = (_covariance(16, GRID.cell, n).sum(1) for n in (GRID.rows, GRID.columns))
    expected = mean + (1 - probability) * rows[:, None] * columns[None]
    assert torch.allclose(saliency.double(), expected, rtol=0.02)


@pytest.mark.parametrize(("estimator", "most"), [("effects", 0.002), ("mean", 0.03)])
def test_a_score_that_counts_all_kept_positions_alike_prefers_none(estimator, most):
    options = RiseOptions(masks=2000, design="independent", estimator=estimator)
    masks = make_masks(16, 16, options)
    scores = masks.mean((1, 2))[:, None, None]
    plain = map_of_scores(masks, scores, replace(options, edges=False))
    saliency = map_of_scores(masks, scores, options)
    assert float(plain[0, 0]) < float(plain[8, 8]) - 0.01  # the middle, because of the edges alone
    assert float(saliency.std()) < most


def test_edge_weights_are_one_on_average_and_fall_to_the_corners():
    weights = edge_weights(GRID)
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[8, 8]) == float(weights.max())
    assert float(weights[-1, -1]) == float(weights.min())


def test_a_constant_score_has_no_effects():
    masks = independent(30)
    saliency = saliency_from_effects(masks, torch.full((30, 4, 4), 0.7), 0.7, GRID, 0.5)
    assert torch.allclose(saliency, torch.full((16, 16), 0.7), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_very_few_masks_give_a_finite_map(count):
    masks = independent(count)
    parts = part_scores(field_of(masks), GRID.cell)
    assert torch.isfinite(saliency_from_effects(masks, parts, 0.0, GRID, 0.5)).all()


@pytest.mark.parametrize("size", [(16, 16), (18, 13), (5, 40)])
def test_parts_and_their_shares_keep_the_mean(size):
    field = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    grid = mask_grid(*size)
    parts = part_scores(field, grid.cell)
    shares = part_shares(grid, parts.shape[1:])
    assert float(shares.sum()) == pytest.approx(1)
    assert np.allclose((parts * shares).sum((1, 2)), field.mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("count", [8, 16, 17, 40])
def test_more_masks_than_positions_are_fitted_as_by_the_whole_kernel(count: int) -> None:
    """Against the inverse of the kernel with the penalty, and leave-one-out errors by leaving each mask out."""
    generator = torch.Generator().manual_seed(count)
    flat = torch.rand(count, 16, generator=generator, dtype=torch.float64) - 0.5
    prior = torch.rand(16, generator=generator, dtype=torch.float64) + 0.1
    values = flat @ torch.rand(16, generator=generator, dtype=torch.float64)
    values += 0.2 * torch.randn(count, generator=generator, dtype=torch.float64)
    error, weights = _ridge(flat, prior, values)
    kernel, spread = (flat * prior) @ flat.T, values - values.mean()
    fits = []
    for penalty in PENALTIES:
        ridge = penalty * kernel.trace() / count * torch.eye(count, dtype=torch.float64)
        left_out = 0.0
        for i in range(count):
            rest = [j for j in range(count) if j != i]
            solved = torch.linalg.solve((kernel + ridge)[rest][:, rest], spread[rest])
            left_out += float((spread[i] - kernel[i, rest] @ solved).square())
        fits.append((left_out, prior * (flat.T @ torch.linalg.solve(kernel + ridge, spread))))
    best = min(fits, key=lambda fit: fit[0])
    assert error == pytest.approx(best[0], rel=1e-6)
    torch.testing.assert_close(weights, best[1], rtol=1e-6, atol=1e-9)
