"""Intervals, tests and corrections against scipy, statsmodels and known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from app.analysis import uncertainty

values = arrays(
    np.float64, st.integers(2, 40), elements=st.floats(-1, 1, allow_subnormal=False, width=32)
)


def drawn(n: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, n)


def test_t_interval_is_scipys() -> None:
    sample = drawn(17)
    interval = uncertainty.t_interval(sample)
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.n == 17


def test_intervals_of_too_few_are_unknown_not_zero() -> None:
    assert np.isnan(uncertainty.t_interval([0.3]).low)
    assert uncertainty.t_interval([0.3]).estimate == pytest.approx(0.3)
    assert uncertainty.t_interval([]).n == 0


def test_missing_values_do_not_count() -> None:
    assert uncertainty.t_interval([0.1, np.nan, 0.3]).n == 2


@pytest.mark.parametrize(("n", "seed"), [(2, 1), (3, 2), (12, 3)])
def test_paired_intervals_cover_the_truth_as_often_as_they_claim(n: int, seed: int) -> None:
    """The percentile bootstrap covered it in 50 % at n = 2, 75 % at 3 and 92 % at 12."""
    rng = np.random.default_rng(seed)
    hits = 0
    for gap in rng.normal(0.2, 1, (2000, n)):
        interval = uncertainty.compare(np.zeros(n), gap).difference
        hits += interval.low <= 0.2 <= interval.high
    assert 0.935 <= hits / 2000 <= 0.965


def test_paired_tests_are_scipys() -> None:
    baseline, candidate = drawn(25), drawn(25, 1, 0.3)
    result = uncertainty.compare(baseline, candidate)
    gap = candidate - baseline
    assert result.wilcoxon == pytest.approx(stats.wilcoxon(candidate, baseline).pvalue)
    assert result.p == pytest.approx(stats.ttest_rel(candidate, baseline).pvalue)
    assert result.d_z == pytest.approx(gap.mean() / gap.std(ddof=1))
    p = uncertainty.paired_t_p(gap.mean(), gap.std(ddof=1), gap.size)
    assert p == pytest.approx(stats.ttest_rel(candidate, baseline).pvalue)


def test_ties_and_zeros_take_the_normal_approximation_at_once() -> None:
    gap = np.array([1, 1, 0, -1, 2, 2, 1, 0, 3, 1, 1, 2.0])
    expected = stats.wilcoxon(gap, method="asymptotic").pvalue
    assert uncertainty.wilcoxon_p(gap) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 40.0])
def test_values_stored_as_32_bit_floats_tie_as_they_did(scale: float) -> None:
    rng = np.random.default_rng(2)
    baseline, candidate = scale * rng.integers(0, 30, (2, 15)) / 3 + scale * 5
    expected = stats.wilcoxon(np.round((candidate - baseline) / scale, 9), method="asymptotic")
    stored = uncertainty.compare(baseline.astype(np.float32), candidate.astype(np.float32))
    assert stored.wilcoxon == pytest.approx(expected.pvalue)


def test_cliffs_delta_by_counting_all_pairs() -> None:
    baseline, candidate = drawn(12).round(1), drawn(15, 1).round(1)
    pairs = np.sign(candidate[:, None] - baseline[None, :])
    assert uncertainty.cliffs_delta(baseline, candidate) == pytest.approx(pairs.mean())


def test_a_candidate_that_always_wins() -> None:
    baseline = drawn(20)
    result = uncertainty.compare(baseline, baseline + 3.0 + 0.01 * drawn(20, 3))
    assert result.win_rate == 1.0
    assert result.difference.low > 0
    assert result.p < 1e-4


def test_equal_models_are_not_told_apart() -> None:
    same = uncertainty.compare(drawn(20), drawn(20))
    assert (same.p, same.d_z, same.win_rate) == (1.0, 0.0, 0.5)
    assert same.cliffs_delta == pytest.approx(0.0)


def test_pairs_with_a_missing_side_are_left_out() -> None:
    result = uncertainty.compare([1.0, np.nan, 3.0], [2.0, 2.0, np.nan])
    assert result.difference.n == 1
    assert result.difference.estimate == pytest.approx(1.0)
    assert uncertainty.compare([], []).difference.n == 0


@given(values, st.integers(0, 2**16))
def test_swapping_the_models_flips_every_sign(first: np.ndarray, seed: int) -> None:
    second = first + np.random.default_rng(seed).normal(0, 0.1, first.size)
    there, back = uncertainty.compare(first, second), uncertainty.compare(second, first)
    assert there.difference.estimate == pytest.approx(-back.difference.estimate, abs=1e-12)
    assert there.win_rate == pytest.approx(1 - back.win_rate)
    assert there.cliffs_delta == pytest.approx(-back.cliffs_delta, abs=1e-12)
    assert there.p == pytest.approx(back.p)


@given(values)
def test_intervals_hold_the_estimate(sample: np.ndarray) -> None:
    interval = uncertainty.t_interval(sample)
    assert interval.low - 1e-9 <= interval.estimate <= interval.high + 1e-9


@pytest.mark.parametrize("shift", [-0.6, -0.1, 0.0, 0.1, 0.6])
def test_a_difference_is_claimed_only_where_nothing_that_is_open_takes_it_back(
    shift: float,
) -> None:
    baseline, candidate = drawn(60), drawn(60, 1) / 4 + drawn(60) + shift
    gap = candidate - baseline
    limits = gap - 0.2, gap + 0.3
    paired = uncertainty.compare(baseline, candidate, limits=limits)
    ends = [stats.ttest_1samp(each, 0) for each in limits]
    assert paired.difference.estimate == pytest.approx(gap.mean())
    assert paired.difference.low == pytest.approx(ends[0].confidence_interval().low)
    assert paired.difference.high == pytest.approx(ends[1].confidence_interval().high)
    expected = ends[0].pvalue if limits[0].mean() > 0 else ends[1].pvalue if limits[1].mean() < 0 else 1.0  # fmt: skip
    assert paired.p == pytest.approx(expected) == uncertainty.paired_p(baseline, candidate, limits)
    assert (paired.p < 0.05) == (abs(shift) > 0.5) == np.isfinite(paired.needed)
    assert paired.slack == pytest.approx((0.2, 0.3))
    sure = uncertainty.sure_part(gap.mean(), paired.slack)
    assert sure == pytest.approx(max(limits[0].mean(), 0) + min(limits[1].mean(), 0))


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_what_is_seen_at_few_levels_is_told_from_a_real_difference(shift: float) -> None:
    """One event, looked for at 30 and at 8 levels: a model that is looked at less often seems later by half of a step."""
    rng, claims, naive = np.random.default_rng(0), [], []
    fine, coarse = np.linspace(-4, 4, 30), np.linspace(-4, 4, 8)
    for _ in range(100):
        event = rng.normal(-1, 0.8, 50).clip(-3.9, 2)
        later = event + shift + rng.normal(0, 0.2, 50)
        (low, high), (other_low, other_high) = seen(event, fine), seen(later, coarse)
        paired = uncertainty.compare(high, other_high, limits=(other_low - high, other_high - low))
        claims.append(paired.p < 0.05)
        naive.append(uncertainty.compare(high, other_high).p < 0.05)
        assert paired.difference.low < (later - event).mean() < paired.difference.high
    assert np.mean(claims) == (shift > 0) and np.mean(naive) > 0.95


def seen(event: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The levels between which each event happens."""
    at = np.searchsorted(levels, event)
    return levels[at - 1], levels[at]


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_corrections_are_statsmodels_and_never_lower_a_p(p: np.ndarray) -> None:
    assert np.allclose(uncertainty.holm(p), multipletests(p, method="holm")[1])
    corrected = uncertainty.benjamini_hochberg(p)
    assert np.allclose(corrected, multipletests(p, method="fdr_bh")[1])
    assert (corrected >= p - 1e-12).all()


