"""Charts that only papers need: panels with one key, matrices, dots, paths, bars.

Functions from data to an Altair chart, like those of the pages, but in points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import altair as alt
import pandas as pd

from app.charts import bands
from app.charts.axes import Axis
from app.charts.curves import curves
from app.charts.layers import label_axis, when
from app.charts.lettering import cut, text_width
from app.charts.style import Channels, model_channels

# The limits of a panel on paper, where every interval is drawn whole: nobody can ask a page for the rest.
limits = partial(bands.limits_of, pad=0.05, least=0.01, reach=math.inf)


def key(models: pd.DataFrame, width: float, font: float, *, mark: str = "line") -> alt.LayerChart:
    """The models' names beside their line and point, in one or more rows.

    Args:
        models: model_id and label.
        width: of the key in points.
        font: size of the type.
        mark: line (with its dash), point, both, or bar.
    """
    rows, x, y = [], 0.0, 0.0
    for label in models["label"]:
        shown = cut(str(label), max(width - 26, 20), font)
        need = 26 + text_width(shown, font)
        if x and x + need > width:
            x, y = 0.0, y + font + 3
        rows.append({"model": str(label), "shown": shown, "x": x, "x2": x + 16, "y": y + font / 2})
        x += need + 10
    return in_points(_key_layers(pd.DataFrame(rows), models, font, mark), width, y + font + 2)


def _key_layers(data: pd.DataFrame, models: pd.DataFrame, font: float, mark: str) -> list[Any]:
    channels = model_channels(models)
    line = (
        alt.Chart(data)
        .encode(y=at_points("y"))
        .mark_rule(strokeWidth=1.2, aria=False)
        .encode(x=at_points("x"), x2=alt.X2("x2"), color=channels.color, strokeDash=channels.dash)
    )
    point = (
        alt.Chart(data.assign(x=data["x"] + 8))
        .mark_point(filled=True, size=22, opacity=1, aria=False)
        .encode(x=at_points("x"), y=at_points("y"), color=channels.color, shape=channels.shape)
    )
    names = (
        alt.Chart(data.assign(x=data["x2"] + 4))
        .mark_text(align="left", baseline="middle", fontSize=font, aria=False)
        .encode(x=at_points("x"), y=at_points("y"), text=alt.Text("shown:N"))
    )
    bar = point.encode(shape=alt.ShapeValue("square"))
    layers = {"point": [point, names], "both": [line, point, names], "bar": [bar, names]}
    return layers.get(mark, [line, names])


def at_points(field: str) -> Any:
    """A position in points, from a column whose name begins with x or y."""
    kind = alt.X if field.startswith("x") else alt.Y
    return kind(f"{field}:Q", scale=None, axis=None)


def in_points(layers: Sequence[Any], width: float, height: float) -> alt.LayerChart:
    """Layers of a size in points."""
    return cast(alt.LayerChart, alt.layer(*layers).properties(width=width, height=height))


def still(chart: alt.LayerChart) -> alt.LayerChart:
    """A chart of the dashboard without its click: paper has none."""
    chart.params = alt.Undefined
    for layer in chart.layer:
        layer.name = alt.Undefined
        if hasattr(layer.mark, "cursor"):
            layer.mark.cursor = alt.Undefined
    return chart


def panels(parts: Sequence[Any], columns: int, spacing: float = 8) -> alt.ConcatChart:
    """Charts in a grid."""
    joined = alt.concat(*parts, columns=columns, spacing=spacing)
    return cast(
        alt.ConcatChart, joined.resolve_scale(color="independent", strokeDash="independent")
    )


def curve_panel(
    data: pd.DataFrame,
    models: pd.DataFrame,
    axis: Axis,
    title: str,
    y_title: str | None,
    width: float,
    height: float,
    domain: Sequence[float] | None = None,
    format: str = ".2f",
) -> alt.LayerChart:
    """Mean curves with bands, of one panel.

    Args:
        data: as `curves.curves` takes it.
        models: model_id and label.
        axis: the horizontal axis.
        title: of the panel.
        y_title: of the vertical axis, or None.
        width: of the panel in points.
        height: of the panel in points.
        domain: limits of the vertical axis.
        format: of the vertical axis' labels.
    """
    shown = domain or limits(data)  # no tick at the very top, which would lift a row's title
    chart = curves(data, models, axis, y_title or "", domain=shown, format=format)
    for layer in chart.layer:
        encoding = layer.encoding
        if y_title is None and getattr(encoding.y, "title", None) == "":
            encoding.y.title = None
        if getattr(getattr(encoding, "x", None), "axis", None) is not None:
            encoding.x.axis.tickCount = 4
    return cast(
        alt.LayerChart,
        chart.properties(width=width, height=height, title=cut(title, width + 20, 8)),
    )


def line_panel(
    data: pd.DataFrame,
    models: pd.DataFrame,
    x: str,
    y: str,
    title: str,
    x_title: str,
    y_title: str | None,
    width: float,
    height: float,
    *,
    domain: Sequence[float] | None = None,
    peaks: pd.DataFrame | None = None,
) -> alt.LayerChart:
    """Lines by `model` (whatever it names) with bands where there are limits.

    Args:
        data: model, x, y, and low and high where known.
        models: model_id and label of the lines.
        x: column.
        y: column.
        title: of the panel.
        x_title: with direction or unit.
        y_title: the same.
        width: in points.
        height: in points.
        domain: limits of the vertical axis.
        peaks: rows to mark with a point.
    """
    channels = model_channels(models)
    shown = list(domain or limits(data, y))
    scale = alt.Scale(domain=shown, nice=False)
    axis = alt.Axis(tickCount=4, gridOpacity=0.5)
    vertical: dict[str, Any] = {"scale": scale, "title": y_title, "axis": axis}
    across = alt.X(
        f"{x}:Q",
        title=x_title,
        scale=alt.Scale(nice=False, zero=False),
        axis=alt.Axis(grid=False, tickCount=4),
    )
    base = alt.Chart(data).encode(x=across, color=channels.color)
    layers: list[Any] = []
    if {"low", "high"} <= set(data.columns) and data["low"].notna().any():
        faint = bands.opacity(data, shown, 0.15)
        band = base.mark_area(opacity=faint, aria=False, clip=True)
        layers.append(band.encode(y=alt.Y("low:Q", **vertical), y2=alt.Y2("high:Q")))
    line = base.mark_line(strokeWidth=1.1, aria=False, clip=True)
    layers.append(line.encode(y=alt.Y(f"{y}:Q", **vertical), strokeDash=channels.dash))
    if peaks is not None and len(peaks):
        at: dict[str, Any] = {
            "x": alt.X(f"{x}:Q"),
            "y": alt.Y(f"{y}:Q", scale=scale, title=y_title),
        }
        layers.append(_peaks(peaks, channels).encode(**at))
    heading = cut(title, width + 20, 8) if title else ""
    chart = alt.layer(*layers).properties(width=width, height=height, title=heading)
    return cast(alt.LayerChart, chart)


def _peaks(rows: pd.DataFrame, channels: Channels) -> alt.Chart:
    return (
        alt.Chart(rows)
        .mark_point(filled=True, size=34, opacity=1, aria=False)
        .encode(color=channels.color, shape=channels.shape)
    )


def matrix(
    data: pd.DataFrame,
    title: str,
    width: float,
    *,
    domain: Sequence[float],
    legend: str,
    font: float = 8,
) -> alt.LayerChart:
    """A matrix with the values in its cells.

    Args:
        data: row, column, value.
        title: above it.
        width: in points.
        domain: limits of the colour scale.
        legend: title of the colour bar.
        font: size of the numbers.
    """
    names = list(dict.fromkeys([*data["row"], *data["column"]]))
    band: dict[str, Any] = {"scale": alt.Scale(domain=names, paddingInner=0.04), "title": None}
    base = alt.Chart(data).encode(
        x=alt.X("column:N", axis=label_axis(labelAngle=-90), **band),
        y=alt.Y("row:N", axis=label_axis(), **band),
    )
    scale = alt.Scale(scheme="viridis", domain=list(domain))
    cells = base.mark_rect(aria=False).encode(
        color=alt.Color("value:Q", scale=scale, legend=_slim_bar(legend, min(90, width * 0.6)))
    )
    middle = (domain[0] + 2 * domain[1]) / 3
    numbers = base.mark_text(fontSize=font, aria=False).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.ColorValue("#ffffff", condition=when(f"datum.value > {middle}", "#000000")),
    )
    side = width if len(names) < 2 else min(width, 34.0 * len(names))
    return cast(
        alt.LayerChart,
        alt.layer(cells, numbers).properties(width=width, height=side * 0.8, title=title),
    )


def _slim_bar(title: str, length: float) -> alt.Legend:
    """A colour bar for paper."""
    return alt.Legend(
        title=title,
        orient="top",
        direction="horizontal",
        gradientLength=length,
        gradientThickness=5,
        titleLimit=400,
        tickCount=3,
        aria=False,
    )


def dots(
    data: pd.DataFrame,
    models: pd.DataFrame,
    row: str,
    title: str,
    width: float,
    *,
    rule: float | None = None,
) -> alt.LayerChart:
    """Means with intervals, a row each, shaped and coloured by model.

    Args:
        data: model, the row's column, mean, low, high.
        models: model_id and label.
        row: column of the rows.
        title: of the horizontal axis.
        width: in points.
        rule: a value to compare with, drawn as a dashed line.
    """
    channels = model_channels(models)
    order = list(dict.fromkeys(data[row]))
    names = label_axis(grid=True, labelLimit=120)
    offset = alt.Scale(domain=list(models["label"]), paddingOuter=0.4)
    base = alt.Chart(data).encode(
        y=alt.Y(f"{row}:N", sort=order, title=None, axis=names),
        yOffset=alt.YOffset("model:N", scale=offset),
        color=channels.color,
    )
    shown = limits(data)
    shown = (min(shown[0], rule), max(shown[1], rule)) if rule is not None else shown
    scale = alt.Scale(domain=list(shown), nice=True)
    axis = alt.Axis(grid=False, tickCount=5)
    interval = base.mark_rule(strokeWidth=1.1, aria=False, clip=True).encode(
        x=alt.X("low:Q", title=title, scale=scale, axis=axis), x2=alt.X2("high:Q")
    )
    point = base.mark_point(filled=True, size=22, opacity=1, aria=False).encode(
        x=alt.X("mean:Q", scale=scale), shape=channels.shape
    )
    layers: list[Any] = [interval, point]
    if rule is not None:
        layers.insert(0, _value_rule(rule, scale))
    height = (9 * len(models) + 7) * len(order)
    return cast(alt.LayerChart, alt.layer(*layers).properties(width=width, height=height))


def _value_rule(value: float, scale: alt.Scale) -> alt.Chart:
    """A dashed rule at a value of the horizontal axis."""
    line = alt.Chart(pd.DataFrame({"mean": [value]})).mark_rule(
        strokeDash=[2, 2], color="#555555", strokeWidth=0.7, aria=False
    )
    return line.encode(x=alt.X("mean:Q", scale=scale))


def trails(data: pd.DataFrame, models: pd.DataFrame, titles: tuple[str, str], width: float) -> Any:
    """Mean paths in a plane, from noise (hollow) to image (filled).

    Args:
        data: model, step, x, y.
        models: model_id and label.
        titles: of the two axes.
        width: in points.
    """
    channels = model_channels(models)
    axis = alt.Axis(grid=False, tickCount=5)
    plane: dict[str, Any] = {
        "x": alt.X("x:Q", title=titles[0], axis=axis, scale=alt.Scale(zero=False)),
        "y": alt.Y("y:Q", title=titles[1], axis=axis, scale=alt.Scale(zero=False)),
    }
    line = (
        alt.Chart(data)
        .mark_line(strokeWidth=1.0, aria=False)
        .encode(order=alt.Order("step:Q"), color=channels.color, strokeDash=channels.dash, **plane)
    )
    steps = data.groupby("model")["step"]
    start = (
        alt.Chart(data[data["step"] == steps.transform("min")])
        .mark_point(filled=True, fill="white", size=30, strokeWidth=1, opacity=1, aria=False)
        .encode(stroke=channels.color, shape=channels.shape, **plane)
    )
    end = (
        alt.Chart(data[data["step"] == steps.transform("max")])
        .mark_point(filled=True, size=34, opacity=1, aria=False)
        .encode(color=channels.color, shape=channels.shape, **plane)
    )
    return alt.layer(line, start, end).properties(width=width, height=width * 0.5)


def word_bars(
    data: pd.DataFrame, models: pd.DataFrame, title: str, width: float, height: float
) -> alt.Chart:
    """Sums per word as bars, a bar per `model`.

    Args:
        data: model, word, value; words in the order to draw.
        models: model_id and label of the bars.
        title: of the horizontal axis.
        width: in points.
        height: in points.
    """
    order = list(dict.fromkeys(data["word"]))
    return (
        alt.Chart(data)
        .mark_bar(aria=False, stroke="#333333", strokeWidth=0.3)
        .encode(
            y=alt.Y("word:N", sort=order, title=None, axis=label_axis(labelLimit=60)),
            yOffset=alt.YOffset("model:N", scale=alt.Scale(domain=list(models["label"]))),
            x=alt.X("value:Q", title=title, axis=alt.Axis(grid=False, tickCount=3)),
            color=model_channels(models).color,
        )
        .properties(width=width, height=height)
    )
