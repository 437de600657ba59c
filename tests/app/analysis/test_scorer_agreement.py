"""Agreement of scorers: verdicts and rank correlations of scores whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from app.analysis import scorer_agreement
from app.analysis.scorer_agreement import AGREE, CONTRADICT, UNDECIDED


def scores(gap: float, noise: float = 0.01, seed: int = 0, order: int = 1) -> pd.DataFrame:
    """Scores of 40 prompts under two models, the second better by `gap`; `order` -1 turns the prompts round."""
    rng = np.random.default_rng(seed)
    base = np.linspace(0, 1, 40)[::order]
    second = base + gap + rng.normal(0, noise, 40)
    return pd.DataFrame(
        {
            "model_id": np.repeat([1, 2], 40),
            "prompt_id": np.tile(np.arange(40), 2),
            "score": np.concatenate([base, second]),
        }
    )


@pytest.mark.parametrize(
    ("gaps", "word", "said"),
    [
        ((0.1, 0.5), AGREE, ["better", "better"]),
        ((-0.1, 0.1), CONTRADICT, ["worse", "better"]),
        ((0.1, 0.0), UNDECIDED, ["better", "not separable"]),
        ((0.0, 0.0), AGREE, ["not separable", "not separable"]),
    ],
)
def test_verdicts_and_whether_they_agree(gaps, word, said) -> None:
    by_scorer = {f"s{i}": scores(gap, seed=i + 1) for i, gap in enumerate(gaps)}
    table = scorer_agreement.verdicts(by_scorer, 1, [2])
    assert table["verdict"].tolist() == said
    assert np.allclose(table["difference"], gaps, atol=0.01)
    assert ((table["low"] < table["difference"]) & (table["difference"] < table["high"])).all()
    assert scorer_agreement.summary(table) == {2: word}


def test_a_candidate_without_scores_is_left_out() -> None:
    by_scorer = {"a": scores(0.1), "b": scores(0.1)}
    assert scorer_agreement.verdicts(by_scorer, 1, [2, 3])["model_id"].unique().tolist() == [2]
    assert scorer_agreement.verdicts(by_scorer, 3, [2]).empty
    nobody = {"a": scores(0.1), "b": scores(0.1).query("prompt_id < 0")}
    assert scorer_agreement.rank_correlations(nobody).empty
    assert scorer_agreement.verdicts(nobody, 1, [2])["scorer"].tolist() == ["a"]


@pytest.mark.parametrize(("order", "expected"), [(1, 1.0), (-1, -1.0)])
def test_rank_correlation_of_the_same_and_of_the_opposite_order(order, expected) -> None:
    further = scores(0.3, order=order)
    further["score"] = further["score"] ** 3 + 2  # any rising scale: only the order counts
    table = scorer_agreement.rank_correlations({"a": scores(0, 0), "b": further})
    assert table["scorer"].unique().tolist() == ["b"] and table["prompts"].tolist() == [40, 40]
    assert table["spearman"].iloc[0] == pytest.approx(expected)
    assert table["low"].round(3).tolist() == table["high"].round(3).tolist() == [expected] * 2


def test_too_few_prompts_and_constant_scores_have_no_rank_correlation() -> None:
    few = scores(0).query("prompt_id < 2")
    assert scorer_agreement.rank_correlations({"a": few, "b": few})["spearman"].isna().all()
    constant = scores(0).assign(score=0.5)
    assert (
        scorer_agreement.rank_correlations({"a": scores(0), "b": constant})["spearman"].isna().all()
    )
