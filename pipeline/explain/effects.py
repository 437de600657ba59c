"""Main effects of positions on the scores of masked calls: what RISE's mean converges to, from fewer calls.

RISE's map sum M S / sum M tends to E[S] + cov(M, S) / E[M], which is linear in the main effects of the mask's positions.
They are fitted by a ridge regression for each part of the scored field. A part depends most on the masks near it; how far
the fit may look is chosen by leave-one-out error. On the bundled models 64 calls so give the map of 500 (docs/benchmarks.md).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipeline.explain.masks import MaskGrid

# Prior standard of the effects on a part of the field: (reach in cells, share that is the same at any distance).
REACHES = ((0.5, 0.0), (0.6, 0.03), (0.6, 1e6))
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)


def saliency_from_effects(
    masks: Float[Tensor, "n h w"],
    scores: Float[Tensor, "n r c"],
    mean: float,
    grid: MaskGrid,
    probability: float,
) -> Float[Tensor, "h w"]:
    """The limit of RISE's map over all masks, E[S] + cov(M, S) / E[M], from the masks at hand.

    Args:
        masks: of `grid_masks`.
        scores: of each mask, per part of the scored field (`part_scores`); one part (1 x 1) for a score without places.
        mean: of the scores over masks and positions.
        grid: of the masks.
        probability: with which a cell is kept.
    """
    effects = _effects(masks.double().cpu() - probability, scores.double().cpu(), grid)
    rows, columns = _covariances(grid)
    return (mean + (1 - probability) * rows @ effects @ columns).float().to(masks.device)


def edge_weights(grid: MaskGrid) -> Float[Tensor, "h w"]:
    """How strongly a position answers a score that counts all kept positions alike; mean 1, lower towards the edges.

    A position at an edge shares its cell with fewer others, so that such a score, which prefers no position, gives a map
    that is high in the middle.
    """
    rows, columns = (covariance.sum(1) for covariance in _covariances(grid))
    shared = rows[:, None] * columns[None]
    return (shared / shared.mean()).float()


def _covariances(grid: MaskGrid) -> tuple[Float[Tensor, "h h"], Float[Tensor, "w w"]]:
    return (
        _covariance(grid.height, grid.cell, grid.rows),
        _covariance(grid.width, grid.cell, grid.columns),
    )


def part_scores(field: Float[Tensor, "n h w"], cell: int) -> Float[Tensor, "n r c"]:
    """The field's means over parts of `cell` x `cell` positions; the last parts may be smaller."""
    return F.avg_pool2d(field[:, None], cell, ceil_mode=True, count_include_pad=False)[:, 0]


def part_shares(grid: MaskGrid, parts: Sequence[int]) -> Float[Tensor, "r c"]:
    """The share of all positions that each part of `part_scores` has; a single part has all."""
    if math.prod(parts) == 1:
        return torch.ones(1, 1)
    rows, columns = (_shares(length, grid.cell) for length in (grid.height, grid.width))
    return rows[:, None] * columns[None]


def _shares(length: int, cell: int) -> Float[Tensor, " part"]:
    return (length - torch.arange(0, length, cell)).clamp(max=cell) / length


def _effects(
    centred: Float[Tensor, "n h w"], scores: Float[Tensor, "n r c"], grid: MaskGrid
) -> Float[Tensor, "h w"]:
    """The effect of each position on the mean over the field, under the reach that predicts left-out masks best."""
    single = scores.shape[1] * scores.shape[2] == 1
    reaches = REACHES[-1:] if single else REACHES
    fits = [_fit(centred, scores, grid, reach, share) for reach, share in reaches]
    return min(fits, key=lambda fit: fit[0])[1]


def _fit(
    centred: Float[Tensor, "n h w"],
    scores: Float[Tensor, "n r c"],
    grid: MaskGrid,
    reach: float,
    share: float,
) -> tuple[float, Float[Tensor, "h w"]]:
    """(leave-one-out squared error over all parts, effects on the mean of the field)."""
    flat = centred.flatten(1)
    total, effects = 0.0, torch.zeros_like(flat[0])
    shares = part_shares(grid, scores.shape[1:])
    for row in range(scores.shape[1]):
        for column in range(scores.shape[2]):
            prior = _prior(row, column, grid, reach, share).flatten()
            size = float(shares[row, column])
            error, weights = _ridge(flat, prior, scores[:, row, column])
            total += size * error
            effects += size * weights
    return total, effects.unflatten(0, centred.shape[1:])


def _prior(
    row: int, column: int, grid: MaskGrid, reach: float, share: float
) -> Float[Tensor, "h w"]:
    """Prior variance of the effects on a part: a Gaussian of the distance to its middle, plus a constant."""
    middle = (torch.tensor([row, column]) + 0.5) * grid.cell - 0.5
    down = (torch.arange(grid.height) - middle[0])[:, None]
    right = (torch.arange(grid.width) - middle[1])[None]
    distance = (down.square() + right.square()).double() / grid.cell**2
    return torch.exp(-distance / (2 * reach**2)) + share


def _ridge(
    flat: Float[Tensor, "n d"], prior: Float[Tensor, " d"], values: Float[Tensor, " n"]
) -> tuple[float, Float[Tensor, " d"]]:
    """(leave-one-out squared error, weights) of the best of PENALTIES; all 0 where there is nothing to explain."""
    spread = values - values.mean()
    levels, vectors = _kernel(flat, prior)
    scale = float(levels.sum() / len(flat))
    if scale <= 0 or not bool(spread.any()):
        return 0.0, torch.zeros_like(prior)
    turned = vectors.T @ spread
    # What more masks than positions have beside: the kernel's other levels are 0.
    rest, share = torch.zeros_like(spread), torch.zeros_like(spread)
    if vectors.shape[1] < len(flat):
        rest, share = spread - vectors @ turned, 1 - vectors.square().sum(1)
    best_error, best = float("inf"), turned
    for penalty in PENALTIES:
        least = penalty * scale
        inverse = 1 / (levels + least)
        solved = vectors @ (inverse * turned) + rest / least
        left_out = solved / (vectors.square() @ inverse + share / least)
        error = float(left_out.square().sum())
        if error < best_error:
            best_error, best = error, solved
    return best_error, prior * (flat.T @ best)


def _kernel(
    flat: Float[Tensor, "n d"], prior: Float[Tensor, " d"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, "n k"]]:
    """Levels and vectors of the masks' kernel (n x n); of more masks than positions those above 0 alone, from the d x d matrix.

    20,000 masks of 256 positions take 0.3 s so; by their kernel they took 7 GB and had not come to an end after nine minutes.
    """
    if len(flat) <= len(prior):
        levels, vectors = torch.linalg.eigh((flat * prior) @ flat.T)
        return levels.clamp(min=0), vectors
    scaled = flat * prior.sqrt()
    levels, turns = torch.linalg.eigh(scaled.T @ scaled)
    above = levels > levels.max() * 1e-12
    return levels[above], scaled @ turns[:, above] / levels[above].sqrt()


def _covariance(length: int, cell: int, count: int) -> Float[Tensor, "length length"]:
    """Covariance of a mask's positions along one axis, in units of a cell's variance, over all shifts."""
    impulses = torch.eye(count, dtype=torch.float64)[:, None]
    large = F.interpolate(impulses, count * cell, mode="linear", align_corners=False)[:, 0].T
    cut = [large[shift : shift + length] for shift in range(cell)]
    return torch.stack([part @ part.T for part in cut]).mean(0)
