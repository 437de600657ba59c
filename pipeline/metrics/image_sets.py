"""Measures of sets of images by their embeddings: how far a set is from a reference, how much of it it covers, how diverse it is.

The embeddings here are a scorer's unit vectors, not Inception's features: numbers are compared within a study, never with
published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import stats

CMMD_SIGMA, CMMD_SCALE = 10.0, 1000.0
NEIGHBOURS = 5  # of coverage
GROUPS = 20  # of prompts that are left out one after the other for an interval
LEVEL = 0.95


def kid(first: Float[ndarray, "n d"], second: Float[ndarray, "m d"]) -> float:
    """Squared polynomial maximum mean discrepancy, unbiased: 0 in the mean for sets of one distribution, may be below; lower is closer.

    k(x, y) = (x . y / d + 1)^3. Source: Binkowski et al. 2018, "Demystifying MMD GANs" (arXiv 1801.01401), section 4, there
    on Inception features.

    Raises:
        ValueError: a set of fewer than two.
    """
    _refuse_few(first, second, 2)
    kernel = _cubic(first.shape[1])
    within = [_mean_of_pairs(kernel(x @ x.T)) for x in (first, second)]
    return float(sum(within) - 2 * kernel(first @ second.T).mean())


def cmmd(first: Float[ndarray, "n d"], second: Float[ndarray, "m d"]) -> float:
    """1000 times the squared Gaussian maximum mean discrepancy of unit vectors, sigma = 10: 0 for equal sets; lower is closer.

    Source: Jayasumana et al. 2024, "Rethinking FID" (arXiv 2401.09603), with its scale and its biased estimate, there on
    CLIP ViT-L/14 at 336 px.

    Raises:
        ValueError: an empty set.
    """
    _refuse_few(first, second, 1)
    means = [_gaussian(x, y).mean() for x, y in ((first, first), (second, second), (first, second))]
    return float(CMMD_SCALE * max(means[0] + means[1] - 2 * means[2], 0.0))


def fid(first: Float[ndarray, "n d"], second: Float[ndarray, "m d"]) -> float:
    """Squared Frechet distance of two Gaussians with the sets' means and covariances: 0 for equal sets; lower is closer.

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)); the last trace is the sum of the singular values of A B', where A and B are
    the centred sets over the square roots of n - 1 and m - 1. Biased upwards where a set has few images. Source: Heusel et
    al. 2017 (arXiv 1706.08500), there on Inception features of 50,000 images.

    Raises:
        ValueError: a set of fewer than two.
    """
    _refuse_few(first, second, 2)
    means: list[ndarray] = []
    roots: list[ndarray] = []
    for x in (np.asarray(each, np.float64) for each in (first, second)):
        means.append(x.mean(axis=0))
        root = (x - means[-1]) / np.sqrt(len(x) - 1)
        # an orthogonal factor changes no singular value, and d x d is smaller than n x d
        smaller: Any = np.linalg.qr(root, mode="r") if len(x) > x.shape[1] else root
        roots.append(smaller)
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = float((roots[0] ** 2).sum() + (roots[1] ** 2).sum())
    return float(max(((means[0] - means[1]) ** 2).sum() + spread - 2 * shared, 0.0))


def coverage(
    images: Float[ndarray, "n d"], reference: Float[ndarray, "m d"], neighbours: int = NEIGHBOURS
) -> float:
    """Share of the reference images with an image nearer than their k-th nearest fellow, 0..1; higher is better.

    Source: Naeem et al. 2020, "Reliable fidelity and diversity metrics" (arXiv 2002.09797), equation 6, k = 5.

    Raises:
        ValueError: no images, or no more reference images than neighbours.
    """
    _refuse_few(images, reference, 1)
    if len(reference) <= neighbours:
        raise ValueError(f"{len(reference)} reference images, more than {neighbours} are needed")
    fellows = np.sort(_distances(reference, reference), axis=1)[:, neighbours]  # 0: itself
    return float((_distances(reference, images).min(axis=1) <= fellows).mean())


def vendi(vectors: Float[ndarray, "n d"]) -> float:
    """The effective number of different images, 1 (all the same) to n (all orthogonal); higher is more diverse.

    exp of the entropy of the eigenvalues of K / n, K the cosines. Source: Friedman and Dieng 2023 (arXiv 2210.02410).

    Raises:
        ValueError: no images, or one without direction.
    """
    if not len(vectors):
        raise ValueError("no images")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError("an image's embedding is 0")
    scaled = np.asarray(vectors, np.float64) / norms
    smaller = (
        scaled @ scaled.T if len(scaled) <= scaled.shape[1] else scaled.T @ scaled
    )  # the same eigenvalues
    shares = np.linalg.eigvalsh(smaller) / len(scaled)
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def interval(
    measure: Callable[[Int[ndarray, " k"]], float], prompts: Int[ndarray, " n"]
) -> tuple[float, float, float]:
    """A measure of a set with its 95 % interval over prompts: value, low, high; NaN limits for fewer than 6 prompts.

    Delete-a-group jackknife over prompts (20 groups, or one a prompt): resampling with replacement would put the same image
    twice into a set, which every one of these measures takes for less diversity. Source: Kott 2001, "The delete-a-group
    jackknife", Journal of Official Statistics 17(4).

    Args:
        measure: of the rows with these indices.
        prompts: the prompt of each row.
    """
    value = measure(np.arange(len(prompts)))
    known = np.unique(prompts)
    if len(known) < 6:
        return value, np.nan, np.nan
    groups = min(GROUPS, len(known))
    group = (
        np.random.default_rng(0).permutation(len(known))[np.searchsorted(known, prompts)] % groups
    )
    parts = np.array([measure(np.flatnonzero(group != g)) for g in range(groups)])
    error = np.sqrt((groups - 1) / groups * ((parts - parts.mean()) ** 2).sum())
    half = stats.t.ppf((1 + LEVEL) / 2, groups - 1) * error
    return value, value - half, value + half


def _refuse_few(first: ndarray, second: ndarray, least: int) -> None:
    counts: Sequence[int] = (len(first), len(second))
    if min(counts) < least:
        raise ValueError(
            f"sets of {counts[0]} and {counts[1]} images; at least {least} each are needed"
        )


def _cubic(size: int) -> Callable[[ndarray], ndarray]:
    return lambda products: (products / size + 1) ** 3


def _mean_of_pairs(kernel: Float[ndarray, "n n"]) -> float:
    """The mean over pairs of different rows."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def _squares(x: ndarray, y: ndarray) -> Float[ndarray, "n m"]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)


def _gaussian(x: ndarray, y: ndarray) -> Float[ndarray, "n m"]:
    return np.exp(-_squares(x, y) / (2 * CMMD_SIGMA**2))


def _distances(x: ndarray, y: ndarray) -> Float[ndarray, "n m"]:
    return np.sqrt(_squares(x, y))
