"""Specs as the page sends them, against Altair's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from app.charts import specs
from app.charts.style import Look
from tests.support.charts import ALL, TOOL_CHARTS

ROWS = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
DRAWN: dict[str, Any] = {
    **{name: lambda chart=chart: chart(Look()) for name, chart in ALL.items()},
    **{f"tool {name}": chart for name, chart in TOOL_CHARTS.items()},
}


@pytest.fixture(autouse=True)
def as_streamlit_writes() -> Iterator[None]:
    """Altair without its theme, and with the data where the chart has them."""
    transformers = alt.data_transformers
    transformers.consolidate_datasets = False
    with alt.theme.enable("none"):
        yield
    transformers.consolidate_datasets = True


@pytest.mark.parametrize("name", DRAWN)
def test_a_spec_is_what_altair_writes(name: str) -> None:
    chart = DRAWN[name]()
    assert specs.written(chart) == chart.to_dict()


@pytest.mark.parametrize(
    "channels",
    [
        {"x": alt.X("mean(a):Q"), "y": alt.Y("count():Q")},
        {"x": alt.X("a:Q", bin=True), "y": alt.Y("b:N", sort=ROWS["b"])},
        {"x": alt.X(field="a", type="quantitative"), "x2": alt.X2("a:Q"), "y": alt.value(3)},
        {
            "x": alt.XDatum(2),
            "color": alt.when("datum.a > 1").then(alt.value("red")).otherwise("b:N"),
        },
        {
            "x": alt.X("a:Q", scale=alt.Scale(domain=list(np.array([1, 2])))),
            "opacity": alt.value(1),
        },
    ],
)
def test_other_ways_to_give_a_channel_are_written_too(channels: dict[str, Any]) -> None:
    chart = alt.Chart(ROWS).mark_bar().encode(**channels)
    assert specs.written(chart) == chart.to_dict(validate=False)


def test_a_channel_without_a_type_is_told() -> None:
    with pytest.raises(ValueError, match="channel 'a' has no type: write a:Q"):
        specs.written(alt.Chart(ROWS).mark_bar().encode(x=alt.X("a")))


def test_a_spec_can_be_changed_without_changing_the_chart() -> None:
    chart = DRAWN["curves"]()
    first = specs.written(chart)
    first["params"][0]["select"]["fields"].append("click")
    first["layer"][1]["encoding"]["x"]["axis"]["tickCount"] = 99
    assert specs.written(chart) == chart.to_dict()
