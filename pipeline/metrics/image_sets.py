"""Measures of sets of images by their embeddings: how far a set is from a reference, how much of it it covers, how diverse it is.

The embeddings here are a scorer's unit vectors, not Inception's features: numbers are compared within a study, never with
published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

CMMD_SIGMA, CMMD_SCALE = 10.0, 1000.0
NEIGHBOURS = 5  # of coverage


def kid(first: Float[ndarray, "n d"], second: Float[ndarray, "m d"]) -> float:
    """Squared polynomial maximum mean discrepancy, unbiased: 0 in the mean for sets of one distribution, may be below; lower is closer.

    k(x, y) = (x . y / d + 1)^3. Source: Binkowski et al. 2018, "Demystifying MMD GANs" (arXiv 1801.01401), section 4, there
    on Inception features.

    Raises:
        ValueError: a set of fewer than two.
    """
    _refuse_few(first, second, 2)
    within = [_mean_of_pairs(cubic_kernel(x, x)) for x in (first, second)]
    return float(sum(within) - 2 * cubic_kernel(first, second).mean())


def cmmd(first: Float[ndarray, "n d"], second: Float[ndarray, "m d"]) -> float:
    """1000 times the squared Gaussian maximum mean discrepancy of unit vectors, sigma = 10: 0 for equal sets; lower is closer.

    Source: Jayasumana et al. 2024, "Rethinking FID" (arXiv 2401.09603), with its scale and its biased estimate, there on
    CLIP ViT-L/14 at 336 px.

    Raises:
        ValueError: an empty set.
    """
    _refuse_few(first, second, 1)
    means = [
        gaussian_kernel(x, y).mean() for x, y in ((first, first), (second, second), (first, second))
    ]
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
    (mean, one), (other_mean, other) = root(first), root(second)
    shared = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    spread = float((one**2).sum() + (other**2).sum())
    return float(max(((mean - other_mean) ** 2).sum() + spread - 2 * shared, 0.0))


def root(vectors: Float[ndarray, "n d"]) -> tuple[Float[ndarray, " d"], Float[ndarray, "k d"]]:
    """The mean, and a matrix A with A' A the covariance; of at most d rows."""
    x = np.asarray(vectors, np.float64)
    mean = x.mean(axis=0)
    centred = (x - mean) / np.sqrt(len(x) - 1)
    # an orthogonal factor changes no singular value, and d x d is smaller than n x d
    smaller: Any = np.linalg.qr(centred, mode="r") if len(x) > x.shape[1] else centred
    return mean, smaller


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


def _refuse_few(first: ndarray, second: ndarray, least: int) -> None:
    counts: Sequence[int] = (len(first), len(second))
    if min(counts) < least:
        raise ValueError(
            f"sets of {counts[0]} and {counts[1]} images; at least {least} each are needed"
        )


def cubic_kernel(x: Float[ndarray, "n d"], y: Float[ndarray, "m d"]) -> Float[ndarray, "n m"]:
    """(x . y / d + 1)^3, of KID."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: Float[ndarray, "n n"]) -> float:
    """The mean over pairs of different rows."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def _squares(x: ndarray, y: ndarray) -> Float[ndarray, "n m"]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)


def gaussian_kernel(x: Float[ndarray, "n d"], y: Float[ndarray, "m d"]) -> Float[ndarray, "n m"]:
    """exp(-|x - y|^2 / 200), of CMMD."""
    return np.exp(-_squares(x, y) / (2 * CMMD_SIGMA**2))


def _distances(x: ndarray, y: ndarray) -> Float[ndarray, "n m"]:
    return np.sqrt(_squares(x, y))
