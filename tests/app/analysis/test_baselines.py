"""Rankings of tools under two baselines, against scipy; and the sentence that says whether they differ."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import baselines

TOOLS = ("df-cam", "df-rise", "lime", "random")
PROMPTS = 12


def rows(
    means: dict[str, tuple[float, ...]],
    spread: float = 0.02,
    game: str = "insertion",
    prompts: int = PROMPTS,
):
    """What the snapshot answers: areas of each tool and prompt around the means of each baseline."""
    rng = np.random.default_rng(0)
    sign = 1 if game == "insertion" else -1
    return pd.DataFrame(
        [
            {
                "model_id": 1, "method": tool, "game": game, "score": "clip", "baseline": baseline,
                "prompt_id": prompt, "auc": 0.5 + sign * (mean + rng.normal(0, spread)), "random": 0.5,
            }
            for baseline, values in means.items()
            for tool, mean in zip(TOOLS, values, strict=True)
            for prompt in range(prompts)
        ]
    )  # fmt: skip


def gains(table: pd.DataFrame) -> pd.DataFrame:
    return baselines.prompt_gains(lambda name, **_: table, "clip")


ALIKE = {"zero": (0.3, 0.2, 0.1, 0.0), "re-noised": (0.4, 0.3, 0.2, 0.1)}
TURNED = {"zero": (0.3, 0.2, 0.1, 0.0), "re-noised": (0.1, 0.2, 0.3, 0.0)}


@pytest.mark.parametrize("game", ["insertion", "deletion"])
def test_tools_are_ranked_by_their_gain_in_the_direction_of_the_game(game: str) -> None:
    table = baselines.rankings(gains(rows(TURNED, game=game)))
    ranks = table.set_index(["baseline", "method"])["rank"]
    assert [ranks["zero", tool] for tool in TOOLS] == ["1", "2", "3", "4"]
    assert [ranks["re-noised", tool] for tool in TOOLS] == ["3", "2", "1", "4"]


def test_the_interval_of_a_gain_is_the_t_interval_over_prompts() -> None:
    gained = gains(rows(ALIKE))
    row = baselines.rankings(gained).iloc[0]
    assert (row["baseline"], row["method"], row["prompts"]) == ("re-noised", "df-cam", PROMPTS)
    values = gained[(gained["baseline"] == "re-noised") & (gained["method"] == "df-cam")]["gain"]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_tools_that_are_not_separable_share_a_rank() -> None:
    same = {"zero": (0.2, 0.2, 0.2, 0.0)}
    table = baselines.rankings(gains(rows(same, spread=0.1))).set_index("method")
    assert set(table.loc[["df-cam", "df-rise", "lime"], "rank"]) == {"=1"}


def test_the_rank_correlation_is_scipys_within_each_prompt() -> None:
    gained = gains(rows(TURNED, spread=0.1))
    (row,) = baselines.compared(gained).to_dict("records")
    wide = gained.pivot(index=["baseline", "prompt_id"], columns="method", values="gain")
    within = [
        stats.spearmanr(wide.loc["zero", p], wide.loc["re-noised", p]).statistic
        for p in range(PROMPTS)
    ]
    low, high = stats.ttest_1samp(within, 0).confidence_interval(0.95)
    assert row["rho"] == pytest.approx(np.mean(within))
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    means = wide.groupby("baseline").mean()
    assert row["of_means"] == pytest.approx(
        stats.spearmanr(means.loc["zero"], means.loc["re-noised"]).statistic
    )


def sentence(table: pd.DataFrame) -> str:
    return baselines.dependence(baselines.compared(gains(table)).iloc[0], str.upper)


def test_a_ranking_that_depends_on_the_baseline_is_said_with_the_tools() -> None:
    said = sentence(rows(TURNED))
    assert "depends on the baseline" in said and "DF-CAM and LIME" in said
    assert "RANDOM" not in said  # last under both


def test_the_same_ranking_and_a_noisy_one_do_not_depend_on_it() -> None:
    for table in (rows(ALIKE), rows(TURNED, spread=2.0)):
        assert "no two tools are separably in opposite order" in sentence(table)


def test_few_prompts_decide_nothing() -> None:
    assert "too few prompts" in sentence(rows(TURNED, prompts=4))


def test_two_tools_and_equal_tools_have_no_rank_correlation() -> None:
    table = rows(ALIKE)
    two = baselines.compared(gains(table[table["method"].isin(["lime", "random"])])).iloc[0]
    assert np.isnan(two["rho"]) and np.isnan(two["of_means"])
    equal = baselines.compared(gains(rows({"zero": (0.1,) * 4, "re-noised": (0.1,) * 4}, spread=0)))
    assert equal["rho"].isna().all()


def test_one_baseline_is_compared_with_nothing() -> None:
    assert baselines.compared(gains(rows({"zero": ALIKE["zero"]}))).empty
    assert baselines.rankings(gains(rows(ALIKE))[:0]).empty
