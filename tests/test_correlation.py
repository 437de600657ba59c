"""Curve statistics against scipy and against curves whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from pipeline import correlation as c

CURVES = npst.arrays(
    np.float64,
    npst.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12),
    elements=st.floats(-1, 1).map(lambda x: round(x, 2)),
)


@settings(max_examples=50, deadline=None)
@given(CURVES)
def test_spearman_is_scipys(curves):
    ours = c.spearman_with_step(curves)
    for curve, value in zip(curves, ours, strict=True):
        if np.ptp(curve) == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(stats.spearmanr(curve, range(len(curve))).statistic)


@settings(max_examples=50, deadline=None)
@given(CURVES)
def test_area_is_between_0_and_1_and_blind_to_scale(curves):
    area = c.area(curves)
    known = ~np.isnan(area)
    assert ((area[known] >= 0) & (area[known] <= 1)).all()
    assert np.allclose(area[known], c.area(3 * curves + 2)[known])


def test_area_of_known_curves():
    early, late, line = [0, 1, 1, 1, 1], [0, 0, 0, 0, 1], [0, 1, 2, 3, 4]
    assert np.allclose(c.area(np.array([early, late, line], float)), [0.875, 0.125, 0.5])


def test_emergence():
    curves = np.array(
        [
            [0, 0, 1, 1, 1],  # rises at 2
            [0, 1, 0, 1, 1],  # falls back, so only at 3
            [1, 1, 0, 0, 0],  # falls: never
            [0, 0, 0, 0, 0],  # flat: never
            [0, 0, 0, 0, 1],
        ],
        float,
    )
    assert np.array_equal(c.emergence_step(curves), [2, 3, np.nan, np.nan, 4], equal_nan=True)
    assert np.isnan(c.emergence_step(curves, noise=1.5)).all()


def test_seed_noise_is_the_within_prompt_spread():
    values, prompts = np.array([1.0, 3.0, 10.0, 12.0]), np.array([1, 1, 2, 2])
    assert c.seed_noise(values, prompts) == pytest.approx(np.sqrt(2))
    assert np.isnan(c.seed_noise(values, np.arange(4)))


def test_mean_by_group_of_single_rows_sorts_them():
    values = np.array([[1.0, np.nan], [2.0, 3.0]])
    keys, means, counts = c.mean_by_group(values, np.array([9, 4]))
    assert keys.tolist() == [4, 9] and counts.tolist() == [1, 1]
    assert np.array_equal(means, values[::-1], equal_nan=True)


def test_mean_by_group_ignores_nan():
    values = np.array([[1.0], [np.nan], [5.0], [np.nan]])
    keys, means, counts = c.mean_by_group(values, np.array([7, 7, 3, 9]))
    assert keys.tolist() == [3, 7, 9] and counts.tolist() == [1, 2, 1]
    assert np.array_equal(means, [[5], [1], [np.nan]], equal_nan=True)


def test_interval_is_the_t_interval():
    values = np.random.default_rng(0).normal(size=(20, 3))
    mean, low, high, sd = c.interval(values)
    for i in range(3):
        expected = stats.ttest_1samp(values[:, i], 0).confidence_interval(0.95)
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high))
    assert np.allclose(sd, values.std(0, ddof=1)) and np.allclose(mean, values.mean(0))
    assert np.isnan(c.interval(values[:1])[1]).all()


def test_predictable_from():
    assert c.predictable_from(np.array([0.1, 0.95, 0.5, 0.92, 1.0])) == 3
    assert c.predictable_from(np.array([0.95, 0.99, 1.0])) == 0
    assert c.predictable_from(np.array([0.1, np.nan, 1.0])) == 2
    assert c.predictable_from(np.full(3, np.nan)) is None


def test_concept_correlation_is_numpys():
    values = np.random.default_rng(1).normal(size=(4, 30))
    assert np.allclose(c.concept_correlation(values), np.corrcoef(values))
    assert np.isnan(c.concept_correlation(np.ones((2, 5)))).all()


def test_moments_of_groups_and_of_groups_put_together():
    rng = np.random.default_rng(2)
    curves = rng.normal(size=(60, 4)).astype(np.float32)
    groups = rng.integers(0, 5, 60) * 3
    moments = c.group_moments(curves, groups)
    assert moments.group.tolist() == [0, 3, 6, 9, 12]
    assert np.allclose(c.group_means(curves, groups), moments.mean)
    together = moments.pooled(np.array([0, -1, 1, 1, 0]))
    parts = [(moments, group, [group]) for group in moments.group]
    parts += [(together, 0, [0, 12]), (together, 1, [6, 9])]
    for found, group, members in parts:
        own = curves[np.isin(groups, members)].astype(float)
        (row,) = np.flatnonzero(found.group == group)
        low, high = found.limits()
        mean, *limits = c.interval(own)
        assert found.count[row] == len(own)
        assert np.allclose(found.mean[row], mean)
        assert np.allclose([low[row], high[row], found.sd[row]], limits)
        assert np.allclose(found.covariance[row], np.cov(own.T)[-1])
        expected = [stats.pearsonr(own[:, i], own[:, -1]).statistic for i in range(4)]
        assert np.allclose(found.r_last()[row], expected)


def test_moments_without_spread_are_not_correlated():
    """Two rows tell nothing, and a column that does not vary has no correlation, whatever is rounded."""
    assert np.isnan(c.group_moments(np.eye(2), np.zeros(2, int)).r_last()).all()
    flat = np.full((9, 2), 0.1234567)
    flat[:, 1] = np.arange(9)
    found = c.group_moments(flat, np.arange(9) % 3).pooled(np.zeros(3, int))
    assert np.isnan(found.r_last()[0, 0]) and found.r_last()[0, 1] == pytest.approx(1)


def test_correlation_of_columns():
    a, b = np.random.default_rng(3).normal(size=(2, 30, 4)).astype(np.float32)
    assert np.allclose(c.pearson_columns(a, b), c.pearson_rows(a.T.astype(float), b.T))
    assert np.isnan(c.pearson_columns(a[:2], b[:2])).all()
    assert np.isnan(c.pearson_columns(np.ones((9, 1)), b[:9, :1])).all()


def test_matching_steps():
    assert c.matching_steps(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert c.matching_steps(3, 5).tolist() == [0, 2, 4]
    assert c.matching_steps(1, 5).tolist() == [0]
