"""Saved measures of sets of images on Models, and the same rows in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

import stepscope
from app.analysis.image_sets import COLUMNS
from tests.support.pages import Open, shown

INSERT = (
    "INSERT INTO image_set VALUES (2, 'kid', true, 0.25, 0.2, 0.3, 48, 24, 1, 48, 'CLIP <b>x</b>', '95 % by jackknife', '', true), "
    "(1, 'vendi', false, 9.5, NULL, NULL, 48, 24, NULL, 0, 'CLIP <b>x</b>', '95 % by jackknife', '', false)"
)


def test_the_card_and_the_api_show_each_entry_with_its_interval_and_direction(
    open_view: Open, altered: Callable[..., Path]
) -> None:
    folder = altered(INSERT)
    app = open_view("models", folder)
    assert not app.exception
    table = next(each.value for each in app.dataframe if "outdated" in each.value)
    assert table["measure"].tolist() == ["Diversity (Vendi)", "KID"]
    assert table["better"].tolist() == ["higher", "lower"]
    assert table["reference"].tolist() == ["", "UNet, 48 images"]
    assert table["outdated"].tolist() == [False, True]
    assert table["interval"].tolist() == ["9.500 [–]", "0.25 [0.20, 0.30]"]
    assert table["model"].tolist() == ["UNet", "UNet (quarter)"]
    assert "no paired test" in shown(app) and "95 % by jackknife" in shown(app)
    with stepscope.open(folder) as study:
        rows = study.image_sets
    assert list(rows) == COLUMNS
    same = ["model", "measure", "better", "images", "prompts", "extractor", "outdated"]
    pd.testing.assert_frame_equal(rows[same], table[same], check_dtype=False)
    assert rows["low"].isna().tolist() == [True, False] and rows["high"].iloc[1] == 0.3
    assert rows["reference"].tolist() == ["", "UNet"]


def test_without_saved_measures_there_is_no_card(open_view: Open, results: Path) -> None:
    app = open_view("models", results)
    assert not any("outdated" in each.value for each in app.dataframe)
    with stepscope.open(results) as study:
        assert study.image_sets.empty and list(study.image_sets) == COLUMNS
