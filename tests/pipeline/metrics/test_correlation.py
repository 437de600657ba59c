"""Curve statistics against scipy and against curves whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from pipeline.metrics import trajectories

CURVES = npst.arrays(
    np.float64,
    npst.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12),
    elements=st.floats(-1, 1).map(lambda x: round(x, 2)),
)


@settings(max_examples=50, deadline=None)
@given(CURVES)
def test_spearman_is_scipys(curves):
    ours = trajectories.spearman_with_step(curves)
    for curve, value in zip(curves, ours, strict=True):
        if np.ptp(curve) == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(stats.spearmanr(curve, range(len(curve))).statistic)


@settings(max_examples=50, deadline=None)
@given(CURVES)
def test_area_is_between_0_and_1_and_blind_to_scale(curves):
    area = trajectories.area(curves)
    known = ~np.isnan(area)
    assert ((area[known] >= 0) & (area[known] <= 1)).all()
    assert np.allclose(area[known], trajectories.area(3 * curves + 2)[known])


def test_area_of_known_curves():
    early, late, line = [0, 1, 1, 1, 1], [0, 0, 0, 0, 1], [0, 1, 2, 3, 4]
    assert np.allclose(trajectories.area(np.array([early, late, line], float)), [0.875, 0.125, 0.5])


def test_seed_noise_is_the_within_prompt_spread():
    values, prompts = np.array([1.0, 3.0, 10.0, 12.0]), np.array([1, 1, 2, 2])
    assert trajectories.seed_noise(values, prompts) == pytest.approx(np.sqrt(2))
    assert np.isnan(trajectories.seed_noise(values, np.arange(4)))


def test_mean_by_group_of_single_rows_sorts_them():
    values = np.array([[1.0, np.nan], [2.0, 3.0]])
    keys, means, counts = trajectories.mean_by_group(values, np.array([9, 4]))
    assert keys.tolist() == [4, 9] and counts.tolist() == [1, 1]
    assert np.array_equal(means, values[::-1], equal_nan=True)


def test_mean_by_group_ignores_nan():
    values = np.array([[1.0], [np.nan], [5.0], [np.nan]])
    keys, means, counts = trajectories.mean_by_group(values, np.array([7, 7, 3, 9]))
    assert keys.tolist() == [3, 7, 9] and counts.tolist() == [1, 2, 1]
    assert np.array_equal(means, [[5], [1], [np.nan]], equal_nan=True)


def test_interval_is_the_t_interval():
    values = np.random.default_rng(0).normal(size=(20, 3))
    mean, low, high, sd = trajectories.interval(values)
    for i in range(3):
        expected = stats.ttest_1samp(values[:, i], 0).confidence_interval(0.95)
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high))
    assert np.allclose(sd, values.std(0, ddof=1)) and np.allclose(mean, values.mean(0))
    assert np.isnan(trajectories.interval(values[:1])[1]).all()


def test_predictable_from():
    assert trajectories.predictable_from(np.array([0.1, 0.95, 0.5, 0.92, 1.0])) == 3
    assert trajectories.predictable_from(np.array([0.95, 0.99, 1.0])) == 0
    assert trajectories.predictable_from(np.array([0.1, np.nan, 1.0])) == 2
    assert trajectories.predictable_from(np.full(3, np.nan)) is None


def test_concept_correlation_is_numpys():
    values = np.random.default_rng(1).normal(size=(4, 30))
    assert np.allclose(trajectories.concept_correlation(values), np.corrcoef(values))
    assert np.isnan(trajectories.concept_correlation(np.ones((2, 5)))).all()


def test_moments_of_groups_and_of_groups_put_together():
    rng = np.random.default_rng(2)
    curves = rng.normal(size=(60, 4)).astype(np.float32)
    groups = rng.integers(0, 5, 60) * 3
    moments = trajectories.group_moments(curves, groups)
    assert moments.group.tolist() == [0, 3, 6, 9, 12]
    assert np.allclose(trajectories.group_means(curves, groups), moments.mean)
    together = moments.pooled(np.array([0, -1, 1, 1, 0]))
    parts = [(moments, group, [group]) for group in moments.group]
    parts += [(together, 0, [0, 12]), (together, 1, [6, 9])]
    for pooled, group, members in parts:
        members_curves = curves[np.isin(groups, members)].astype(float)
        (row,) = np.flatnonzero(pooled.group == group)
        low, high = pooled.limits()
        mean, *limits = trajectories.interval(members_curves)
        assert pooled.count[row] == len(members_curves)
        assert np.allclose(pooled.mean[row], mean)
        assert np.allclose([low[row], high[row], pooled.sd[row]], limits)
        assert np.allclose(pooled.covariance[row], np.cov(members_curves.T)[-1])
        expected = [
            stats.pearsonr(members_curves[:, i], members_curves[:, -1]).statistic for i in range(4)
        ]
        assert np.allclose(pooled.r_last()[row], expected)


def test_moments_without_spread_are_not_correlated():
    """Two rows tell nothing, and a column that does not vary has no correlation, whatever is rounded."""
    assert np.isnan(trajectories.group_moments(np.eye(2), np.zeros(2, int)).r_last()).all()
    flat = np.full((9, 2), 0.1234567)
    flat[:, 1] = np.arange(9)
    pooled = trajectories.group_moments(flat, np.arange(9) % 3).pooled(np.zeros(3, int))
    assert np.isnan(pooled.r_last()[0, 0]) and pooled.r_last()[0, 1] == pytest.approx(1)


def test_correlation_of_columns():
    a, b = np.random.default_rng(3).normal(size=(2, 30, 4)).astype(np.float32)
    assert np.allclose(
        trajectories.pearson_columns(a, b), trajectories.pearson_rows(a.T.astype(float), b.T)
    )
    assert np.isnan(trajectories.pearson_columns(a[:2], b[:2])).all()
    assert np.isnan(trajectories.pearson_columns(np.ones((9, 1)), b[:9, :1])).all()


def test_curves_are_matched_at_the_same_noise_by_linear_interpolation():
    first, second = np.array([-4.0, -1.0, 0.0, 3.0]), np.array([-3.0, -1.0, 1.0, 2.0])
    matching = trajectories.match_noise(first, second)
    assert matching.known.tolist() == [False, True, True, False]
    curves = np.array([[0.0, 2.0, 6.0, 7.0], [1.0, 1.0, 0.0, 0.0]])
    expected = [np.interp(first[1:3], second, curve) for curve in curves]
    assert np.allclose(matching.read(curves), expected)


def test_models_with_the_same_noise_levels_are_read_step_by_step():
    """Also where two calls of a second-order step stand at one level."""
    levels = np.array([-3.0, -1.0, -1.0, 2.0])
    curves = np.array([[1.0, 2.0, 3.0, 4.0]])
    matching = trajectories.match_noise(levels, levels.copy())
    assert matching.known.all() and np.array_equal(matching.read(curves), curves)


@settings(max_examples=50, deadline=None)
@given(
    npst.arrays(float, st.integers(1, 9), elements=st.floats(-9, 9)).map(np.sort),
    npst.arrays(float, st.integers(1, 9), elements=st.floats(-9, 9)).map(np.sort),
)
def test_matching_of_a_line_gives_the_line(first, second):
    """A curve that is its own noise level is read as the first model's noise level."""
    matching = trajectories.match_noise(first, second)
    inside = (first >= second[0]) & (first <= second[-1])
    assert (matching.known | ~inside).all()
    assert np.allclose(matching.read(second[None]), first[matching.known], atol=1e-4)
