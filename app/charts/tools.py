"""Charts of the explanation tools: their curves, gains and agreement.

A tool keeps its colour, dash and shape wherever it is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa

from app.charts import bands, keys
from app.charts.layers import (
    click,
    colour_bar,
    interval_fields,
    label_axis,
    layered,
    tips,
    when,
    zero_line,
)
from app.charts.style import AXIS_ROOM, FRAME, Look, model_channels, series_scales

# The tools in the order in which they are drawn, and how they are called in a chart.
TOOLS = {
    "df-rise": "DF-RISE",
    "df-cam": "DF-CAM",
    "lime": "LIME",
    "attention": "Attention",
    "relevance": "Relevance",
    "random": "Random map",
    "area": "Segment area",
    "copy": "Copy of the input",
    "concept-attention": "ConceptAttention",
    "information": "Information",
}


def tool_title(method: str) -> str:
    """How a tool is called in a chart."""
    return TOOLS.get(method, method)


def tool_order(methods: Sequence[str]) -> list[str]:
    """The methods in the order in which they are drawn; unknown ones last."""
    known = [name for name in TOOLS if name in set(methods)]
    return known + sorted(set(methods) - set(TOOLS))


def tool_scales(methods: Sequence[str]) -> dict[str, Any]:
    """Colour, dash and shape of each tool, by its fixed position."""
    names = list(TOOLS)
    positions = [names.index(m) if m in names else len(names) for m in methods]
    return series_scales([tool_title(m) for m in methods], positions)


def matrix(
    data: pd.DataFrame,
    title: str,
    *,
    domain: Sequence[float],
    cell: int = 46,
) -> alt.LayerChart:
    """Pairs of tools and how far their maps agree, as a symmetric matrix with the values in it.

    Args:
        data: first, second (tools' titles), value, low, high, n.
        title: of the colour bar, with direction.
        domain: limits of the colour scale.
        cell: height of a row in px.
    """
    names = [tool_title(m) for m in TOOLS]
    order = [n for n in names if n in set(data["first"]) | set(data["second"])]
    flipped = data.rename(columns={"first": "second", "second": "first"})
    band: dict[str, Any] = {"sort": order, "title": None, "scale": alt.Scale(paddingInner=0.04)}
    base = alt.Chart(pd.concat([data, flipped], ignore_index=True)).encode(
        x=alt.X("first:N", axis=label_axis(labelAngle=0, grid=False, labelLimit=90), **band),
        y=alt.Y("second:N", axis=label_axis(grid=False), **band),
    )
    scale = alt.Scale(scheme="viridis", domain=list(domain), clamp=True)
    cells = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color("value:Q", scale=scale, legend=colour_bar(title)),
        tooltip=tips(
            ("first:N", "Tool"),
            ("second:N", "Tool"),
            ("value:Q", title, ".2f"),
            *interval_fields(".2f")[1:],
            ("n:Q", "Prompts"),
        ),
    )
    middle = (domain[0] + domain[1]) / 2
    text = base.mark_text(fontSize=12).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.ColorValue("#fff", condition=when(f"datum.value > {middle}", "#111")),
    )
    return layered(cells, text, height=cell * len(order) + FRAME - 20)


def tool_curves(
    data: pd.DataFrame,
    x: str,
    x_title: str,
    y_title: str,
    *,
    zero: bool = False,
    format: str = ".3f",
    domain: Sequence[float] | None = None,
    marker: float | None = None,
    height: int = 250,
    look: Look | None = None,
    unit: str = "Prompts",
) -> alt.LayerChart:
    """Means per tool with their interval, over steps, pixels removed, or layers shuffled.

    Args:
        data: method, mean, low, high, n, and the column x.
        x: column of the horizontal axis.
        x_title: its title.
        y_title: of the vertical axis, with direction.
        zero: whether to draw a line at zero.
        format: of the values.
        domain: limits of the vertical axis; an interval beyond them is clipped with an arrow.
        marker: value to mark (the chosen step); with it, a click tells the step.
        height: in px.
        look: the page's theme.
        unit: what n counts.
    """
    look = look or Look()
    table = data.assign(tool=[tool_title(m) for m in data["method"]])
    scales = tool_scales(tool_order(list(data["method"])))
    across = _across(x, x_title)
    vertical = alt.Scale(domain=list(domain)) if domain else alt.Scale(zero=False, nice=True)
    color = alt.Color("tool:N", scale=scales["color"], legend=None)
    base = alt.Chart(table).encode(x=across, color=color)
    faint = bands.opacity(table, domain, 0.13) if domain else 0.13
    band = base.mark_area(opacity=faint, clip=True).encode(
        y=alt.Y("low:Q", scale=vertical, title=y_title), y2=alt.Y2("high:Q")
    )
    y = alt.Y("mean:Q", title=y_title, scale=vertical, axis=alt.Axis(tickCount=5, gridOpacity=0.5))
    tooltip = _curve_tips(x, x_title, format, unit)
    line, points = _line_and_points(base, y, scales, tooltip, dense=len(table) >= 150)
    layers: list[Any] = [band, line, points]
    if zero:
        layers.insert(0, zero_line("y", look.ink))
    if marker is not None:
        layers[-1] = points.add_params(click("step", nearest=True))
        rule = alt.Chart(pa.table({x: [marker]})).mark_rule(color=look.quiet, strokeWidth=1.5)
        layers.insert(0, rule.encode(x=across))
    if domain:
        clipped = bands.outside(table, domain, x, "tool")
        layers += bands.arrows(clipped, across, color, format=format)
    return layered(*layers, height=height)


def tool_key(methods: Sequence[str], look: Look) -> alt.LayerChart:
    """The tools' colours, dashes and shapes once for all charts of a card.

    Args:
        methods: of the curves.
        look: the page's theme.
    """
    order = tool_order(list(methods))
    return keys.key([tool_title(m) for m in order], tool_scales(order), look)


def _line_and_points(
    base: alt.Chart,
    y: alt.Y,
    scales: dict[str, alt.Scale],
    tooltip: list[alt.Tooltip],
    *,
    dense: bool,
) -> tuple[alt.Chart, alt.Chart]:
    """The means: lines, and points that are seen unless there are many."""
    line = base.mark_line(strokeWidth=2.2, clip=True).encode(
        y=y, strokeDash=alt.StrokeDash("tool:N", scale=scales["dash"], legend=None)
    )
    points = base.mark_point(size=46, filled=True, opacity=0 if dense else 1).encode(
        y=y, shape=alt.Shape("tool:N", scale=scales["shape"], legend=None), tooltip=tooltip
    )
    return line, points


def _across(x: str, title: str) -> alt.X:
    """The horizontal axis: steps, or shares in percent."""
    steps = x == "step"
    return alt.X(
        f"{x}:Q",
        title=title,
        scale=alt.Scale(nice=False, zero=False, padding=8),
        axis=alt.Axis(
            grid=False,
            tickCount=6,
            format="d" if steps else ".0%",
            tickMinStep=1 if steps else alt.Undefined,
        ),
    )


def _curve_tips(x: str, x_title: str, format: str, unit: str) -> list[alt.Tooltip]:
    return tips(
        ("tool:N", "Tool"),
        (f"{x}:Q", x_title, "d" if x == "step" else ".0%"),
        *interval_fields(format),
        ("n:Q", unit),
    )


def tool_forest(
    data: pd.DataFrame,
    models: pd.DataFrame,
    title: str,
    *,
    look: Look | None = None,
    unit: str = "Prompts",
    height: int = 34,
) -> alt.LayerChart:
    """One row per tool: its gain over a random map, with its interval, per model.

    Args:
        data: method, model, mean, low, high, n.
        models: model_id and label.
        title: of the horizontal axis, with direction.
        look: the page's theme.
        unit: what n counts.
        height: of a row in px.
    """
    models = models[models["label"].isin(data["model"])]
    channels = model_channels(models)
    order = [tool_title(m) for m in tool_order(list(data["method"]))]
    base = alt.Chart(data.assign(tool=[tool_title(m) for m in data["method"]])).encode(
        y=alt.Y("tool:N", sort=order, title=None, axis=label_axis(grid=True, gridOpacity=0.3)),
        yOffset=alt.YOffset(
            "model:N", scale=alt.Scale(domain=list(models["label"]), paddingOuter=0.3)
        ),
        color=channels.color,
        tooltip=tips(
            ("tool:N", "Tool"),
            ("model:N", "Model"),
            *interval_fields("+.3f", mean="Over a random map"),
            ("n:Q", unit),
        ),
    )
    bar = base.mark_rule(strokeWidth=2.5, opacity=0.75).encode(
        x=alt.X("low:Q", title=title, axis=alt.Axis(format="+.2~g", grid=False, tickCount=6)),
        x2=alt.X2("high:Q"),
    )
    point = base.mark_point(size=60, filled=True, opacity=1).encode(
        x=alt.X("mean:Q"), shape=channels.shape
    )
    zero = zero_line("x", (look or Look()).ink)
    per_row = max(height, 13 * len(models) + 8)
    return layered(zero, bar, point, height=per_row * len(order) + AXIS_ROOM)
