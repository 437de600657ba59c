"""ConceptAttention over a prompt set: named less unnamed, the prompt as the unit; two tools on known scenes, paired."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import concept_shares, trust
from app.figures.concept_attention import named_concepts
from app.figures.source import Choice, open_study


@pytest.fixture(scope="module")
def view(results):
    return open_study(str(results), Choice())


def test_named_less_unnamed_is_the_mean_over_prompts(view):
    """FakeWorker gives named concepts 0 to 0.1 more, and 0.2 more towards the end."""
    assert concept_shares.groups(view.ask_scope) == ["all", "up"]
    table = concept_shares.by_family(view.ask_scope)
    assert np.allclose(table["mean"], table["named"] - table["unnamed"], atol=1e-6)
    ends = table.groupby(["model_id", "family"])["mean"].agg(["first", "last"])
    assert (ends["last"] - ends["first"]).to_numpy() == pytest.approx(0.2, abs=1e-5)
    assert ends["first"].between(0, 0.1).all()
    rows = table[table["prompts"] > 1]
    half = stats.t.ppf(0.975, rows["prompts"] - 1) * rows["sd"] / np.sqrt(rows["prompts"])
    assert np.allclose(rows["high"] - rows["mean"], half, atol=1e-6)


def test_the_figure_has_the_numbers_of_the_page(view):
    figure = named_concepts(view)
    table = concept_shares.by_family(view.ask_scope)
    assert figure.data["mean"].tolist() == table["mean"].tolist()
    assert "95 % t interval" in figure.caption and figure.table is not None
    assert len(figure.table) == len(table[["model_id", "family"]].drop_duplicates())


def localised(method, gains, *, of_word=True):
    """Rows of localisation.sql: a gain per scene, the same at two steps."""
    return pd.DataFrame(
        [
            {"model_id": 1, "method": method, "of_word": of_word, "step": step, "scene": scene,
             "average_precision": 0.2 + gain, "gain": gain, "pointing": 1.0, "iou": 0.5, "chance": 0.2}
            for step in (3, 10) for scene, gain in enumerate(gains)
        ]
    )  # fmt: skip


def test_two_tools_are_paired_by_scene():
    gains = [0.4, 0.41, 0.42, 0.43, 0.44, 0.45]
    more = [0.05, 0.06, 0.07, 0.05, 0.06, 0.07]
    other = localised("attention", gains)
    first = localised("concept-attention", list(np.add(gains, more)))
    rows = trust.of_scenes(pd.concat([first, other, localised("df-cam", gains, of_word=False)]))
    (row,) = trust.against(rows, "concept-attention", "attention").to_dict("records")
    test = stats.ttest_1samp(more, 0)
    low, high = test.confidence_interval(0.95)
    assert (row["n"], row["mean"]) == (6, pytest.approx(np.mean(more)))
    assert (row["low"], row["high"], row["p"]) == pytest.approx((low, high, test.pvalue))
    assert row["verdict"] == "separable"
    assert trust.against(trust.of_scenes(other), "concept-attention", "attention").empty
