"""Tables: what is missing is a dash with its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st

import stepscope
from app.ui import tables
from tests.support.pages import Open


@pytest.mark.parametrize(
    ("columns", "shown", "reasons"),
    [
        ({"low": [0.1], "high": [0.2]}, None, []),
        ({"low": [0.1, np.nan], "mean": [1.0, 2.0]}, None, [tables.INTERVAL]),
        ({"iou_low": [np.nan], "kept": [np.nan]}, None, [tables.INTERVAL, tables.OTHER]),
        ({"kept": [np.nan], "low": [1.0]}, None, [tables.OTHER]),
        ({"kept": [np.nan], "low": [1.0]}, ["low"], []),
        ({"interval": ["0 to 1", None]}, None, [tables.INTERVAL]),
        ({"interval": ["0.1 [0.0, 0.2]", "0.100 [–]"]}, None, [tables.INTERVAL]),
        ({"interval": ["0.1 [0.0, 0.2]"]}, None, []),
        ({"model": ["a", None]}, None, []),
    ],
)
def test_the_reason_is_that_of_the_columns(
    columns: dict[str, list[object]], shown: list[str] | None, reasons: list[str]
) -> None:
    assert tables.missing(pd.DataFrame(columns), shown) == reasons


def test_an_interval_that_is_missing_is_a_dash_with_its_reason(
    open_view: Open, results: Path
) -> None:
    """Of one prompt, whose means have no interval."""
    with stepscope.open(results) as study:
        text = study.prompts["text"].iloc[0]
    app = open_view("models", results, slice_text=text)
    table = next(t for t in app.dataframe if "rank" in t.value)
    assert table.value["low"].isna().all()
    assert table.proto.placeholder == tables.DASH
    assert any(tables.INTERVAL in caption.value for caption in app.caption)


def test_no_table_says_none(
    open_view: Open, two_prompts: Path, altered: Callable[..., Path]
) -> None:
    for view in ("overview", "models", "trust", "faithfulness", "prompts", "causes", "words"):
        for table in open_view(view, two_prompts).dataframe:
            numbers = table.value.select_dtypes("number")
            assert not numbers.isna().any().any() or table.proto.placeholder == tables.DASH, view


def test_shares_are_whole_percents_and_small_ones_are_not_nothing() -> None:
    share = st.column_config.NumberColumn("Wins", format="percent")
    columns = {"wins": share, "mean": st.column_config.NumberColumn("Mean"), "model": "Model"}
    data = pd.DataFrame({"wins": [0.51953, 0.0043, np.nan], "mean": 0.51953, "model": "a"})
    shown = tables.whole_percents(data, columns)
    assert shown["wins"].tolist()[:2] == [0.52, 0.0043] and np.isnan(shown["wins"][2])
    assert shown["mean"].tolist() == [0.51953] * 3 and data["wins"][0] == 0.51953
