"""Scores of other programs wherever the CLIP score can be chosen: the same functions, in their own direction."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import stepscope
from app.analysis import comparison, measures, reviews, slices
from app.figures import export
from app.figures.source import Choice, FigureError, open_study
from pipeline.cli.main import main
from stepscope.errors import StudyError
from tests.support.downloads import Downloads
from tests.support.pages import Open, charts_of, open_view, shown

__all__ = ["open_view"]
SOURCE, PREPARED = "defects 2.1", "384 px, bilinear"


@pytest.fixture(scope="module")
def rated(study_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 2 models, 6 prompts and 2 seeds with a score per image, lower is better, and one per prompt."""
    folder = study_folder("rated", models=2, prompts=6, seeds=2, steps=4)
    with stepscope.open(folder) as study:
        rows = study.sql(
            "SELECT sample_id, model_id, prompt_id, seed FROM sample ORDER BY sample_id"
        )
        texts = study.prompts.set_index("prompt_id")["text"]
        names = study.models.set_index("model_id")["name"]
    noise = np.random.default_rng(0).normal(0, 0.1, len(rows))
    files = tmp_path_factory.mktemp("scores")
    rows.assign(value=rows["prompt_id"] + 2.0 * rows["model_id"] + noise)[
        ["sample_id", "value"]
    ].to_csv(files / "defects.csv", index=False)
    prompts = rows[rows["seed"] == 0]
    pd.DataFrame(
        {
            "model": prompts["model_id"].map(names),
            "prompt": prompts["prompt_id"].map(texts),
            "value": prompts["prompt_id"] / 8,
        }
    ).to_json(files / "vqa.jsonl", orient="records", lines=True)
    add = ["scores", "add", str(folder)]
    assert main([*add, str(files / "defects.csv"), "--metric", "defects", "--title", "Defects", "--lower-is-better",
                 "--source", SOURCE, "--preprocessing", PREPARED]) == 0  # fmt: skip
    assert (
        main(
            [
                *add,
                str(files / "vqa.jsonl"),
                "--metric",
                "vqa",
                "--source",
                "VQAScore",
                "--range",
                "0",
                "1",
            ]
        )
        == 0
    )
    assert main(["publish", str(folder)]) == 0
    return folder


def by_hand(rated: Path) -> pd.DataFrame:
    """Prompt x model means of the score per image, of the table itself."""
    with stepscope.open(rated) as study:
        rows = study.sql("SELECT model_id, prompt_id, value FROM score WHERE metric_id = 1")
    return rows.groupby(["prompt_id", "model_id"])["value"].mean().unstack()


def test_the_list_has_every_score_with_its_direction_and_source(rated: Path) -> None:
    listed = measures.every_score(open_study(str(rated), Choice()))
    assert [(m.metric, m.title, m.better, m.level) for m in listed] == [
        ("", "CLIP score", "higher", "image"), ("defects", "Defects", "lower", "image"), ("vqa", "vqa", "higher", "prompt"),
    ]  # fmt: skip
    assert listed[1].credit == f"Defects: {SOURCE}; preprocessing: {PREPARED}."
    assert listed[2].credit == "vqa: VQAScore; preprocessing: not stated."


def test_ranks_and_tests_are_in_the_scores_own_direction(rated: Path) -> None:
    view = open_study(str(rated), Choice(metric="defects"))
    truth = by_hand(rated)
    table = comparison.ranking(view)
    assert table["model_id"].tolist() == [1, 2] and table["rank"].tolist() == ["1", "2"]
    assert table["mean"].tolist() == pytest.approx(truth.mean().tolist())
    best = comparison.clearest(view).iloc[0]
    assert (best["better"], best["worse"]) == (1, 2) and best["win_rate"] == 1
    test = stats.ttest_rel(truth[2], truth[1])
    assert (best["difference"], best["p"]) == pytest.approx(
        ((truth[2] - truth[1]).mean(), test.pvalue)
    )
    row = comparison.what_differs(view, 1).iloc[0]
    assert (row["measure"], row["said"], row["better"], row["win_rate"]) == (
        "Defects",
        "worse",
        "lower",
        0,
    )


def test_every_score_is_a_question_of_its_own(rated: Path) -> None:
    """Whatever score is chosen, each has the same p."""
    tables = [
        comparison.what_differs(open_study(str(rated), Choice(metric=name)), 1).set_index("measure")
        for name in ("", "defects", "vqa")
    ]
    for title in ("CLIP score", "Defects", "vqa"):
        assert len({float(table.loc[title, "q"]) for table in tables}) == 1
    assert [table.index[0] for table in tables] == ["CLIP score", "Defects", "vqa"]


