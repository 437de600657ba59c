"""Insertion and deletion: signs, intervals and verdicts, against scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import faithfulness

KEYS = {"model_id": 1, "step": -1, "method": "df-cam"}


def rows(gains: np.ndarray, score: str = "clip") -> pd.DataFrame:
    """What the snapshot answers, of gains in the area of each prompt, by insertion and by deletion."""
    table = pd.DataFrame([{**KEYS, "game": game} for game in ("insertion", "deletion")])
    sign = np.array([1, -1]) * (1 if score == "clip" else -1)
    return table.assign(
        prompts=len(gains), auc=0.5, auc_sd=0.1, auc_scaled=0.4, auc_random=0.3, auc_inverse=0.2,
        gain=gains.mean() * sign, gain_sd=gains.std(ddof=1), inverse_gain=-0.1 * sign, inverse_gain_sd=0.1,
    )  # fmt: skip


GAINS = np.array([0.21, 0.18, 0.25, 0.2, 0.19, 0.22])


@pytest.mark.parametrize("score", ["clip", "fid"])
def test_gain_is_positive_where_a_tool_beats_a_random_map(score: str) -> None:
    """More area by insertion, less by deletion; a distance reverses both."""
    table = faithfulness.areas(lambda name, **_: rows(GAINS, score), score)
    assert table["gain"].tolist() == pytest.approx([GAINS.mean()] * 2)
    assert table["inverse_gain"].tolist() == pytest.approx([-0.1] * 2)
    assert table["verdict"].tolist() == ["better than random"] * 2


def test_a_gain_has_the_interval_and_the_p_of_the_paired_t_test() -> None:
    first = faithfulness.areas(lambda name, **_: rows(GAINS), "clip").iloc[0]
    test = stats.ttest_1samp(GAINS, 0)
    low, high = test.confidence_interval(0.95)
    assert (first["low"], first["high"]) == pytest.approx((low, high))
    assert first["p"] == pytest.approx(test.pvalue)
    assert first["q"] == pytest.approx(2 * test.pvalue)  # Holm over the two tests


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        (-GAINS, "worse than random"),
        (GAINS - 0.2, "not separable"),
        (GAINS[:5], "too few prompts"),
    ],
)
def test_a_verdict_needs_six_prompts_and_a_corrected_p_below_five_percent(
    gains: np.ndarray, verdict: str
) -> None:
    table = faithfulness.areas(lambda name, **_: rows(gains), "clip")
    assert table["verdict"].tolist() == [verdict] * 2


def test_steps_are_no_part_of_the_family() -> None:
    def ask(name: str, **_: object) -> pd.DataFrame:
        return pd.concat([rows(GAINS), rows(GAINS).assign(step=3)], ignore_index=True)

    table = faithfulness.areas(ask, "clip")
    whole, stepped = table[table["step"] == -1], table[table["step"] == 3]
    assert whole["q"].tolist() == pytest.approx(2 * whole["p"])
    assert stepped["q"].isna().all()
    assert stepped["low"].tolist() == pytest.approx(whole["low"].tolist())


def test_directions() -> None:
    better = faithfulness.higher_is_better
    assert better("insertion", "clip") and not better("deletion", "structure")
    assert better("deletion", "fid") and not better("insertion", "fid")
