"""One rule for a verdict, one family of tests per question, ranks by paired tests: against scipy and known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from app.analysis import comparison, emergence, trajectories, uncertainty
from app.analysis.uncertainty import NOT_SEPARABLE, SEPARABLE, TOO_FEW


def values(*gaps: float, n: int = 30, noise: float = 0.02, seed: int = 0) -> pd.DataFrame:
    """Prompt x model values that share the prompts' large spread and differ by small gaps."""
    rng = np.random.default_rng(seed)
    prompts = rng.normal(0.5, 0.3, n)
    columns = {i + 1: prompts + gap + rng.normal(0, noise, n) for i, gap in enumerate(gaps)}
    return pd.DataFrame(columns, index=range(1, n + 1))


def test_pair_tests_are_scipys_and_corrected_over_all_pairs() -> None:
    table = values(0.0, 0.01, 0.05)
    table.loc[3, 2] = np.nan
    pairs = comparison.pair_tests(table)
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == [(1, 2), (1, 3), (2, 3)]
    p = []
    for row in pairs.itertuples():
        both = table[[row.first, row.second]].dropna()
        test = stats.ttest_rel(both[row.second], both[row.first])
        low, high = test.confidence_interval(0.95)
        assert (row.low, row.high, row.p) == pytest.approx((low, high, test.pvalue))
        assert row.prompts == len(both)
        assert row.win_rate == pytest.approx((both[row.second] > both[row.first]).mean())
        p.append(test.pvalue)
    assert pairs["q"].tolist() == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_a_verdict_needs_six_prompts_whatever_its_p() -> None:
    sure = values(0.0, 0.5, n=6, noise=0.001)
    assert comparison.pair_tests(sure)["verdict"].tolist() == [SEPARABLE]
    few = comparison.pair_tests(sure.head(5))
    assert few["p"].item() < 1e-6 and few["verdict"].tolist() == [TOO_FEW]
    assert uncertainty.verdicts([0.01, 0.06, np.nan], [6, 6, 6]).tolist() == [
        SEPARABLE,
        NOT_SEPARABLE,
        NOT_SEPARABLE,
    ]


def test_models_tied_by_unpaired_intervals_differ_when_paired() -> None:
    """Prompts differ more than models do: the intervals overlap, and every prompt says the same."""
    table = values(0.0, 0.05, 0.05)
    intervals = [uncertainty.t_interval(table[model]) for model in table]
    assert max(i.low for i in intervals) < min(i.high for i in intervals), "they overlap"
    better = comparison.better_matrix(comparison.pair_tests(table), [1, 2, 3])
    assert uncertainty.tied_ranks(better) == ["3", "=1", "=1"]
    lower = comparison.better_matrix(comparison.pair_tests(table), [1, 2, 3], lower=True)
    assert uncertainty.tied_ranks(lower) == ["1", "=2", "=2"]


def scores(*gaps: float, n: int = 30) -> pd.DataFrame:
    table = values(*gaps, n=n)
    rows = table.melt(ignore_index=False, var_name="model_id", value_name="score")
    return rows.rename_axis("prompt_id").reset_index().assign(category="", seeds=1)


def test_the_correction_does_not_depend_on_the_baseline() -> None:
    rows = scores(0.0, 0.012, 0.01)
    first, second = comparison.score_tests(rows, 1), comparison.score_tests(rows, 2)
    one = first.set_index("model_id").loc[2]
    other = second.set_index("model_id").loc[1]
    assert one["q"] == other["q"] and one["verdict"] == other["verdict"]
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["win_rate"] == pytest.approx(1 - other["win_rate"])


def test_a_win_is_in_the_measures_own_direction() -> None:
    baseline = np.linspace(5, 9, 20)
    earlier = uncertainty.compare(baseline, baseline - 2, lower_is_better=True)
    assert (earlier.win_rate, earlier.difference.estimate) == (1.0, pytest.approx(-2))
    assert uncertainty.compare(baseline, baseline - 2).win_rate == 0.0


def test_prompts_needed_reach_the_power_that_is_said() -> None:
    needed = int(uncertainty.prompts_needed(0.5))
    rng = np.random.default_rng(3)
    decided = [stats.ttest_1samp(rng.normal(0.5, 1, needed), 0).pvalue < 0.05 for _ in range(2000)]
    assert 0.77 <= np.mean(decided) <= 0.84
    assert np.isnan(uncertainty.prompts_needed(0.0))


def test_rows_without_shared_prompts_are_ranked_between_groups() -> None:
    """Two objects that no prompt names together have nothing to be paired by."""
    rng = np.random.default_rng(5)
    early, late = rng.normal(3, 1, 12), rng.normal(9, 1, 12)
    table = pd.DataFrame({"cat": [*early, *[np.nan] * 12], "dog": [*[np.nan] * 12, *late]})
    pairs = emergence.rank_tests(table)
    welch = stats.ttest_ind(late, early, equal_var=False)
    assert pairs["p"].item() == pytest.approx(welch.pvalue)
    assert pairs["prompts"].item() == 12 and pairs["verdict"].item() == SEPARABLE
    few = emergence.rank_tests(table.iloc[7:17])
    assert few["verdict"].item() == TOO_FEW


def test_rows_with_shared_prompts_are_ranked_by_pairs() -> None:
    prompts = np.random.default_rng(6).normal(10, 5, 20)
    table = pd.DataFrame({"colour": prompts, "shape": prompts + 1 + 0.1 * prompts**0})
    table["shape"] += np.random.default_rng(7).normal(0, 0.2, 20)
    pairs = emergence.rank_tests(table)
    assert pairs["p"].item() == pytest.approx(
        stats.ttest_rel(table["shape"], table["colour"]).pvalue
    )
    assert pairs["verdict"].item() == SEPARABLE


def test_the_heat_map_is_ordered_by_half_of_the_rise() -> None:
    def curve(concept: str, family: str, *means: float) -> pd.DataFrame:
        return pd.DataFrame(
            {"model_id": 1, "concept_id": hash(concept) % 997, "concept": concept, "family": family,
             "step": range(len(means)), "mean": means}
        )  # fmt: skip

    cells = trajectories.with_rise(
        pd.concat(
            [
                curve("late", "a", 0.1, 0.1, 0.1, 0.5),
                curve("soon", "a", 0.1, 0.1, 0.5, 0.5),
                curve("first", "b", 0.1, 0.5, 0.5, 0.5),
                curve("falling", "c", 0.5, 0.1, 0.1, 0.1),
            ]
        )
    )
    assert trajectories.heat_order(cells) == ["falling", "first", "soon", "late"]


def test_the_outcome_is_settled_from_the_last_step_below_on() -> None:
    curve = pd.DataFrame({"step": range(5), "mean": [0.95, 0.2, 0.91, 0.95, 0.99]})
    assert trajectories.settled_from(curve) == 2
    assert trajectories.settled_from(curve.assign(mean=0.5)) is None
    assert trajectories.settled_from(curve.assign(mean=0.95)) == 0
