"""Presence and emergence: by chance in 5 % of pure noise, planted concepts where they were planted."""

import numpy as np
import pytest

from pipeline.metrics.emergence import (
    EMERGES,
    LEAST_UNNAMED,
    NEVER,
    OUTCOMES,
    START,
    emergence_of,
    first_present,
    outcomes,
    percentile,
)

STEPS = 20


def noise(prompts: int, seeds: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Curves of nothing: a prompt's own level, and what its seeds and steps add."""
    jitter = rng.normal(0, 0.01, (prompts, 1, 1)) + rng.normal(0, 0.005, (prompts, seeds, STEPS))
    curves = (0.2 + jitter).reshape(-1, STEPS).astype(np.float32)
    return curves, np.repeat(np.arange(1, prompts + 1), seeds)


@pytest.mark.parametrize(("prompts", "seeds"), [(100, 1), (60, 2)])
def test_of_pure_noise_five_per_cent_is_present_whether_named_or_not(prompts, seeds):
    rng = np.random.default_rng(0)
    present: dict[bool, list] = {True: [], False: []}
    for _ in range(400):
        curves, prompt = noise(prompts, seeds, rng)
        named = prompt <= 10
        _, first, _ = emergence_of(curves, prompt, named)
        at_the_end = ~np.isnan(first)
        for which in (True, False):
            present[which].append(at_the_end[named == which].mean())
    for which in (True, False):
        assert np.mean(present[which]) == pytest.approx(0.05, abs=0.01)


def test_planted_concepts_emerge_where_they_were_planted():
    """There from the start, from step 7 on, never; one that comes and goes counts from where it stays."""
    curves, prompt = noise(80, 1, np.random.default_rng(1))
    curves[0] += 0.2
    curves[1, 7:] += 0.2
    curves[3, 2:5] += 0.2
    curves[3, 11:] += 0.2
    curves[2] = 0.2
    contrast, first, between = emergence_of(curves, prompt, prompt <= 4)
    assert contrast.unnamed == 76
    assert np.array_equal(first[:4], [0, 7, np.nan, 11], equal_nan=True)
    names = [OUTCOMES[code] for code in outcomes(first)[:4]]
    assert names == [START, EMERGES, NEVER, EMERGES]
    assert 0 < between[1] < 1 and np.isnan(between[[0, 2]]).all()


@pytest.mark.parametrize("seeds", [1, 2])
def test_rows_may_come_in_any_order(seeds):
    rng = np.random.default_rng(3)
    curves, prompts = noise(60, seeds, rng)
    named = prompts % 3 == 0
    contrast, first, between = emergence_of(curves, prompts, named)
    order = rng.permutation(len(curves))
    shuffled, other, crossed = emergence_of(curves[order], prompts[order], named[order])
    np.testing.assert_allclose(shuffled.threshold, contrast.threshold, atol=1e-6)
    np.testing.assert_array_equal(other, first[order])
    np.testing.assert_allclose(crossed, between[order], atol=1e-3)


def test_the_contrast_leaves_the_prompt_itself_out():
    curves, prompt = noise(30, 2, np.random.default_rng(2))
    contrast, _, _ = emergence_of(curves, prompt, np.zeros(60, bool))
    left_out = [
        curves[prompt == p] - curves[prompt != p].mean(0, dtype=float) for p in range(1, 31)
    ]
    expected = np.quantile(np.concatenate(left_out), 0.95, axis=0, method="weibull")
    assert np.allclose(contrast.threshold, expected, atol=1e-6)
    assert np.allclose(contrast.baseline, curves.mean(0), atol=1e-6)


def test_where_the_threshold_is_crossed_is_interpolated():
    """A line through the threshold: the crossing is where it is met, however coarse the steps are."""
    curves, prompt = noise(40, 1, np.random.default_rng(3))
    contrast, _, _ = emergence_of(curves, prompt, prompt == 1)
    curves[0] = contrast.baseline + contrast.threshold + 0.01 * (np.arange(STEPS) - 8.25)
    _, first, between = emergence_of(curves, prompt, prompt == 1)
    assert first[0] == 9 and between[0] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("count", [LEAST_UNNAMED - 1, LEAST_UNNAMED])
def test_too_few_unnamed_prompts_give_no_number(count):
    curves, prompt = noise(count + 3, 2, np.random.default_rng(4))
    contrast, first, _ = emergence_of(curves, prompt, prompt <= 3)
    assert contrast.unnamed == count
    assert (first is None) == np.isnan(contrast.threshold).all() == (count < LEAST_UNNAMED)


@pytest.mark.parametrize("count", [2, 19, 20, 57, 1000])
def test_the_percentile_is_numpys(count):
    values = np.random.default_rng(count).normal(size=(count, 7))
    expected = np.quantile(values, 0.95, axis=0, method="weibull")
    assert np.allclose(percentile(values), expected)


def test_presence_counts_from_where_it_stays():
    rows = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    assert np.array_equal(first_present(rows), [0, 1, 2, np.nan, np.nan], equal_nan=True)