def test_corrections_leave_unknown_p_values_alone() -> None:
    corrected = uncertainty.holm([0.01, np.nan, 0.04])
    assert np.isnan(corrected[1])
    assert corrected[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(uncertainty.benjamini_hochberg([np.nan])).all()


def test_ranks_count_the_rows_that_are_separably_better() -> None:
    better = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 0]], dtype=bool)
    assert uncertainty.tied_ranks(better) == ["=1", "=1", "3"]
    assert uncertainty.tied_ranks(better.T) == ["=2", "=2", "1"]
    assert uncertainty.tied_ranks(np.zeros((2, 2))) == ["=1", "=1"]


def test_correlation_limits_are_scipys() -> None:
    x, y = drawn(30), drawn(30, 1)
    correlation = stats.pearsonr(x, y)
    table = uncertainty.correlation_limits(
        pd.DataFrame({"r": [correlation.statistic], "n": [30]}), "r", "n"
    )
    reference = correlation.confidence_interval(0.95)
    assert table["low"][0] == pytest.approx(reference.low)
    assert table["high"][0] == pytest.approx(reference.high)
    few = uncertainty.correlation_limits(pd.DataFrame({"r": [0.5], "n": [3]}), "r", "n")
    assert np.isnan(few["low"][0])


@pytest.mark.parametrize(
    ("p", "text"), [(0.0451, "p = 0.045"), (1e-9, "p < 0.001"), (float("nan"), "p unknown")]
)
def test_p_values_in_words(p: float, text: str) -> None:
    assert uncertainty.p_text(p).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((8.081e-06, -0.0004, 0.00042), "+0.00001 [-0.00040, 0.00042]"),
        ((0.00091, 0.00002, 0.00214), "+0.0009 [0.0000, 0.0021]"),
        ((-0.03585, -0.03644, -0.03527), "-0.0358 [-0.0364, -0.0353]"),
        ((-0.00001, -0.2, 0.1), "0.00 [-0.20, 0.10]"),
        ((12.3456, 10.1, 14.2), "+12.3 [10.1, 14.2]"),
        ((0.25, float("nan"), float("nan")), "+0.250"),
        ((1e-9, -1e-9, 3e-9), "0.000000 [0.000000, 0.000000]"),
    ],
)
def test_a_difference_has_the_digits_that_its_interval_leaves(
    numbers: tuple[float, float, float], text: str
) -> None:
    assert uncertainty.interval_text(*numbers, signed=True) == text


@pytest.mark.parametrize(
    ("value", "text"), [(8.081e-06, "0.0000081"), (0.0, "0"), (1.0, "1"), (123.4, "120"), (-0.25, "-0.25")]
)  # fmt: skip
def test_significant_digits_have_no_powers_of_ten(value: float, text: str) -> None:
    assert uncertainty.significant(value, 2) == text


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_the_p_of_many_ranks_is_scipys_to_the_last_digit(decimals):
    rng = np.random.default_rng(decimals)
    for prompts in (51, 64, 200):
        gap = np.round(rng.normal(0.2, 1, prompts), decimals)
        expected = stats.wilcoxon(gap, method="asymptotic").pvalue
        assert uncertainty._signed_rank_p(gap) == pytest.approx(expected, rel=1e-13)
