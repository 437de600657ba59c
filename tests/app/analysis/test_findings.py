"""The findings as sentences: what they say is what the tests say, on tables made by hand and on a published study."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import comparison, findings
from app.figures.source import Choice, FigureStudy, open_study
from app.ui import links
from tests.support.pages import VIEWS, Open, shown


@pytest.fixture
def study(results: Path) -> FigureStudy:
    return open_study(str(results), Choice())


def scored(
    monkeypatch: pytest.MonkeyPatch,
    study: FigureStudy,
    *shifts: float,
    prompts: int = 24,
    noise: float = 0.01,
) -> FigureStudy:
    """The study whose models have scores of the same prompts, each shifted by a constant and noise."""
    rng = np.random.default_rng(1)
    base = rng.normal(0.3, 0.05, prompts)
    parts = [
        pd.DataFrame(
            {
                "model_id": number,
                "prompt_id": np.arange(prompts),
                "category": "",
                "score": base + shift + rng.normal(0, noise, prompts),
                "seeds": 1,
            }
        )
        for number, shift in enumerate(shifts, 1)
    ]
    rows = pd.concat(parts)
    monkeypatch.setattr(comparison, "scores", lambda view, models=None, metric=None: rows)
    kept = replace(study.scope, models=tuple(range(1, len(shifts) + 1)))
    monkeypatch.setattr(comparison, "family_values", lambda *_, **__: [])
    return replace(study, scope=kept)


def first(view: FigureStudy) -> findings.Finding:
    row = findings.findings(view).iloc[0]
    return findings.Finding(**{str(key): value for key, value in row.items()})


def test_the_best_model_is_named_with_the_test_against_the_next(
    monkeypatch: pytest.MonkeyPatch, study: FigureStudy
) -> None:
    view = scored(monkeypatch, study, 0.0, 0.1, 0.05)
    lines = first(view)
    labels = [view.label(i) for i in (1, 2, 3)]
    rows = comparison.scores(view).pivot(index="prompt_id", columns="model_id", values="score")
    gap = rows[2] - rows[3]
    low, high = stats.t.interval(0.95, len(gap) - 1, gap.mean(), stats.sem(gap))
    assert lines.kind == "best" and lines.verdict == "separable"
    assert lines.sentence.startswith(f"{labels[1]} is best by CLIP score")
    assert "all 2 others" in lines.sentence and f"of {labels[2]}, the next," in lines.sentence
    assert findings.interval_text(gap.mean(), low, high) in lines.sentence
    assert lines.filters == {"baseline": labels[1], "candidate": labels[2]}


def test_models_that_no_test_separates_tie(
    monkeypatch: pytest.MonkeyPatch, study: FigureStudy
) -> None:
    lines = first(scored(monkeypatch, study, 0.0, 0.0, 0.0))
    assert lines.kind == "tie" and lines.verdict == "not separable"
    assert lines.sentence.startswith("No model is separably best: all 3 tie")


def test_two_that_tie_ahead_of_a_third(monkeypatch: pytest.MonkeyPatch, study: FigureStudy) -> None:
    view = scored(monkeypatch, study, 0.1, 0.1, 0.0)
    lines = findings.findings(view)
    assert lines["kind"].tolist()[0] == "tie"
    assert "tie for the best CLIP score" in lines["sentence"].iloc[0]
    assert view.label(3) not in lines["sentence"].iloc[0]
    worse = lines[lines["kind"] == "worse"]
    assert len(worse) == 1 and worse["sentence"].iloc[0].startswith(
        f"{view.label(3)} is worse than"
    )


def test_too_few_prompts_are_too_few(monkeypatch: pytest.MonkeyPatch, study: FigureStudy) -> None:
    lines = first(scored(monkeypatch, study, 0.0, 0.2, prompts=4, noise=0.001))
    assert lines.kind == "tie" and lines.verdict == "too few prompts"
    assert "4 shared prompts are too few to decide" in lines.sentence


def test_one_model_has_no_rival(monkeypatch: pytest.MonkeyPatch, study: FigureStudy) -> None:
    lines = first(scored(monkeypatch, study, 0.0))
    assert lines.kind == "one model" and "Only one model is shown" in lines.sentence


@pytest.mark.parametrize("few", [True, False])
def test_failures_are_counted_with_their_reason(
    failed_only: Path, nothing_yet: Path, few: bool
) -> None:
    view = open_study(str(nothing_yet if few else failed_only), Choice())
    lines = findings.findings(view)
    assert lines["kind"].tolist() == ["no sample", "missing" if few else "failed"]
    counts = view.ask_scope("coverage")
    assert f"{int(counts['planned'].sum()):,} samples" in lines["sentence"].iloc[1]
    assert few or "out of memory" in lines["sentence"].iloc[1]


def test_every_finding_leads_to_a_page_with_filters_that_there_are(study: FigureStudy) -> None:
    lines = findings.findings(study)
    known = {*links.FILTERS, "sort"}
    assert set(lines["view"]) <= set(VIEWS)
    assert all(set(each) <= known for each in lines["filters"])
    assert "emerges" in lines["kind"].tolist()


def test_the_digits_follow_the_interval() -> None:
    assert findings.interval_text(0.00091, 0.00002, 0.00214) == "0.0009 [0.0000, 0.0021]"
    assert findings.interval_text(0.39123, 0.31999, 0.47) == "0.39 [0.32, 0.47]"
    assert findings.interval_text(0.5, float("nan"), float("nan")) == "0.500"


def test_the_overview_begins_with_the_answer_and_its_lines_lead_on(
    open_view: Open, results: Path, study: FigureStudy
) -> None:
    lines = findings.findings(study)
    app = open_view("overview", results)
    assert not app.exception
    sentences = [" ".join(each.split()) for each in lines["sentence"]]
    assert app.subheader[0].value.replace("\\", "") == sentences[0]
    said = [button.label.replace("\\", "") for button in app.button]
    for sentence in sentences[1:]:
        assert any(each.endswith(sentence) for each in said), sentence
    app.button(key="finding_0").click().run()
    assert not app.exception and app.session_state["_view"] == lines["view"].iloc[0]
    assert app.session_state["baseline"] == lines["filters"].iloc[0]["baseline"]


def test_labels_and_reasons_stay_text(open_view: Open, hostile: Path) -> None:
    app = open_view("overview", hostile)
    for button in app.button:
        assert not re.search(r"(?<!\\)(<b>|\*\*x|:red\[)", button.label), button.label
    assert "<b>UNet" not in shown(app)


def test_the_ranked_table_is_that_of_the_models_page(
    open_view: Open, results: Path, altered: Callable[..., Path]
) -> None:
    overview = next(
        each.value for each in open_view("overview", results).dataframe if "rank" in each.value
    )
    models = next(
        each.value for each in open_view("models", results).dataframe if "rank" in each.value
    )
    for column in ("rank", "model", "mean"):
        assert overview[column].tolist() == models[column].tolist()