def test_a_review_takes_any_score(rated: Path) -> None:
    measured = reviews.measures(open_study(str(rated), Choice()), (1, 2))
    assert {"CLIP score", "Defects", "vqa"} <= set(measured)
    verdict = reviews.judge(
        reviews.Criterion("Defects", measured["Defects"].better, 0.5), measured, (1, 2)
    )
    assert verdict.verdict == reviews.FAIL and SOURCE in verdict.why
    better = reviews.judge(reviews.Criterion("Defects", "lower", 3.0), measured, (1, 2))
    assert better.verdict == reviews.PASS


def test_slices_rank_prompts_by_any_score(rated: Path) -> None:
    tokens = ("by=score:defects", "top=2", "order=Lowest")
    view = open_study(str(rated), Choice(slice=tokens))
    truth = by_hand(rated).mean(axis=1).sort_values()
    assert list(view.scope.prompts or ()) == sorted(truth.index[:2])
    assert "2 lowest by defects" in view.slice_sentence
    state = slices.parsed(tokens)
    assert slices.tokens(state) == ("by=score:defects", "order=Lowest", "top=2")
    with pytest.raises(ValueError, match="none of"):
        slices.parsed(["by=score:../x"])


def test_the_python_interface_and_the_figures_take_it(rated: Path) -> None:
    with stepscope.open(rated) as study:
        assert study.metrics["metric"].tolist() == ["", "defects", "vqa"]
        scores = study.scores(metric="defects")
        assert scores["mean"].tolist() == pytest.approx(by_hand(rated).mean().tolist())
        by_prompt = study.scores(metric="vqa", by="prompt")
        assert by_prompt["score"].tolist() == pytest.approx((by_prompt["prompt_id"] / 8).tolist())
        assert study.images(metric="defects").table["score"].notna().all()
        with pytest.raises(StudyError, match=r"'hps' is not in this study. Allowed: defects, vqa"):
            study.scores(metric="hps")
    with pytest.raises(FigureError, match="hps"):
        open_study(str(rated), Choice(metric="hps"))
    view = open_study(str(rated), Choice(metric="defects"))
    figure = export.KINDS["scores"].build(view)
    assert figure.data["mean"].tolist() == pytest.approx(by_hand(rated).mean().tolist(), rel=1e-8)
    for kind in ("scores", "paired-differences"):
        caption = export.KINDS[kind].build(view).caption
        assert SOURCE in caption and PREPARED in caption


def test_a_page_shows_the_score_its_scorer_and_its_preprocessing(
    rated: Path, open_view: Open
) -> None:
    app = open_view("models", rated, metric="Defects")
    assert not app.exception
    text = shown(app).replace("\\", "")
    assert SOURCE in text and PREPARED in text
    assert "Defects" in str(charts_of(app))
    ranks = next(t.value for t in app.dataframe if "rank" in t.value)
    assert ranks["mean"].tolist() == pytest.approx(by_hand(rated).mean().tolist())
    card = app.metric[0]
    assert "worse" in card.delta and card.proto.color != 1


def test_without_added_scores_there_is_no_choice(one_model: Path, open_view: Open) -> None:
    app = open_view("overview", one_model)
    assert not app.exception and "Score" not in [box.label for box in app.selectbox]


def test_a_score_per_step_is_drawn_over_the_steps(
    study_folder: Callable[..., Path],
    tmp_path: Path,
    open_view: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Means over prompts of values that are known: step + prompt, and 10 more for the second seed."""
    folder = Path(shutil.copytree(study_folder("stepwise", models=2, prompts=6, seeds=2, steps=4), tmp_path / "study"))  # fmt: skip
    with stepscope.open(folder) as study:
        rows = study.sql("SELECT sample_id, prompt_id, seed FROM sample WHERE model_id = 1")
    rows = rows.merge(pd.DataFrame({"step": [0, 2, 3]}), how="cross")
    second = rows["seed"] == rows["seed"].max()
    rows = rows.assign(value=rows["step"] + rows["prompt_id"] + 10.0 * second)
    rows[["sample_id", "step", "value"]].to_csv(tmp_path / "steps.csv", index=False)
    assert main(["scores", "add", str(folder), str(tmp_path / "steps.csv"), "--metric", "stepwise", "--source", "x 1"]) == 0  # fmt: skip
    assert main(["publish", str(folder)]) == 0
    downloads = Downloads(monkeypatch)
    app = open_view("timesteps", folder)
    assert not app.exception and "stepwise over the steps" in shown(app)
    table = downloads.table("score_steps0")
    assert table["step"].tolist() == [0, 2, 3] and (table["prompts"] == 6).all()
    mean = rows["prompt_id"].mean() + 5 + table["step"]
    half = stats.t.ppf(0.975, 5) * np.sqrt(35 / 10) / np.sqrt(6)
    np.testing.assert_allclose(table["mean"], mean)
    np.testing.assert_allclose(table["high"] - table["low"], 2 * half)
    open_view("timesteps", folder, seeds=[str(int(rows["seed"].min()))])
