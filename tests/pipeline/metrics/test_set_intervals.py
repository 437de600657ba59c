"""Intervals of sets of images: against closed forms, and how often they hold a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipeline.metrics import image_sets
from pipeline.metrics.set_intervals import (
    bootstrap,
    jackknife,
    weighted_cmmd,
    weighted_fid,
    weighted_kid,
    weighted_vendi,
)
from tests.support import set_rates

RNG = np.random.default_rng


def directions(n: int, d: int, seed: int = 0) -> np.ndarray:
    vectors = RNG(seed).normal(size=(n, d))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_jackknife_of_a_mean_is_the_t_intervals() -> None:
    """The jackknife of a mean over single prompts is the classic standard error."""
    values = RNG(1).normal(3, 2, 15)
    mean, low, high = jackknife(lambda rows: float(values[rows].mean()), np.arange(15))
    half = stats.t.ppf(0.975, 14) * values.std(ddof=1) / np.sqrt(15)
    assert (mean, low, high) == pytest.approx(
        (values.mean(), values.mean() - half, values.mean() + half)
    )
    assert np.isnan(jackknife(lambda rows: 0.0, np.arange(5))[1])


def test_the_jackknife_counts_prompts_not_images() -> None:
    """Seeds of a prompt that give the same image add nothing to what is known."""
    values = RNG(2).normal(0, 1, 12)
    four = jackknife(
        lambda rows: float(np.repeat(values, 4)[rows].mean()), np.repeat(np.arange(12), 4)
    )
    assert four == pytest.approx(jackknife(lambda rows: float(values[rows].mean()), np.arange(12)))


def test_the_bootstrap_of_a_mean_is_the_t_interval() -> None:
    """A weighted mean is linear in small weights: the deviation is the classic standard error, but for chance in the draws."""
    values = RNG(1).normal(3, 2, 15)
    _, low, high = bootstrap(
        float(values.mean()), lambda w: float(w @ values / w.sum()), 15, draws=20_000
    )
    half = stats.t.ppf(0.975, 14) * values.std(ddof=1) / np.sqrt(15)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert (high + low) / 2 == pytest.approx(values.mean())
    assert np.isnan(bootstrap(0.0, lambda w: 0.0, 5)[1])


PROMPTS = np.array([0, 1, 2, 2, 0, 3, 4, 5, 5, 5, 6, 7])
WEIGHTED = {
    "kid": (weighted_kid, lambda x, r: image_sets.kid(x, r)),
    "cmmd": (weighted_cmmd, lambda x, r: image_sets.cmmd(x, r)),
    "fid": (weighted_fid, lambda x, r: image_sets.fid(x, r)),
    "vendi": (lambda x, r, p: weighted_vendi(x, p), lambda x, r: image_sets.vendi(x)),
}


@pytest.mark.parametrize("size", [4, 30])
@pytest.mark.parametrize("name", WEIGHTED)
def test_equal_weights_are_the_measure(name: str, size: int) -> None:
    weighted, plain = WEIGHTED[name]
    images, reference = directions(12, size), directions(9, size, 1)
    expected = plain(images, reference)
    for weight in (1.0, 3.0):
        value = weighted(images, reference, PROMPTS)(np.full(8, weight))
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-9)


def by_hand(kernel, images: np.ndarray, reference: np.ndarray, w: np.ndarray, pair: float) -> float:
    """Sums over pairs, one by one: no image with itself, weights of both prompts, or once that of one."""
    w, total, weights = w / w.mean(), 0.0, 0.0
    for i, one in enumerate(PROMPTS):
        for j, two in enumerate(PROMPTS):
            if i != j:
                weight = w[one] * (w[two] if one != two else 1)
                total, weights = total + weight * kernel(images[i], images[j]), weights + weight
    cross = sum(
        w[p] * np.mean([kernel(x, r) for r in reference])
        for p, x in zip(PROMPTS, images, strict=True)
    )
    return total / weights * pair - 2 * cross / w[PROMPTS].sum()


def test_no_image_is_paired_with_itself() -> None:
    images, reference, w = directions(12, 3), directions(9, 3, 1), RNG(3).uniform(0.5, 2, 8)
    one = np.ones(8)

    def cubic(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 3 + 1) ** 3

    def gauss(a: np.ndarray, b: np.ndarray) -> float:
        return 1000 * np.exp(-((a - b) ** 2).sum() / 200)

    for weighted, kernel, pair in ((weighted_kid, cubic, 1), (weighted_cmmd, gauss, 11 / 12)):
        measure = weighted(images, reference, PROMPTS)
        gap = by_hand(kernel, images, reference, w, pair) - by_hand(
            kernel, images, reference, one, pair
        )
        assert measure(w) - measure(one) == pytest.approx(gap, rel=1e-9)


def test_weights_of_fid_and_vendi_are_numbers_of_copies() -> None:
    """A prompt of weight 2 counts as two: the mean and covariance of the copies, but for the covariance's n - 1."""
    images, reference, w = directions(12, 4), directions(20, 4, 1), RNG(4).integers(1, 4, 8)
    copies = np.repeat(images, w[PROMPTS], axis=0)
    vendi = weighted_vendi(images, PROMPTS)(w.astype(float))
    assert vendi == pytest.approx(image_sets.vendi(copies))
    n = len(copies)
    scaled = copies.mean(0) + (copies - copies.mean(0)) * np.sqrt((n - 1) / n * 12 / 11)
    assert weighted_fid(images, reference, PROMPTS)(w.astype(float)) == pytest.approx(
        image_sets.fid(scaled, reference)
    )


@pytest.mark.long
@pytest.mark.parametrize("measure", ["vendi", "fid", "kid", "cmmd", "coverage"])
def test_intervals_hold_the_truth_and_those_of_the_naive_bootstrap_do_not(measure: str) -> None:
    """Of 100 sets of 12 prompts; drawing prompts with replacement puts the same image twice into a set."""
    shares = set_rates.rates(measure, 12, 1.0, 100, sets=400)
    assert shares["this"] >= 0.92, shares
    assert shares["naive"] < 0.88, shares
