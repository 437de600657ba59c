"""Agreement of tools: per step and over all steps, with the prompt as the unit."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from app.analysis import agreement
from app.figures.source import Choice, open_study
from tests.support.database import asked_by_hand


def test_agreement_over_all_steps_averages_within_a_prompt(results: Path, tmp_path: Path) -> None:
    study = open_study(str(results), Choice())
    table = agreement.pairs(study.ask_scope)
    first = table[table["step"] == agreement.ALL_STEPS].iloc[0]
    values = asked_by_hand(
        study.snapshot.path,
        tmp_path,
        "SELECT avg(spearman) AS value FROM agreement WHERE model_id = ? AND method_a = ? AND method_b = ? "
        "GROUP BY prompt_id",
        [int(first["model_id"]), first["method_a"], first["method_b"]],
    )["value"]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert first["prompts"] == len(values)
    assert first["spearman"] == pytest.approx(values.mean(), rel=1e-6)
    assert (first["low"], first["high"]) == pytest.approx((low, high), rel=1e-5)
    assert (table["step"] >= 0).any()
