"""What an entry costs: planted entries on, off and beside the Pareto front; old results; one CSV on page and figure."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import stepscope
from app.analysis import uncertainty, variants
from app.analysis.variants import DOMINATED, FRONT, NOT_JUDGED, SAME_MEMORY, UNDECIDED
from app.figures import export
from app.figures.kinds import KINDS
from app.figures.source import Choice, Figure, FigureError, FigureStudy, open_study
from tests.support.downloads import Downloads
from tests.support.pages import Open
from tests.support.variants import WITH_DISTANCES

FIGURE = f"{KINDS['variants'].group}: {KINDS['variants'].title}"


def verdicts(
    seconds: list[float],
    score: list[float],
    memory: list[float] | None = None,
    sure: list[tuple[int, int]] | None = None,
) -> list[str]:
    """Verdicts of entries by loss; `sure`: pairs of which the first is separably better than the second."""
    separable = np.zeros((len(seconds), len(seconds)), dtype=bool)
    for better, worse in sure or ():
        separable[worse, better] = True
    criteria = {"seconds": np.array(seconds), "score": np.array(score)}
    if memory:
        criteria["memory"] = np.array(memory)
    return variants.pareto(criteria, separable)[0]


def test_a_planted_entry_is_dominated() -> None:
    """The second is slower and worse; the third is faster and worse, which is a trade."""
    sure = [(0, 1), (2, 1), (2, 0), (0, 2)]
    assert verdicts([1, 2, 0.5], [1, 2, 1.5], sure=sure) == [FRONT, DOMINATED, FRONT]


def test_slower_but_not_separably_worse_is_not_dominated() -> None:
    assert verdicts([1, 1.1], [1, 1]) == [UNDECIDED, UNDECIDED]
    assert verdicts([1, 1.1], [1, 1], sure=[(0, 1)]) == [FRONT, DOMINATED]


def test_a_separable_gain_in_one_criterion_does_not_hide_a_loss_in_another() -> None:
    """The first is separably faster; the second has the better estimate of the score, separably or not."""
    assert verdicts([1, 2], [1.01, 1], sure=[(0, 1)]) == [FRONT, UNDECIDED]
    assert verdicts([1, 2], [1.01, 1], sure=[(0, 1), (1, 0)]) == [FRONT, FRONT]


def test_memory_saves_an_entry_and_alone_dominates_none() -> None:
    sure = [(0, 1)]
    assert verdicts([1, 2], [1, 2], [10, 5], sure) == [FRONT, FRONT]
    assert verdicts([1, 1], [1, 1], [5, 10]) == [FRONT, UNDECIDED]
    nearly = 10 * (1 - SAME_MEMORY / 2)
    assert verdicts([1, 2], [1, 2], [10, nearly], sure) == [FRONT, DOMINATED], "less than varies"


def test_one_entry_is_its_own_front() -> None:
    assert verdicts([1], [1]) == [FRONT] and variants.pareto({}, np.zeros((0, 0), bool)) == ([], [])


def costs(folder: Path, choice: Choice | None = None, **arguments: Any) -> pd.DataFrame:
    study = open_study(str(folder), choice or Choice())
    return variants.costs(study, **arguments).set_index("model_id")


def by_hand(folder: Path, statement: str) -> dict[int, float]:
    with duckdb.connect(str(next((folder / "snapshots").glob("*.duckdb"))), read_only=True) as db:
        return dict(db.execute(statement).fetchall())


def test_every_number_is_that_of_the_tables(altered: Callable[..., Path]) -> None:
    folder = altered(*WITH_DISTANCES)
    table = costs(folder, axis="step")
    memory = by_hand(
        folder, "SELECT model_id, max(peak_memory) / 1073741824 FROM sample GROUP BY 1"
    )
    seconds = by_hand(folder, "SELECT model_id, avg(seconds) FROM sample GROUP BY 1")
    score = by_hand(folder, "SELECT model_id, avg(clip_score) FROM sample GROUP BY 1")
    assert table["memory_gb"].to_dict() == pytest.approx(memory, rel=1e-8)
    assert table["seconds"].to_dict() == pytest.approx(seconds, rel=1e-6)
    assert table["score"].to_dict() == pytest.approx(score, rel=1e-6)
    assert table["distance"].tolist() == pytest.approx([np.nan, 0.85, 0.92], nan_ok=True)
    assert table["parts"].tolist() == pytest.approx([np.nan, 6, 5.5], nan_ok=True)
    assert table["reference"].tolist() == [True, False, False]
    assert table["verdict"].tolist() == [FRONT, DOMINATED, UNDECIDED]
    assert table["dominated_by"].tolist() == ["", "UNet", ""]
    texts = variants.parts_texts(table.reset_index())
    assert (
        texts[0] == "reference"
        and texts[1] == "6.000 [6.000, 6.000]"
        and str(texts[2]).startswith("5.5 [")
    )


def test_images_of_one_batch_are_one_measurement(altered: Callable[..., Path]) -> None:
    """Batches of 8 prompts: 3 measurements of time, too few for a verdict by speed, however many prompts share them."""
    shared = "UPDATE sample SET seconds = model_id + 0.001 * ((prompt_id - 1) // 8) * (1 + model_id), clip_score = 0.25"
    table = costs(altered(shared))
    assert table["batches"].tolist() == [3, 3, 3]
    interval = uncertainty.t_interval([1.0, 1.002, 1.004])
    assert table.loc[1, ["seconds", "seconds_low", "seconds_high"]].tolist() == pytest.approx([interval.estimate, interval.low, interval.high])  # fmt: skip
    assert DOMINATED not in set(table["verdict"])
    assert "fewer than 6 batches (here 3) decide nothing" in variants.front_text(table)
    alone = shared.replace("(prompt_id - 1) // 8", "(prompt_id - 1)")
    assert costs(altered(alone)).loc[2, "verdict"] == DOMINATED


SAME_SCORE = "UPDATE sample SET clip_score = 0.25"


def test_a_slower_entry_is_dominated_once_that_is_separable(altered: Callable[..., Path]) -> None:
    """Model 2 is slower by 0.01 s a batch on average: within the noise it is undecided, without it dominated."""
    noise = "((prompt_id * 7919) % 24 - 11.5) / 23"
    slower = "UPDATE sample SET seconds = 1 + CASE WHEN model_id = 2 THEN 0.01 ELSE 0 END + {} WHERE model_id < 3"
    unsure = slower.format(f"CASE WHEN model_id = 2 THEN {noise} ELSE 0.001 * prompt_id END")
    assert costs(altered(SAME_SCORE, unsure)).loc[2, "verdict"] == UNDECIDED
    sure = slower.format("0.001 * prompt_id + CASE WHEN model_id = 2 THEN 0.0001 * (prompt_id % 5) ELSE 0 END")  # fmt: skip
    table = costs(altered(SAME_SCORE, sure))
    assert table.loc[2, ["verdict", "dominated_by"]].tolist() == [DOMINATED, "UNet"]


def test_results_of_older_versions_have_no_memory(altered: Callable[..., Path]) -> None:
    """NULL in the database, not 0: the front is over the rest, and says so."""
    table = costs(altered("UPDATE sample SET peak_memory = NULL, memory_kind = NULL"))
    assert table["memory_gb"].isna().all() and set(table["memory_kind"]) == {""}
    assert not variants.compares_memory(table) and variants.memory_text(table) == ""
    assert "not recorded for every entry" in variants.front_text(table)
    assert table["verdict"].tolist() == [UNDECIDED, DOMINATED, UNDECIDED]


def test_peaks_that_count_differently_are_not_compared(altered: Callable[..., Path]) -> None:
    """Model 3 needs three times the memory of model 1, resident; model 2 counts its tensors alone."""
    folder = altered(
        "UPDATE sample SET memory_kind = 'allocator', peak_memory = 1000 WHERE model_id = 2"
    )
    table = costs(folder)
    assert not variants.compares_memory(table)
    assert "counted it differently" in variants.front_text(table)
    mixed = costs(
        altered("UPDATE sample SET memory_kind = 'lifetime' WHERE model_id = 1 AND seed = 1")
    )
    assert mixed.loc[1, "memory_kind"] == "lifetime, process" and not variants.compares_memory(
        mixed
    )


def test_entries_whose_images_exist_cost_nothing_here(altered: Callable[..., Path]) -> None:
    assert costs(
        altered("UPDATE model SET family = 'images' WHERE model_id = 2")
    ).index.tolist() == [1, 3]


def test_by_a_distance_as_the_score_the_reference_is_not_judged(
    altered: Callable[..., Path],
) -> None:
    table = costs(altered(*WITH_DISTANCES), Choice(metric="x0-ssim"))
    assert table["verdict"].tolist()[0] == NOT_JUDGED and table["score"].isna().tolist() == [
        True,
        False,
        False,
    ]
    assert table["seconds"].notna().all()


def test_python_gives_the_figures_numbers(altered: Callable[..., Path]) -> None:
    folder = altered(*WITH_DISTANCES)
    with stepscope.open(folder) as study:
        table = study.costs(threshold=0.995, axis="step")
        with pytest.raises(stepscope.StudyError, match="^distance: 'dino' is not in this study"):
            study.costs(distance="dino")
    figure = figure_of(folder, threshold=0.995, axis="step")
    pd.testing.assert_frame_equal(table.drop(columns="model_id"), figure.data)


def test_without_a_sample_there_is_no_row(nothing_yet: Path, failed_only: Path) -> None:
    assert costs(nothing_yet).empty and costs(failed_only).empty


@pytest.mark.parametrize("changes", [(), WITH_DISTANCES], ids=["plain", "distances"])
def test_the_pages_csv_is_the_figures(
    altered: Callable[..., Path],
    changes: tuple[str, ...],
    open_view: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every column of every row, not only some."""
    folder, downloads = altered(*changes), Downloads(monkeypatch)
    assert not open_view("models", folder).exception
    page = downloads.table("costs")
    figure = KINDS["variants"].build(open_study(str(folder), Choice()))
    printed = pd.read_csv(io.BytesIO(export.csv(figure.data)))
    pd.testing.assert_frame_equal(page, printed, rtol=1e-6)
    assert len(page) == 3 and ("parts" in page and page["parts"].notna().any()) == bool(changes)


