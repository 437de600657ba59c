"""Intervals over prompts of measures of sets of images: a bootstrap by weights, and a jackknife for coverage, which weights do not change.

Drawing prompts with replacement does not do: an image that is drawn twice counts as a pair of equal images, which Vendi and FID take for
less diversity, and KID and CMMD for likeness. Here every prompt keeps a weight above 0, and no image is paired with itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import stats

from pipeline.metrics.image_sets import CMMD_SCALE, cubic_kernel, gaussian_kernel, root

GROUPS = 20  # of prompts that are left out one after the other
LEVEL = 0.95
FEWEST = 6  # prompts
DRAWS = 100
SPREAD = 0.25  # deviation of the weights
ROWS = 1024  # of a kernel's matrix at a time
JACKKNIFE = f"95 % over prompts, delete-a-group jackknife of {GROUPS} groups"
BOOTSTRAP = f"95 % over prompts, weighted bootstrap of {DRAWS} draws, weights of deviation {SPREAD}"
Interval = tuple[float, float, float]
Weighted = Callable[[Float[ndarray, " prompt"]], float]


def bootstrap(value: float, weighted: Weighted, prompts: int, draws: int = DRAWS) -> Interval:
    """A measure with its 95 % interval: value, low, high; NaN limits for fewer than 6 prompts.

    Weights are 1 + or - SPREAD at random per prompt. Their deviation's share of a full bootstrap's scales the deviations back:
    value -+ t(P - 1) sd / SPREAD sqrt(P / (P - 1)). Small weights keep what is of second order in them, such as the bias of FID
    and Vendi, out of the deviation. Source: Praestgaard and Wellner 1993, "Exchangeably weighted bootstraps of the general
    empirical process", Annals of Probability 21(4), whose c is SPREAD here; Barbe and Bertail 1995, "The Weighted Bootstrap".

    Args:
        value: of the measure.
        weighted: the measure with a weight for each prompt, all above 0; of equal weights it is `value`.
        prompts: how many.
        draws: how many.
    """
    if prompts < FEWEST:
        return value, np.nan, np.nan
    signs = np.random.default_rng(0).choice([-SPREAD, SPREAD], size=(draws, prompts))
    values = np.array([weighted(1 + each) for each in signs])
    error = values.std(ddof=1) / SPREAD * np.sqrt(prompts / (prompts - 1))
    half = stats.t.ppf((1 + LEVEL) / 2, prompts - 1) * error
    return value, float(value - half), float(value + half)


def jackknife(measure: Callable[[Int[ndarray, " k"]], float], prompts: Int[ndarray, " n"]) -> Interval:  # fmt: skip
    """A measure of a set with its 95 % interval over prompts: value, low, high; NaN limits for fewer than 6 prompts.

    Delete-a-group jackknife over prompts (20 groups, or one a prompt). Source: Kott 2001, "The delete-a-group jackknife",
    Journal of Official Statistics 17(4).

    Args:
        measure: of the rows with these indices.
        prompts: the prompt of each row.
    """
    value = measure(np.arange(len(prompts)))
    known = np.unique(prompts)
    if len(known) < FEWEST:
        return value, np.nan, np.nan
    groups = min(GROUPS, len(known))
    order = np.random.default_rng(0).permutation(len(known))
    group = order[np.searchsorted(known, prompts)] % groups
    parts = np.array([measure(np.flatnonzero(group != g)) for g in range(groups)])
    error = np.sqrt((groups - 1) / groups * ((parts - parts.mean()) ** 2).sum())
    half = stats.t.ppf((1 + LEVEL) / 2, groups - 1) * error
    return value, float(value - half), float(value + half)


def weighted_kid(
    images: Float[ndarray, "n d"], reference: Float[ndarray, "m d"], prompts: Int[ndarray, " n"]
) -> Weighted:
    """KID of images whose prompts, numbered from 0, have weights; the reference stays as it is."""
    kernel, m = cubic_kernel, len(reference)
    fixed = sum(kernel(x, reference).sum() for x in _parts(reference))
    fixed -= sum(float(kernel(x[None], x[None])[0, 0]) for x in reference)
    pairs, cross = _pair_mean(images, prompts, kernel), _cross_mean(images, reference, prompts, kernel)  # fmt: skip
    return lambda w: float(pairs(w) + fixed / (m * (m - 1)) - 2 * cross(w))


def weighted_cmmd(
    images: Float[ndarray, "n d"], reference: Float[ndarray, "m d"], prompts: Int[ndarray, " n"]
) -> Weighted:
    """CMMD, as `weighted_kid`. Its biased estimate, 1/n of which is an image beside itself, is made of the mean over pairs."""
    kernel, n = gaussian_kernel, len(images)
    fixed = np.mean([kernel(x[None], reference).mean() for x in reference])
    pairs, cross = _pair_mean(images, prompts, kernel), _cross_mean(images, reference, prompts, kernel)  # fmt: skip
    return lambda w: float(CMMD_SCALE * (((n - 1) * pairs(w) + 1) / n + fixed - 2 * cross(w)))


def weighted_vendi(vectors: Float[ndarray, "n d"], prompts: Int[ndarray, " n"]) -> Weighted:
    """Vendi of images whose prompts, numbered from 0, have weights: of the matrix of products with shares of the weight."""
    scaled = np.asarray(vectors, np.float64)
    scaled = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)

    def measure(w: Float[ndarray, " prompt"]) -> float:
        rows = scaled * np.sqrt(_shares(w, prompts))[:, None]
        shares = np.linalg.eigvalsh(_smaller(rows))
        shares = shares[shares > 1e-12]
        return float(np.exp(-(shares * np.log(shares)).sum()))

    return measure


def weighted_fid(
    images: Float[ndarray, "n d"], reference: Float[ndarray, "m d"], prompts: Int[ndarray, " n"]
) -> Weighted:
    """FID of images whose prompts, numbered from 0, have weights: of their weighted mean and covariance."""
    images, n = np.asarray(images, np.float64), len(images)
    mean, other = root(reference)
    turned, spread = images @ other.T, float((other**2).sum())
    squares = (images**2).sum(axis=1)

    def measure(w: Float[ndarray, " prompt"]) -> float:
        shares = _shares(w, prompts)
        centre, scale = shares @ images, np.sqrt(shares * n / (n - 1))[:, None]
        rows = (turned - shares @ turned) * scale
        shared = np.sqrt(np.linalg.eigvalsh(_smaller(rows)).clip(0)).sum()
        within = (shares @ squares - (centre**2).sum()) * n / (n - 1)
        return float(((centre - mean) ** 2).sum() + within + spread - 2 * shared)

    return measure


def _shares(w: Float[ndarray, " prompt"], prompts: Int[ndarray, " n"]) -> Float[ndarray, " n"]:
    weights = w[prompts]
    return weights / weights.sum()


def _smaller(rows: ndarray) -> ndarray:
    """Of the two products of a matrix with itself the smaller; both have the same eigenvalues but for zeros."""
    return rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows


Kernel = Callable[[Any, Any], Any]


def _pair_mean(images: ndarray, prompts: ndarray, kernel: Kernel) -> Weighted:
    """The kernel's weighted mean over pairs of different images: weights of both prompts, or once that of one prompt's own images."""
    count = int(prompts.max()) + 1
    sums = np.zeros((count, count))
    order = np.argsort(prompts, kind="stable")
    starts = np.searchsorted(prompts[order], np.arange(count))
    for at in _starts(images):
        rows = order[at : at + ROWS]
        np.add.at(sums, prompts[rows], np.add.reduceat(kernel(images[rows], images[order]), starts, axis=1))  # fmt: skip
    itself = np.array([float(kernel(x[None], x[None])[0, 0]) for x in images])
    within = np.diag(sums) - np.bincount(prompts, itself)
    sizes = np.bincount(prompts).astype(np.float64)
    np.fill_diagonal(sums, 0)

    def mean(w: ndarray) -> float:
        w = w / w.mean()
        scaled = w * sizes
        total = scaled.sum() ** 2 - (scaled**2).sum() + w @ (sizes * (sizes - 1))
        return float((w @ sums @ w + w @ within) / total)

    return mean


def _cross_mean(images: ndarray, reference: ndarray, prompts: ndarray, kernel: Kernel) -> Weighted:
    means = np.concatenate([kernel(x, reference).mean(axis=1) for x in _parts(images)])
    return lambda w: float(_shares(w, prompts) @ means)


def _starts(images: ndarray) -> range:
    return range(0, len(images), ROWS)


def _parts(images: ndarray) -> list[ndarray]:
    return [images[at : at + ROWS] for at in _starts(images)]
