"""Charts of the explanations: maps, words, insertion and deletion, trust, schedules, paths, spectra.

Like `charts`: functions from a DataFrame to an Altair chart, without Streamlit and without SQL.
A tool keeps its colour, dash and shape wherever it is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
from charts import (
    AXIS_ROOM,
    COLOURS,
    DASHES,
    FRAME,
    SHAPES,
    Axis,
    Look,
    across,
    click,
    colour_bar,
    data_url,
    layered,
    model_scales,
    step_marker,
    thin,
    when,
)
from numpy.typing import NDArray
from PIL import Image

# The tools in the order in which they are drawn, and how they are called in a chart.
TOOLS = {
    "df-rise": "DF-RISE",
    "df-cam": "DF-CAM",
    "lime": "LIME",
    "attention": "Attention",
    "relevance": "Relevance",
    "random": "Random map",
}
ROLES = ("subject", "relation", "object", "attribute", "other")
# Anchors of viridis (van der Walt and Smith, CC0), which Vega's scheme of that name runs through.
VIRIDIS = (
    "#440154",
    "#482878",
    "#3e4989",
    "#31688e",
    "#26828e",
    "#1f9e89",
    "#35b779",
    "#6ece58",
    "#b5de2b",
    "#fde725",
)
TILE = 128  # px of a drawn map's longer side; a whole multiple of most latent grids
OVERLAY = 0.62  # weight of the colour over the picture

Map = NDArray[np.float64]


def tool_title(method: str) -> str:
    """How a tool is called in a chart."""
    return TOOLS.get(method, method)


def tool_order(methods: Sequence[str]) -> list[str]:
    """The methods in the order in which they are drawn; unknown ones last."""
    known = [name for name in TOOLS if name in set(methods)]
    return known + sorted(set(methods) - set(TOOLS))


def _tool_scales(methods: Sequence[str]) -> dict[str, Any]:
    """Colour, dash and shape of each tool, by its fixed place."""
    names = list(TOOLS)
    place = [names.index(m) if m in names else len(names) for m in methods]
    titles = [tool_title(m) for m in methods]
    return {
        "color": alt.Scale(domain=titles, range=[COLOURS[i % len(COLOURS)] for i in place]),
        "dash": alt.Scale(domain=titles, range=[list(DASHES[i % len(DASHES)]) for i in place]),
        "shape": alt.Scale(domain=titles, range=[SHAPES[i % len(SHAPES)] for i in place]),
    }


def read_map(row: pd.Series) -> Map:
    """A stored map in its own units, "h w"."""
    unit = np.frombuffer(bytes(row["map"]), np.float16).astype(float)
    unit = unit.reshape(int(row["height"]), int(row["width"]))
    return float(row["low"]) + unit * (float(row["high"]) - float(row["low"]))


def colourise(values: Map, low: float, high: float) -> NDArray[np.uint8]:
    """Values to viridis colours, "h w 3"; what lies outside low and high gets the end's colour."""
    span = high - low
    place = np.clip((values - low) / span, 0, 1) if span > 0 else np.zeros_like(values)
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in VIRIDIS], float)
    at = np.linspace(0, 1, len(anchors))
    channels = [np.interp(place, at, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def draw_map(values: Map, low: float, high: float, under: bytes | None = None) -> str:
    """A map as a data URL, enlarged without smoothing; laid over a grey picture where one is given.

    Args:
        values: "h w", in its own units.
        low: value of the darkest colour.
        high: value of the brightest colour.
        under: the picture (WebP or PNG) that the map explains.
    """
    height, width = values.shape
    factor = max(1, round(TILE / max(height, width)))
    size = (width * factor, height * factor)
    tile = Image.fromarray(colourise(values, low, high)).resize(size, Image.Resampling.NEAREST)
    if under is not None:
        with Image.open(io.BytesIO(under)) as picture:
            grey = picture.convert("L").resize(size, Image.Resampling.NEAREST).convert("RGB")
        tile = Image.blend(grey, tile, OVERLAY)
    out = io.BytesIO()
    tile.save(out, "PNG", compress_level=3)
    return data_url(out.getvalue())


def tiles(
    data: pd.DataFrame,
    rows: Sequence[str],
    *,
    columns: Sequence[Any] | None = None,
    column_title: str | None = None,
    bar: str | None = None,
    marker: int | None = None,
    cell: int = 84,
    look: Look | None = None,
    clickable: bool = False,
) -> alt.LayerChart:
    """Pictures in rows and columns, drawn crisp, with one colour bar for the maps.

    Args:
        data: row, column, url, and note, range and step for the tooltip.
        rows: labels from top to bottom; a line break starts a second line.
        columns: labels from left to right; sorted where none are given.
        column_title: of the horizontal axis.
        bar: title of the colour bar; none without.
        marker: column to outline.
        cell: about the height of a row in px.
        look: the page's theme.
        clickable: whether a click tells the tile's step.
    """
    look = look or Look()
    order = list(columns) if columns is not None else sorted(data["column"].unique())
    x = alt.X(
        "column:O",
        title=column_title,
        sort=order,
        axis=alt.Axis(
            orient="bottom", labelAngle=0, ticks=False, domain=False, grid=False, labelLimit=130
        ),
        scale=alt.Scale(domain=order, paddingInner=0.06, paddingOuter=0.02),
    )
    y = alt.Y(
        "row:N",
        sort=list(rows),
        title=None,
        axis=alt.Axis(
            ticks=False,
            domain=False,
            grid=False,
            labelLimit=170,
            labelExpr="split(datum.label, '\\n')",
        ),
        scale=alt.Scale(domain=list(rows), paddingInner=0.06, paddingOuter=0.02),
    )
    size: Any = {"expr": "min(bandwidth('x'), bandwidth('y'))"}
    cursor: dict[str, Any] = {"cursor": "pointer"} if clickable else {}
    images = (
        alt.Chart(data)
        .mark_image(width=size, height=size, smooth=False, **cursor)
        .encode(
            x=x,
            y=y,
            url=alt.Url("url:N"),
            tooltip=[
                alt.Tooltip("note:N", title="Map"),
                alt.Tooltip("step:O", title="Step"),
                alt.Tooltip("range:N", title="Lowest to highest"),
            ],
        )
    )
    if clickable:
        images = images.add_params(click("step"))
    layers: list[Any] = [images]
    if bar:
        layers.append(_map_bar(bar))
    if marker is not None and marker in order:
        layers.append(_tile_outline(marker, rows, x, y))
    return layered(*layers, height=cell * len(rows) + FRAME - 24)


def _map_bar(title: str) -> alt.Chart:
    """A colour bar from the lowest to the highest value of a row, drawn by a mark nobody sees."""
    legend = colour_bar(title)
    legend.values = [0, 1]
    legend.labelExpr = "datum.value < 0.5 ? 'lowest of the row' : 'highest'"
    scale = alt.Scale(domain=[0, 1], range=list(VIRIDIS))
    return (
        alt.Chart(pa.table({"share": [0.0, 1.0]}))
        .mark_point(opacity=0, size=0)
        .encode(color=alt.Color("share:Q", scale=scale, legend=legend))
    )


def _tile_outline(column: int, rows: Sequence[str], x: alt.X, y: alt.Y) -> alt.Chart:
    frame = pa.table({"column": [column] * len(rows), "row": list(rows)})
    return (
        alt.Chart(frame)
        .mark_rect(fill="transparent", stroke="#E69F00", strokeWidth=2.5, cornerRadius=2)
        .encode(x=x, y=y)
    )


def matrix(
    data: pd.DataFrame,
    title: str,
    *,
    domain: Sequence[float],
    look: Look | None = None,
    cell: int = 46,
) -> alt.LayerChart:
    """Pairs of tools and how far their maps agree, as a symmetric matrix with the values in it.

    Args:
        data: first, second (tools' titles), value, low, high, n.
        title: of the colour bar, with direction.
        domain: limits of the colour scale.
        look: the page's theme.
        cell: height of a row in px.
    """
    look = look or Look()
    names = [tool_title(m) for m in TOOLS]
    order = [n for n in names if n in set(data["first"]) | set(data["second"])]
    flipped = data.rename(columns={"first": "second", "second": "first"})
    both = pd.concat([data, flipped], ignore_index=True)
    middle = (domain[0] + domain[1]) / 2
    base = alt.Chart(both).encode(
        x=alt.X(
            "first:N",
            sort=order,
            title=None,
            axis=alt.Axis(labelAngle=0, ticks=False, domain=False, grid=False, labelLimit=90),
            scale=alt.Scale(paddingInner=0.04),
        ),
        y=alt.Y(
            "second:N",
            sort=order,
            title=None,
            axis=alt.Axis(ticks=False, domain=False, grid=False),
            scale=alt.Scale(paddingInner=0.04),
        ),
    )
    cells = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color(
            "value:Q",
            scale=alt.Scale(scheme="viridis", domain=list(domain), clamp=True),
            legend=colour_bar(title),
        ),
        tooltip=[
            alt.Tooltip("first:N", title="Tool"),
            alt.Tooltip("second:N", title="Tool"),
            alt.Tooltip("value:Q", title=title, format=".2f"),
            alt.Tooltip("low:Q", title="95 % low", format=".2f"),
            alt.Tooltip("high:Q", title="95 % high", format=".2f"),
            alt.Tooltip("n:Q", title="Prompts"),
        ],
    )
    text = base.mark_text(fontSize=12).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.ColorValue("#fff", condition=when(f"datum.value > {middle}", "#111")),
    )
    return layered(cells, text, height=cell * len(order) + FRAME - 20)