def test_a_threshold_of_the_link_is_the_figures(
    altered: Callable[..., Path], open_view: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, downloads = altered(*WITH_DISTANCES), Downloads(monkeypatch)
    assert not open_view("models", folder, parts_at_ssim="0.995", axis="Step").exception
    page = downloads.table("costs")
    figure = figure_of(folder, threshold=0.995, axis="step")
    printed = pd.read_csv(io.BytesIO(export.csv(figure.data)))
    assert page["said"].tolist()[1:] == ["from the start"] * 2
    pd.testing.assert_frame_equal(page, printed, rtol=1e-6)
    assert "stays below 0.995" in figure.caption


def figure_of(folder: Path, **choice: Any) -> Figure:
    return KINDS["variants"].build(open_study(str(folder), Choice(**choice)))


def test_a_figures_caption_names_what_is_drawn(altered: Callable[..., Path]) -> None:
    plain = figure_of(altered())
    assert "hollow: dominated" in plain.caption and "Table: distance" not in plain.caption
    assert "Distance" not in plain.table and "Parts at" not in plain.table
    planted = figure_of(altered(*WITH_DISTANCES))
    assert (
        "Table: distance to UNet" in planted.caption
        and planted.table["Parts at"].iloc[0] == "reference"
    )
    even = figure_of(altered("UPDATE sample SET clip_score = 0.25 + 0.001 * prompt_id, seconds = 1 + 0.001 * prompt_id, peak_memory = NULL"))  # fmt: skip
    assert (
        "hollow" not in even.caption
        and "area" not in even.caption
        and "Memory, GB" not in even.table
    )


def test_a_distance_that_the_study_lacks_is_refused(altered: Callable[..., Path]) -> None:
    with pytest.raises(
        FigureError, match="--distance: 'lpips' is not in this study. Allowed: x0-ssim"
    ):
        figure_of(altered(*WITH_DISTANCES), distance="lpips")


def test_fewer_prompts_than_six_dominate_nothing(results: Path) -> None:
    study: FigureStudy = open_study(str(results), Choice())
    few = replace(study, scope=replace(study.scope, prompts=(1, 2, 3, 4, 5)))
    assert DOMINATED not in set(variants.costs(few)["verdict"])


@pytest.mark.parametrize(("threshold", "said"), [("0.995", "from the start"), ("inf", "parts")])
def test_the_page_of_figures_takes_a_threshold(
    altered: Callable[..., Path],
    open_view: Open,
    monkeypatch: pytest.MonkeyPatch,
    threshold: str,
    said: str,
) -> None:
    """One that no number can be is that of the distance's kind."""
    folder, downloads = altered(*WITH_DISTANCES), Downloads(monkeypatch)
    app = open_view("figures", folder, figure=FIGURE, figure_threshold=threshold)
    assert not app.exception
    assert downloads.table("numbers")["said"].tolist()[1:] == [said, said]
