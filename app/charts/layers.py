"""Layers of a chart, clicks, tooltips and colour bars, put together without Altair's copies.

What a rule or an outline stands at is an Arrow table, which is sent as it is: 0.02 ms, a data frame of
one row takes 0.33.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pyarrow as pa

PHONE = 420  # px of a plot; on a phone it is narrower
PICK = "pick"  # the name of every chart's click
REGION = "region"  # the name of a rectangle that a reader drags


def layered(*charts: Any, height: float) -> alt.LayerChart:
    """Layers of one height; the data that most of them share stands above all of them, once.

    Put together by hand: `alt.layer` copies every layer four times, checks its click against the schema, names it by a
    hash of its printed data, and leaves each layer its data where one has others: 9 of 20 ms of `curves` (CPU time).
    """
    whole = alt.LayerChart(data=_most_used([chart.data for chart in charts]), height=height)
    for chart in charts:
        if chart.data is whole.data:
            chart.data = alt.Undefined
        if chart.params is not alt.Undefined:
            whole.params = [_lifted(chart)]
    whole.layer = list(charts)
    return whole


def _most_used(frames: Sequence[Any]) -> Any:
    """The data that most layers show."""
    return max(frames, key=lambda frame: sum(frame is other for other in frames))


def _lifted(layer: alt.Chart) -> alt.TopLevelSelectionParameter:
    """A layer's click or region, taken to the top of the chart, where Streamlit and Vega-Lite look for it."""
    (selection,) = layer.params
    layer.name, layer.params = "clicked", alt.Undefined
    return alt.TopLevelSelectionParameter(
        name=selection.name, select=selection.select, views=["clicked"]
    )


def behind(mark: alt.Chart, chart: alt.LayerChart) -> alt.LayerChart:
    """The chart with a mark behind its layers; it keeps its height and its click."""
    chart.layer = [mark, *chart.layer]
    return chart


def zero_line(channel: str, colour: str) -> alt.Chart:
    """A dashed rule at zero of an axis.

    Args:
        channel: x or y.
        colour: of the rule.
    """
    return rule_at(0.0, channel).mark_rule(color=colour, strokeDash=[2, 2])


def rule_at(value: float, channel: str, **settings: Any) -> alt.Chart:
    """A chart of one value of `mean`, to be marked with a rule.

    Args:
        value: where the rule stands.
        channel: x or y.
        settings: of the channel, such as its scale.
    """
    kind: Any = alt.X if channel == "x" else alt.Y
    return alt.Chart(pa.table({"mean": [value]})).encode(**{channel: kind("mean:Q", **settings)})


def click(*fields: str, nearest: bool = False) -> alt.Parameter:
    """A click on a mark, which tells the page the mark's values of some columns.

    Args:
        fields: the columns.
        nearest: whether a click beside the marks means the nearest one, as on a line.
    """
    return alt.selection_point(
        name=PICK, fields=list(fields), on="click", toggle=False, nearest=nearest
    )


def region() -> alt.Parameter:
    """A rectangle dragged in a plane, which tells the page its limits: two by the field of each axis of its layer."""
    return alt.selection_interval(name=REGION, encodings=["x", "y"])


def when(test: str, value: Any) -> dict[str, Any]:
    """The condition of a channel's value, as Vega-Lite writes it.

    A dictionary inside `alt.ColorValue` and the like: `alt.condition` for a channel takes 9 ms to find the channel's class.
    """
    return {"test": test, "value": value}


def tips(*fields: tuple[str, ...]) -> list[alt.Tooltip]:
    """Lines of a tooltip.

    Args:
        fields: (field with its type, title) or (field with its type, title, format).
    """
    kind: Any = alt.Tooltip
    return [
        kind(field, title=title, **({"format": format[0]} if format else {}))
        for field, title, *format in fields
    ]


def interval_fields(
    format: str, mean: str = "Mean", low: str = "95 % low", high: str = "95 % high"
) -> tuple[tuple[str, str, str], ...]:
    """The lines of a tooltip that tell a mean and its interval."""
    return (("mean:Q", mean, format), ("low:Q", low, format), ("high:Q", high, format))


def label_axis(**settings: Any) -> alt.Axis:
    """An axis of names, without ticks and line."""
    return alt.Axis(ticks=False, domain=False, **settings)


def by_width(wide: int, narrow: int) -> Any:
    """Columns of a legend over a plot that is wide, and over one on a phone."""
    return alt.ExprRef(f"width < {PHONE} ? {narrow} : {wide}")


def colour_bar(title: str) -> alt.Legend:
    """A slim colour bar over a chart."""
    return alt.Legend(
        title=title,
        orient="top",
        direction="horizontal",
        gradientLength=220,
        gradientThickness=8,
        titleLimit=alt.ExprRef(
            "max(width - 12, 120)"
        ),  # a model's name may be longer than the plot is wide
        offset=6,
        tickCount=4,
        labelOverlap="greedy",
        labelSeparation=4,
    )
