"""Localisation and randomisation: words apart from whole images, the scene as the unit, verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import trust

SHUFFLED = pd.DataFrame(
    {
        "model_id": 1,
        "method": ["df-cam", "df-cam", "random", "random", "lime", "copy"],
        "layers": ["up", "all", "up", "all", "all", "all"],
        "share": [0.5, 1.0, 0.5, 1.0, 1.0, 1.0],
        "spearman": [0.9, 0.1, 1.0, 1.0, 0.4, 0.6],
        "sd": [0.1, 0.1, 0.0, 0.0, 0.2, 0.1],
        "samples": 4,
    }
)


def localised(method: str, gains: list[float], *, of_word: bool = False) -> pd.DataFrame:
    """Rows of localisation.sql: a gain per scene, the same at two steps."""
    return pd.DataFrame(
        [
            {"model_id": 1, "method": method, "of_word": of_word, "step": step, "scene": scene,
             "average_precision": 0.2 + gain, "gain": gain, "pointing": 1.0, "iou": 0.5, "chance": 0.2}
            for step in (3, 10) for scene, gain in enumerate(gains)
        ]
    )  # fmt: skip


def summary(*parts: pd.DataFrame, shuffled: pd.DataFrame = SHUFFLED) -> pd.DataFrame:
    gains = trust.of_scenes(pd.concat(parts))

    def ask(name: str) -> pd.DataFrame:
        return shuffled

    return trust.summary(gains, trust.randomisation(ask)).set_index("method")


FOUND = [0.4, 0.41, 0.42, 0.43, 0.44, 0.45]


def test_a_tool_that_finds_the_objects_is_better_than_random() -> None:
    table = summary(
        localised("df-cam", FOUND), localised("random", [0.1, -0.1, 0.02, -0.02, 0.0, 0.01])
    )
    assert table.loc["df-cam", "verdict"] == "better than random"
    assert table.loc["random", "verdict"] == "not separable"
    assert table.loc["df-cam", "scenes"] == 6  # the scene is the unit, not scene x step
    low, high = stats.ttest_1samp(FOUND, 0).confidence_interval(0.95)
    assert table.loc["df-cam", ["low", "high"]].tolist() == pytest.approx([low, high])
    assert summary(localised("df-cam", FOUND[:5])).loc["df-cam", "verdict"] == "too few scenes"


def test_maps_of_words_and_maps_of_the_whole_image_are_not_averaged_together() -> None:
    """As figure_trust.sql did: a tool with both kinds of maps is judged by its maps of words alone."""
    words = localised("attention", FOUND, of_word=True)
    whole = localised("attention", [-0.1] * 6)
    table = summary(words, whole, localised("df-cam", FOUND))
    assert table.loc["attention", "gain"] == pytest.approx(np.mean(FOUND))
    assert table.loc["attention", "of_word"] and not table.loc["df-cam", "of_word"]


def test_a_map_depends_on_the_weights_where_it_changes_more_than_that_of_the_copy() -> None:
    table = summary(localised("df-cam", FOUND))
    assert table.loc["df-cam", "depends"] == "yes"
    assert table.loc["random", "depends"].startswith("no: the map survives")
    # below the copy's mean, and below 0.5, but its interval is not
    assert table.loc["lime", "depends"] == "not separable from the copy"
    without = SHUFFLED[SHUFFLED["method"] != "copy"]
    table = summary(localised("df-cam", FOUND), shuffled=without)
    assert set(table["depends"]) == {"not known"}
    assert table.loc["df-cam", "kept"] == 0.1  # where most weights are shuffled


def test_the_trained_model_stands_at_the_left_of_the_shuffled_ones() -> None:
    table = trust.from_trained(trust.randomisation(lambda name: SHUFFLED))
    left = table[table["share"] == 0]
    assert left["mean"].tolist() == [1.0] * 4 and set(left["method"]) == set(SHUFFLED["method"])


def test_nothing_shuffled_and_nothing_localised() -> None:
    table = summary(localised("df-cam", FOUND), shuffled=SHUFFLED.iloc[:0])
    assert table.loc["df-cam", "depends"] == "not known"
    table = summary(localised("df-cam", FOUND).iloc[:0])
    assert set(table["verdict"]) == {"not known"}


@pytest.mark.parametrize(
    ("verdict", "depends", "believed", "why"),
    [
        ("better than random", "yes", "passes", "finds objects, depends on weights"),
        ("better than random", "no: the map survives randomised weights", "fails", "survives randomised weights"),
        ("worse than random", "yes", "fails", "worse than chance"),
        ("worse than random", "no: the map survives randomised weights", "fails", "worse than chance, survives randomised weights"),
        ("better than random", "not known", "undecided", "finds objects, weights: not known"),
        ("better than random", "not separable from the copy", "undecided", "finds objects, weights: not separable"),
        ("not separable", "yes", "undecided", "objects: not separable, depends on weights"),
        ("too few scenes", "not known", "undecided", "objects: too few scenes, weights: not known"),
        ("not known", "no: the map survives randomised weights", "fails", "survives randomised weights"),
    ],
)  # fmt: skip
def test_a_tool_is_believed_by_both_tests(
    verdict: str, depends: str, believed: str, why: str
) -> None:
    table = pd.DataFrame(
        {"model_id": 1, "method": ["lime", *trust.CONTROLS], "verdict": verdict, "depends": depends}
    )
    row = trust.believed(table)
    assert row["method"].tolist() == ["lime"], "controls are not judged"
    assert row[["believed", "why"]].iloc[0].tolist() == [believed, why]


def test_the_grid_takes_the_words_of_the_summary() -> None:
    """That the words are still those that `summary` says."""
    table = summary(localised("df-cam", FOUND), localised("lime", [-g for g in FOUND]))
    rows = trust.believed(table.reset_index()).set_index("method")["believed"]
    assert rows.to_dict() == {"df-cam": trust.PASSES, "lime": trust.FAILS}