def word_lines(
    data: pd.DataFrame, words: Sequence[str], title: str, *, marker: int, look: Look | None = None
) -> alt.LayerChart:
    """One line per word over the steps; a click tells the step.

    Args:
        data: word, role, step, value, seeds.
        words: in the order of the prompt, at most eight.
        title: of the vertical axis.
        marker: the chosen step.
        look: the page's theme.
    """
    look = look or Look()
    axis = Axis("step", "Step  (noise → image)")
    colours = alt.Scale(domain=list(words), range=[COLOURS[i % 8] for i in range(len(words))])
    dashes = alt.Scale(domain=list(words), range=[list(DASHES[i % 8]) for i in range(len(words))])
    legend = alt.Legend(orient="top", title=None, symbolStrokeWidth=2.5, columns=6, labelLimit=90)
    base = alt.Chart(data).encode(
        x=across(axis),
        y=alt.Y("value:Q", title=title, axis=alt.Axis(tickCount=5, gridOpacity=0.5)),
        color=alt.Color("word:N", scale=colours, legend=legend, sort=list(words)),
    )
    line = base.mark_line(strokeWidth=2.2, interpolate="monotone").encode(
        strokeDash=alt.StrokeDash("word:N", scale=dashes, legend=legend, sort=list(words))
    )
    points = base.mark_point(size=60, filled=True, opacity=0).encode(
        tooltip=[
            alt.Tooltip("word:N", title="Word"),
            alt.Tooltip("role:N", title="Role"),
            alt.Tooltip("step:Q", title="Step"),
            alt.Tooltip("value:Q", title=title, format=".3f"),
            alt.Tooltip("seeds:Q", title="Seeds"),
        ]
    )
    points = points.add_params(click("step", nearest=True))
    return layered(step_marker(axis, marker, look), line, points, height=300)


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
        domain: limits of the vertical axis.
        marker: place to mark (the chosen step); with it, a click tells the step.
        height: in px.
        look: the page's theme.
        unit: what n counts.
    """
    look = look or Look()
    methods = tool_order(list(data["method"]))
    table = data.assign(tool=[tool_title(m) for m in data["method"]])
    scales = _tool_scales(methods)
    legend = alt.Legend(
        orient="top", title=None, symbolStrokeWidth=2.5, symbolOpacity=1, offset=4, columns=3
    )
    steps = x == "step"
    horizontal = alt.X(
        f"{x}:Q",
        title=x_title,
        scale=alt.Scale(nice=False, zero=False, padding=8),
        axis=alt.Axis(
            grid=False,
            tickCount=6,
            format="d" if steps else ".0%",
            tickMinStep=1 if steps else alt.Undefined,
        ),
    )
    vertical = alt.Scale(domain=list(domain)) if domain else alt.Scale(zero=False, nice=True)
    base = alt.Chart(table).encode(
        x=horizontal, color=alt.Color("tool:N", scale=scales["color"], legend=legend)
    )
    y = alt.Y("mean:Q", title=y_title, scale=vertical, axis=alt.Axis(tickCount=5, gridOpacity=0.5))
    band = base.mark_area(opacity=0.13, clip=True).encode(
        y=alt.Y("low:Q", scale=vertical, title=y_title), y2=alt.Y2("high:Q")
    )
    line = base.mark_line(strokeWidth=2.2, clip=True).encode(
        y=y, strokeDash=alt.StrokeDash("tool:N", scale=scales["dash"], legend=legend)
    )
    points = base.mark_point(size=46, filled=True, opacity=1 if len(table) < 150 else 0).encode(
        y=y,
        shape=alt.Shape("tool:N", scale=scales["shape"], legend=None),
        tooltip=[
            alt.Tooltip("tool:N", title="Tool"),
            alt.Tooltip(f"{x}:Q", title=x_title, format="d" if steps else ".0%"),
            alt.Tooltip("mean:Q", title="Mean", format=format),
            alt.Tooltip("low:Q", title="95 % low", format=format),
            alt.Tooltip("high:Q", title="95 % high", format=format),
            alt.Tooltip("n:Q", title=unit),
        ],
    )
    layers: list[Any] = [band, line, points]
    if zero:
        rule = alt.Chart(pa.table({"mean": [0.0]})).mark_rule(color=look.ink, strokeDash=[2, 2])
        layers.insert(0, rule.encode(y=alt.Y("mean:Q")))
    if marker is not None:
        layers[-1] = points.add_params(click("step", nearest=True))
        rule = alt.Chart(pa.table({x: [marker]})).mark_rule(color=look.quiet, strokeWidth=1.5)
        layers.insert(0, rule.encode(x=horizontal))
    return layered(*layers, height=height)


def tool_forest(
    data: pd.DataFrame,
    models: pd.DataFrame,
    title: str,
    *,
    look: Look | None = None,
    unit: str = "Prompts",
    height: int = 34,
) -> alt.LayerChart:
    """One row per tool: how far it is from a random map, with its interval, per model.

    Args:
        data: method, model, mean, low, high, n.
        models: model_id and label.
        title: of the horizontal axis, with direction.
        look: the page's theme.
        unit: what n counts.
        height: of a row in px.
    """
    look = look or Look()
    models = models[models["label"].isin(data["model"])]
    scales = model_scales(models)
    table = data.assign(tool=[tool_title(m) for m in data["method"]])
    order = [tool_title(m) for m in tool_order(list(data["method"]))]
    zero = (
        alt.Chart(pa.table({"mean": [0.0]}))
        .mark_rule(color=look.ink, strokeDash=[2, 2])
        .encode(x=alt.X("mean:Q"))
    )
    base = alt.Chart(table).encode(
        y=alt.Y(
            "tool:N",
            sort=order,
            title=None,
            axis=alt.Axis(ticks=False, domain=False, grid=True, gridOpacity=0.3),
        ),
        yOffset=alt.YOffset(
            "model:N", scale=alt.Scale(domain=list(models["label"]), paddingOuter=0.3)
        ),
        color=alt.Color("model:N", scale=scales["color"], legend=None),
        tooltip=[
            alt.Tooltip("tool:N", title="Tool"),
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("mean:Q", title="Over a random map", format="+.3f"),
            alt.Tooltip("low:Q", title="95 % low", format="+.3f"),
            alt.Tooltip("high:Q", title="95 % high", format="+.3f"),
            alt.Tooltip("n:Q", title=unit),
        ],
    )
    bar = base.mark_rule(strokeWidth=2.5, opacity=0.75).encode(
        x=alt.X("low:Q", title=title, axis=alt.Axis(format="+.2~g", grid=False, tickCount=6)),
        x2=alt.X2("high:Q"),
    )
    point = base.mark_point(size=60, filled=True, opacity=1).encode(
        x=alt.X("mean:Q"), shape=alt.Shape("model:N", scale=scales["shape"], legend=None)
    )
    per_row = max(height, 13 * len(models) + 8)
    return layered(zero, bar, point, height=per_row * len(order) + AXIS_ROOM)


def role_bars(
    data: pd.DataFrame, models: pd.DataFrame, title: str, *, look: Look | None = None
) -> alt.LayerChart:
    """What each role of a prompt gets in all, per model or schedule, with intervals; a click tells the role.

    Args:
        data: role, model, mean, low, high, prompts.
        models: model_id and label.
        title: of the vertical axis.
        look: the page's theme.
    """
    scales = model_scales(models)
    labels = list(models["label"])
    roles = [role for role in ROLES if role in set(data["role"])]
    base = alt.Chart(data).encode(
        x=alt.X(
            "role:N",
            sort=roles,
            title=None,
            axis=alt.Axis(labelAngle=0, ticks=False, grid=False),
            scale=alt.Scale(paddingInner=0.25),
        ),
        xOffset=alt.XOffset("model:N", scale=alt.Scale(domain=labels)),
        color=alt.Color("model:N", scale=scales["color"], legend=None),
        tooltip=[
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("role:N", title="Role"),
            alt.Tooltip("mean:Q", title="Mean", format=".3f"),
            alt.Tooltip("low:Q", title="95 % low", format=".3f"),
            alt.Tooltip("high:Q", title="95 % high", format=".3f"),
            alt.Tooltip("prompts:Q", title="Prompts"),
        ],
    )
    bars = base.mark_bar(opacity=0.85, cornerRadiusEnd=2, cursor="pointer").encode(
        y=alt.Y("mean:Q", title=title, axis=alt.Axis(tickCount=5, gridOpacity=0.5))
    )
    bars = bars.add_params(click("role"))
    ink = (look or Look()).ink
    interval = base.mark_rule(strokeWidth=1.6).encode(
        y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=alt.ColorValue(ink)
    )
    return layered(bars, interval, height=280)


def schedule_ticks(
    data: pd.DataFrame, models: pd.DataFrame, axis: Axis, *, look: Look | None = None
) -> alt.LayerChart:
    """Where each schedule's steps stand on the noise scale: one tick a step; a click tells the step.

    Args:
        data: model, step, timestep, log_snr.
        models: model_id and label.
        axis: the horizontal axis.
        look: the page's theme.
    """
    scales = model_scales(models)
    ticks = (
        alt.Chart(data)
        .mark_tick(thickness=2, size=22, opacity=0.85)
        .encode(
            x=across(axis),
            y=alt.Y(
                "model:N",
                sort=list(models["label"]),
                title=None,
                axis=alt.Axis(ticks=False, domain=False, grid=False, labelLimit=160),
            ),
            color=alt.Color("model:N", scale=scales["color"], legend=None),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("step:Q", title="Step"),
                alt.Tooltip("timestep:Q", title="Timestep", format=".0f"),
                alt.Tooltip("log_snr:Q", title="Log-SNR", format="+.2f"),
            ],
        )
        .add_params(click("step", "progress", nearest=True))
    )
    return layered(ticks, height=34 * len(models) + FRAME - 30)


def paths(
    data: pd.DataFrame,
    means: pd.DataFrame,
    colour: str,
    title: str | None,
    scale: alt.Scale | None,
    axes: tuple[str, str],
    *,
    marker: int,
    look: Look | None = None,
) -> alt.LayerChart:
    """Paths from noise to image on two principal components: thin per sample, bold means.

    Args:
        data: sample_id, step, x, y, text, and the column `colour`.
        means: the same with one bold line per value of `colour`; may be empty.
        colour: column that colours the paths.
        title: of the legend; none where the colours speak for themselves.
        scale: of the colours; the theme's where None.
        axes: titles of both axes.
        marker: the chosen step, drawn as points.
        look: the page's theme.
    """
    look = look or Look()
    dense = data["sample_id"].nunique() > 40
    hue = alt.Color(
        f"{colour}:N",
        title=title,
        scale=scale or alt.Undefined,
        legend=alt.Legend(
            orient="top", columns=6, symbolStrokeWidth=3, symbolOpacity=1, labelLimit=150
        ),
    )
    axis = alt.Axis(grid=False, tickCount=5, format=".2~f")
    x = alt.X("x:Q", title=axes[0], axis=axis, scale=alt.Scale(zero=False))
    y = alt.Y("y:Q", title=axes[1], axis=axis, scale=alt.Scale(zero=False))
    thin = (
        alt.Chart(data)
        .mark_line(strokeWidth=1, opacity=0.22 if dense else 0.4)
        .encode(x=x, y=y, color=hue, detail=alt.Detail("sample_id:N"), order=alt.Order("step:Q"))
    )
    at = data[data["step"] == data["nearest"]]
    points = (
        alt.Chart(at)
        .mark_point(size=40, filled=True, opacity=0.85, cursor="pointer")
        .encode(
            x=x,
            y=y,
            color=hue,
            tooltip=[
                alt.Tooltip("text:N", title="Prompt"),
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("step:Q", title="Step"),
            ],
        )
        .add_params(click("prompt_key"))
    )
    layers: list[Any] = [thin, points]
    if len(means):
        base = alt.Chart(means).encode(x=x, y=y, color=hue)
        layers.append(
            base.mark_line(strokeWidth=3.2).encode(
                detail=alt.Detail(f"{colour}:N"), order=alt.Order("step:Q")
            )
        )
        ends = means[means["step"] == 0]
        layers.append(
            alt.Chart(ends)
            .mark_point(size=110, shape="square", filled=True, opacity=1, stroke=look.ink)
            .encode(
                x=x, y=y, color=hue, tooltip=[alt.Tooltip(f"{colour}:N", title=title or "Group")]
            )
        )
    return layered(*layers, height=460)


__all__ = [
    "ROLES",
    "TOOLS",
    "colourise",
    "data_url",
    "draw_map",
    "matrix",
    "paths",
    "read_map",
    "role_bars",
    "schedule_ticks",
    "thin",
    "tiles",
    "tool_curves",
    "tool_forest",
    "tool_order",
    "tool_title",
    "word_lines",
]
