"""Whether the scorers of a study agree: on which model is better, and on which prompts came out well. No Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from scipy import stats

from app.analysis import comparison, uncertainty

AGREE, CONTRADICT, UNDECIDED = "agree", "contradict each other", "do not all decide"


def verdicts(
    scores: Mapping[str, pd.DataFrame], baseline: int, candidates: Sequence[int]
) -> pd.DataFrame:
    """What each scorer says of each candidate against the baseline, over the prompts that both have done.

    Args:
        scores: per scorer the rows of scores.sql, of all models shown.
        baseline: model_id.
        candidates: model_id of those to report; the correction is over all pairs of the scorer's models.

    Returns:
        model_id, scorer; difference, low, high: candidate minus baseline with its t interval; p, and q corrected by Holm;
        verdict: better, worse, not separable or too few prompts; prompts.
    """
    names = ["model_id", "scorer", "difference", "low", "high", "p", "q", "verdict", "prompts"]
    parts = [
        comparison.score_tests(rows, baseline).assign(scorer=scorer)
        for scorer, rows in scores.items()
    ]
    table = pd.concat([part for part in parts if len(part)] or [parts[0]])
    table = table[table["model_id"].isin(candidates)].assign(verdict=lambda rows: rows["said"])
    order = {model: number for number, model in enumerate(candidates)}
    table = table.sort_values("model_id", key=lambda ids: ids.map(order), kind="stable")
    return table[names].astype({"model_id": int}).reset_index(drop=True)


def summary(table: pd.DataFrame) -> dict[int, str]:
    """Per candidate of `verdicts` whether its scorers agree: AGREE, CONTRADICT, or UNDECIDED where some cannot tell."""
    groups = table.groupby("model_id", sort=False)["verdict"]
    return {int(str(candidate)): _agreement(set(verdicts_)) for candidate, verdicts_ in groups}


def _agreement(said: set[str]) -> str:
    if {"better", "worse"} <= said:
        return CONTRADICT
    return AGREE if len(said) == 1 and said != {uncertainty.TOO_FEW} else UNDECIDED


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
    for scorer, other in further:
        both = primary.merge(other, on=["model_id", "prompt_id"], suffixes=("_first", ""))
        for model, pair in both.groupby("model_id"):
            rows.append((int(str(model)), scorer, _spearman(pair), len(pair)))
    table = pd.DataFrame(rows, columns=["model_id", "scorer", "spearman", "prompts"])
    table = table.astype({"model_id": int})
    return uncertainty.correlation_limits(table, "spearman", "prompts")


def _spearman(pair: pd.DataFrame) -> float:
    if len(pair) < 3 or pair["score"].nunique() < 2 or pair["score_first"].nunique() < 2:
        return float("nan")
    return float(stats.spearmanr(pair["score_first"], pair["score"]).statistic)
