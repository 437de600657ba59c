"""Whether the scorers of a study agree: on which model is better, and on which prompts came out well. No Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import uncertainty
from scipy import stats

AGREE, CONTRADICT, UNDECIDED = "agree", "contradict each other", "do not all decide"


def verdicts(
    scores: Mapping[str, pd.DataFrame], baseline: int, candidates: Sequence[int]
) -> pd.DataFrame:
    """What each scorer says of each candidate against the baseline, over the prompts that both have done.

    Args:
        scores: per scorer the rows of scores.sql.
        baseline: model_id.
        candidates: model_id of the others.

    Returns:
        model_id, scorer; difference, low, high: candidate minus baseline, mean and 95 % percentile bootstrap; p: Wilcoxon,
        corrected by Holm over the table; verdict: better, worse or not separable; prompts.
    """
    rows = []
    for candidate in candidates:
        for scorer, own in scores.items():
            wide = own.pivot(index="prompt_id", columns="model_id", values="score")
            if {baseline, candidate} <= set(wide.columns):
                found = uncertainty.compare(wide[baseline], wide[candidate])
                gap = found.difference
                rows.append((candidate, scorer, gap.estimate, gap.low, gap.high, found.p, gap.n))
    names = ["model_id", "scorer", "difference", "low", "high", "p", "prompts"]
    table = pd.DataFrame(rows, columns=names).astype({"model_id": int})
    table["p"] = uncertainty.holm(table["p"])
    sure = ((table["low"] > 0) | (table["high"] < 0)) & (table["p"] < 0.05)
    better = np.where(table["difference"] > 0, "better", "worse")
    return table.assign(verdict=np.where(sure, better, "not separable"))


def summary(table: pd.DataFrame) -> dict[int, str]:
    """Per candidate of `verdicts` whether its scorers agree: AGREE, CONTRADICT, or UNDECIDED where some can't tell."""
    found = {}
    for candidate, own in table.groupby("model_id", sort=False)["verdict"]:
        said = set(own)
        found[int(str(candidate))] = (
            CONTRADICT if {"better", "worse"} <= said else AGREE if len(said) == 1 else UNDECIDED
        )
    return found


def rank_correlations(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How alike the further scorers order a model's prompts to the first one's order.

    Args:
        scores: per scorer the rows of scores.sql, the primary one's first.

    Returns:
        model_id, scorer, spearman (-1 to 1; NaN for fewer than 3 prompts or a constant score), prompts; low and high: 95 %
        by Fisher's z.
    """
    (_, primary), *further = scores.items()
    rows = []
    for scorer, own in further:
        both = primary.merge(own, on=["model_id", "prompt_id"], suffixes=("_first", ""))
        for model, pair in both.groupby("model_id"):
            rows.append((int(str(model)), scorer, _spearman(pair), len(pair)))
    table = pd.DataFrame(rows, columns=["model_id", "scorer", "spearman", "prompts"])
    table = table.astype({"model_id": int})
    return uncertainty.correlation_limits(table, "spearman", "prompts")


def _spearman(pair: pd.DataFrame) -> float:
    if len(pair) < 3 or pair["score"].nunique() < 2 or pair["score_first"].nunique() < 2:
        return float("nan")
    return float(stats.spearmanr(pair["score_first"], pair["score"]).statistic)
