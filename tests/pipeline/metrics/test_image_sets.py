"""Measures of sets of images against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.metrics.image_sets import cmmd, coverage, fid, kid, vendi

RNG = np.random.default_rng


def directions(n: int, d: int, seed: int = 0) -> np.ndarray:
    vectors = RNG(seed).normal(size=(n, d))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_vendi_counts_what_differs() -> None:
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.ones((9, 4))) == pytest.approx(1)
    assert vendi(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3), "three kinds, four of each"
    shares = np.array([0.5, 0.25, 0.25])
    uneven = np.repeat(np.eye(3), [4, 2, 2], axis=0)
    assert vendi(uneven) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    wide, tall = directions(5, 9), directions(30, 3)
    for vectors in (wide, tall):  # by the other matrix of products
        values = np.linalg.eigvalsh(vectors @ vectors.T / len(vectors)).clip(1e-15)
        assert vendi(vectors) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-6)


def test_kid_is_the_difference_of_kernels_means() -> None:
    """Two sets, each of one point repeated: every kernel's mean is one number."""
    x, y = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    first, second = np.tile(x, (4, 1)), np.tile(y, (5, 1))
    assert kid(first, second) == pytest.approx(2 * 1.5**3 - 2 * 1.0**3)
    assert kid(first, first) == pytest.approx(0)


def test_kid_is_unbiased() -> None:
    values = [kid(directions(6, 4, 2 * n), directions(6, 4, 2 * n + 1)) for n in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert min(values) < 0, "an unbiased estimate of 0 is at times below"
    shifted = directions(40, 4, 1) + np.array([0.6, 0, 0, 0])
    assert kid(directions(40, 4), shifted) > kid(directions(40, 4), directions(40, 4, 1)) + 0.1


def gaussian(n: int, mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> np.ndarray:
    """A set whose mean and covariance are these, to rounding."""
    x = RNG(seed).normal(size=(n, len(mean)))
    x = np.linalg.qr(x - x.mean(axis=0))[0] * np.sqrt(n - 1)
    return x @ np.linalg.cholesky(covariance).T + mean


def test_fid_is_the_closed_form_of_two_gaussians() -> None:
    """Of covariances that commute: |m1 - m2|^2 + sum (sqrt a - sqrt b)^2; of others by the matrix square root."""
    a, b = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    mean = np.array([1.0, -2.0, 0.5])
    first, second = gaussian(50, np.zeros(3), np.diag(a)), gaussian(70, mean, np.diag(b), 1)
    expected = (mean**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert fid(first, second) == pytest.approx(expected)
    assert fid(second, first) == pytest.approx(expected)
    assert fid(first, first) == pytest.approx(0, abs=1e-9)
    from scipy.linalg import sqrtm

    x, y = RNG(2).normal(size=(30, 5)) @ RNG(3).normal(size=(5, 5)), RNG(4).normal(size=(4, 5))
    s, t = np.cov(x.T), np.cov(y.T)  # the second of rank 3
    root = np.trace(sqrtm(s @ t).real)
    by_hand = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * root
    assert fid(x, y) == pytest.approx(by_hand, rel=1e-5)


def test_cmmd_is_the_gaussian_kernels() -> None:
    x, y = np.eye(2)[:1], np.eye(2)[1:]
    assert cmmd(x, y) == pytest.approx(1000 * (2 - 2 * np.exp(-2 / 200)))
    several = directions(9, 5)
    assert cmmd(several, several) == pytest.approx(0, abs=1e-9)
    assert cmmd(several, directions(9, 5, 1)) == pytest.approx(cmmd(directions(9, 5, 1), several))


def test_coverage_counts_reference_images_with_an_image_in_their_neighbourhood() -> None:
    """Two clusters far apart; images in one of them alone cover half."""
    rng = RNG(0)
    left, right = rng.normal(0, 1, (40, 3)), rng.normal(0, 1, (40, 3)) + 100
    reference = np.concatenate([left, right])
    assert coverage(reference, reference) == 1
    assert coverage(left, reference) == 0.5
    assert coverage(left + 1e6, reference) == 0
    line = np.arange(10.0)[:, None]  # the second nearest is at distance 2 at the ends, else at 1
    assert coverage(np.array([[11.0]]), line, neighbours=2) == pytest.approx(1 / 10)


@pytest.mark.parametrize(
    ("function", "sets"),
    [
        (kid, (np.eye(3)[:1], np.eye(3))), (fid, (np.eye(3)[:1], np.eye(3))), (cmmd, (np.zeros((0, 2)), np.eye(2))),
        (coverage, (np.eye(5), np.eye(5))), (vendi, (np.zeros((0, 2)),)), (vendi, (np.zeros((2, 2)),)),
    ],
)  # fmt: skip
def test_sets_that_are_too_small_are_refused(function, sets) -> None:
    with pytest.raises(ValueError, match="needed|no images|is 0"):
        function(*sets)
