"""Intervals are always drawn: clipped at the panel's edge with an arrow where they are too wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

from app.charts import bands, paper
from app.charts.axes import AXES
from app.charts.curves import curves
from app.charts.rows import emergence
from app.charts.style import Look
from app.charts.tools import tool_curves
from tests.support.charts import AXIS, MODELS, by_row, by_step


def with_vast(vast: str = "UNet") -> pd.DataFrame:
    """Curves of which one model has intervals far wider than the means' span, as over two prompts."""
    sure = by_step()
    wide = sure["model"] == vast
    return sure.assign(
        low=sure["low"].where(~wide, sure["mean"] - 9.0),
        high=sure["high"].where(~wide, sure["mean"] + 9.0),
    )


def band_of(spec: dict[str, Any]) -> pd.DataFrame:
    """The rows that a spec's band is drawn from."""
    (layer,) = [each for each in spec["layer"] if each["mark"]["type"] == "area"]
    name = layer.get("data", spec.get("data"))["name"]
    return pd.DataFrame(spec["datasets"][name])


def arrows_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        layer for layer in spec["layer"] if layer["mark"].get("shape", "").startswith("triangle")
    ]


def marked(spec: dict[str, Any]) -> set[tuple[str, str]]:
    """(series, edge) of every arrow."""
    return {
        (row["model"], layer["mark"]["shape"])
        for layer in arrows_of(spec)
        for row in spec["datasets"][layer["data"]["name"]]
    }


PANELS = {
    "page": lambda data: curves(data, MODELS, AXIS, "Similarity"),
    "page, shared limits": lambda data: curves(data, MODELS, AXIS, "Similarity", domain=(0, 1)),
}
FIGURES = {
    "figure": lambda data: paper.curve_panel(data, MODELS, AXES["Step"], "cat", "y", 200, 100),
    "figure of lines": lambda data: paper.line_panel(
        data, MODELS, "step", "mean", "cat", "x", "y", 200, 100
    ),
}


@pytest.mark.parametrize("panel", PANELS)
def test_a_band_wider_than_its_panel_is_drawn_and_marked(panel: str) -> None:
    spec = PANELS[panel](with_vast()).to_dict()
    band = band_of(spec)
    assert band.groupby("model")["low"].count().to_dict() == dict.fromkeys(MODELS["label"], 6)
    assert {("UNet", "triangle-up"), ("UNet", "triangle-down")} <= marked(spec)
    area = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "area")
    assert area["mark"]["clip"] is True
    low, high = area["encoding"]["y"]["scale"]["domain"]
    assert -3 < low < high < 3  # the panel keeps the scale of the means
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")


@pytest.mark.parametrize("panel", ["page", *FIGURES])
def test_what_fits_has_no_arrow(panel: str) -> None:
    assert not arrows_of((PANELS | FIGURES)[panel](by_step()).to_dict())


@pytest.mark.parametrize("panel", FIGURES)
def test_a_figure_draws_the_widest_interval_whole(panel: str) -> None:
    data = with_vast()
    spec = FIGURES[panel](data).to_dict()
    area = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "area")
    low, high = area["encoding"]["y"]["scale"]["domain"]
    assert low <= data["low"].min() and high >= data["high"].max() and not arrows_of(spec)


def test_bands_that_fill_their_panel_are_fainter() -> None:
    """Several of them would hide the lines."""
    assert bands.opacity(by_step(), (0, 0.5), 0.16) == 0.16
    full = by_step().assign(low=-9.0, high=9.0)
    assert bands.opacity(full, (0, 0.5), 0.16) == 0.08
    assert bands.opacity(full.assign(low=np.nan), (0, 0.5), 0.16) == 0.16
    assert bands.opacity(full.drop(columns="low"), (0, 0.5), 0.16) == 0.16
    spec = curves(full, MODELS, AXIS, "y").to_dict()
    assert [
        each["mark"]["opacity"] for each in spec["layer"] if each["mark"]["type"] == "area"
    ] == [0.08]


def test_an_arrow_is_at_the_edge_whatever_the_axis_rounds_to() -> None:
    spec = curves(with_vast(), MODELS, AXIS, "y").to_dict()
    heights = {layer["mark"]["shape"]: layer["encoding"]["y"] for layer in arrows_of(spec)}
    assert heights == {"triangle-up": {"value": 0}, "triangle-down": {"value": "height"}}


def test_arrows_of_two_series_do_not_hide_each_other() -> None:
    data = by_step().assign(low=-9.0, high=9.0)
    rows = bands.outside(data, (0, 1), "step")
    assert not rows.duplicated(["edge", "step"]).any()
    assert rows.groupby("edge")["model"].nunique().to_dict() == {"above": 3, "below": 3}


def test_unknown_intervals_are_not_clipped() -> None:
    data = by_step().assign(low=np.nan, high=np.nan)
    assert bands.outside(data, (0, 0.1), "step").empty
    assert not bands.clips(data)
    assert bands.clips(with_vast())
    assert not bands.clips(by_step())


def test_a_row_whose_interval_is_clipped_points_to_its_side() -> None:
    data = by_row("family").assign(low=-3.0)
    spec = emergence(data, MODELS, "family", limits=(0, 5), look=Look()).to_dict()
    (left,) = arrows_of(spec)
    assert left["mark"]["shape"] == "triangle-left"
    assert left["encoding"]["x"] == {"value": 0}


def test_a_figures_row_draws_its_interval_whole() -> None:
    spec = paper.dots(by_row("measure").assign(high=900.0, low=2.0), MODELS, "measure", "x", 200).to_dict()  # fmt: skip
    scales = [e["x"]["scale"] for e in (layer["encoding"] for layer in spec["layer"]) if "scale" in e.get("x", {})]  # fmt: skip
    assert scales and not arrows_of(spec)
    assert all(each["domain"][0] <= 2 and each["domain"][1] >= 900 for each in scales)


def test_a_tools_band_is_clipped_with_an_arrow_too() -> None:
    data = pd.DataFrame(
        {"method": "lime", "step": [1, 2], "mean": [0.1, 0.2], "low": -8.0, "high": 8.0, "n": 2}
    )
    spec = tool_curves(data, "step", "Step", "Gain", domain=(0, 1)).to_dict()
    assert {layer["mark"]["shape"] for layer in arrows_of(spec)} == {"triangle-up", "triangle-down"}
