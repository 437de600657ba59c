"""Charts that only papers need: panels with one key, sheets of images, matrices.

Functions from data to an Altair chart, like those of `charts`, in points. A sheet places everything
by hand, in points from its upper left corner, so that images and words line up.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import charts
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from typeset import cut, text_width

RED = "#c1121f"
# Viridis at nine places (Smith and van der Walt 2015); its lightness rises evenly, so that a map can
# be read in grey.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (72, 40, 120),
        (62, 74, 137),
        (49, 104, 142),
        (38, 130, 142),
        (31, 158, 137),
        (53, 183, 121),
        (109, 205, 89),
        (180, 222, 44),
        (253, 231, 37),
    ],
    dtype=float,
)
MAP_SIDE = 128


def key(models: pd.DataFrame, width: float, font: float, *, mark: str = "line") -> alt.LayerChart:
    """The models' names beside their line and point, in one or more rows.

    Args:
        models: model_id and label.
        width: of the key in points.
        font: size of the type.
        mark: line (with dash and point) or point.
    """
    rows, x, y = [], 0.0, 0.0
    for label in models["label"]:
        shown = cut(str(label), max(width - 26, 20), font)
        need = 26 + text_width(shown, font)
        if x and x + need > width:
            x, y = 0.0, y + font + 3
        rows.append({"model": str(label), "shown": shown, "x": x, "x2": x + 16, "y": y + font / 2})
        x += need + 10
    data = pd.DataFrame(rows)
    scales = charts.model_scales(models)
    base = alt.Chart(data).encode(y=_at("y"))
    colour = alt.Color("model:N", scale=scales["color"], legend=None)
    dash = alt.StrokeDash("model:N", scale=scales["dash"], legend=None)
    line = base.mark_rule(strokeWidth=1.2, aria=False).encode(
        x=_at("x"), x2=alt.X2("x2"), color=colour, strokeDash=dash
    )
    middle = data.assign(x=data["x"] + 8)
    point = (
        alt.Chart(middle)
        .mark_point(filled=True, size=22, opacity=1, aria=False)
        .encode(
            x=_at("x"),
            y=_at("y"),
            color=colour,
            shape=alt.Shape("model:N", scale=scales["shape"], legend=None),
        )
    )
    names = (
        alt.Chart(data.assign(x=data["x2"] + 4))
        .mark_text(align="left", baseline="middle", fontSize=font, aria=False)
        .encode(x=_at("x"), y=_at("y"), text=alt.Text("shown:N"))
    )
    layers = (
        [point, names] if mark == "point" else [line, *([point] if mark == "both" else []), names]
    )
    return _placed(layers, width, y + font + 2)


def _at(field: str) -> Any:
    """A position in points."""
    kind = alt.X if field.startswith("x") else alt.Y
    return kind(f"{field}:Q", scale=None, axis=None)


def _placed(layers: Sequence[Any], width: float, height: float) -> alt.LayerChart:
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
    axis: charts.Axis,
    title: str,
    y_title: str | None,
    width: float,
    height: float,
    domain: Sequence[float] | None = None,
    format: str = ".2f",
) -> alt.LayerChart:
    """Mean curves with bands, of one panel.

    Args:
        data: as `charts.curves` takes it.
        models: model_id and label.
        axis: the horizontal axis.
        title: of the panel.
        y_title: of the vertical axis, or None.
        width: of the panel in points.
        height: of the panel in points.
        domain: limits of the vertical axis.
        format: of the vertical axis' labels.
    """
    data = charts.without_vast_bands(data, domain=domain)
    shown = domain or limits(
        data
    )  # without a tick at the very top, which would lift one title of a row
    chart = charts.curves(data, models, axis, y_title or "", domain=shown, format=format)
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


def limits(data: pd.DataFrame, column: str = "mean") -> tuple[float, float]:
    """Limits that show the values, and their intervals unless those dwarf them (two prompts)."""
    lowest, highest = float(data[column].min()), float(data[column].max())
    room = 0.75 * max(highest - lowest, 1e-3)
    low, high = lowest, highest
    if {"low", "high"} <= set(data.columns) and data["low"].notna().any():
        low = min(lowest, max(float(data["low"].min()), lowest - room))
        high = max(highest, min(float(data["high"].max()), highest + room))
    pad = 0.05 * (high - low) or 0.01
    return low - pad, high + pad


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
    scales = charts.model_scales(models)
    data = charts.without_vast_bands(data, y, domain)
    vertical = alt.Scale(domain=list(domain or limits(data, y)), nice=False)
    base = alt.Chart(data).encode(
        x=alt.X(
            f"{x}:Q",
            title=x_title,
            scale=alt.Scale(nice=False, zero=False),
            axis=alt.Axis(grid=False, tickCount=4),
        ),
        color=alt.Color("model:N", scale=scales["color"], legend=None),
    )
    axis = alt.Axis(tickCount=4, gridOpacity=0.5)
    layers: list[Any] = []
    if {"low", "high"} <= set(data.columns) and data["low"].notna().any():
        band = base.mark_area(opacity=0.15, aria=False, clip=True)
        layers.append(
            band.encode(
                y=alt.Y("low:Q", scale=vertical, title=y_title, axis=axis),
                y2=alt.Y2("high:Q"),
            )
        )
    line = base.mark_line(strokeWidth=1.1, aria=False, clip=True)
    layers.append(
        line.encode(
            y=alt.Y(f"{y}:Q", scale=vertical, title=y_title, axis=axis),
            strokeDash=alt.StrokeDash("model:N", scale=scales["dash"], legend=None),
        )
    )
    if peaks is not None and len(peaks):
        mark = alt.Chart(peaks).mark_point(filled=True, size=34, opacity=1, aria=False)
        layers.append(
            mark.encode(
                x=alt.X(f"{x}:Q"),
                y=alt.Y(f"{y}:Q", scale=vertical, title=y_title),
                color=alt.Color("model:N", scale=scales["color"], legend=None),
                shape=alt.Shape("model:N", scale=scales["shape"], legend=None),
            )
        )
    return cast(
        alt.LayerChart,
        alt.layer(*layers).properties(
            width=width, height=height, title=cut(title, width + 20, 8) if title else ""
        ),
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
    band = alt.Scale(domain=names, paddingInner=0.04)
    base = alt.Chart(data).encode(
        x=alt.X(
            "column:N",
            scale=band,
            title=None,
            axis=alt.Axis(labelAngle=-90, ticks=False, domain=False),
        ),
        y=alt.Y("row:N", scale=band, title=None, axis=alt.Axis(ticks=False, domain=False)),
    )
    cells = base.mark_rect(aria=False).encode(
        color=alt.Color(
            "value:Q",
            scale=alt.Scale(scheme="viridis", domain=list(domain)),
            legend=alt.Legend(
                title=legend,
                orient="top",
                direction="horizontal",
                gradientLength=min(90, width * 0.6),
                gradientThickness=5,
                titleLimit=400,
                tickCount=3,
                aria=False,
            ),
        )
    )
    middle = (domain[0] + 2 * domain[1]) / 3
    numbers = base.mark_text(fontSize=font, aria=False).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.ColorValue(
            "#ffffff", condition=charts.when(f"datum.value > {middle}", "#000000")
        ),
    )
    side = width if len(names) < 2 else min(width, 34.0 * len(names))
    return cast(
        alt.LayerChart,
        alt.layer(cells, numbers).properties(width=width, height=side * 0.8, title=title),
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
    scales = charts.model_scales(models)
    order = list(dict.fromkeys(data[row]))
    base = alt.Chart(data).encode(
        y=alt.Y(
            f"{row}:N",
            sort=order,
            title=None,
            axis=alt.Axis(ticks=False, domain=False, grid=True, labelLimit=120),
        ),
        yOffset=alt.YOffset(
            "model:N", scale=alt.Scale(domain=list(models["label"]), paddingOuter=0.4)
        ),
        color=alt.Color("model:N", scale=scales["color"], legend=None),
    )
    shown = limits(data)
    shown = (min(shown[0], rule), max(shown[1], rule)) if rule is not None else shown
    scale = alt.Scale(domain=list(shown), nice=True)
    interval = base.mark_rule(strokeWidth=1.1, aria=False, clip=True).encode(
        x=alt.X(
            "low:Q",
            title=title,
            scale=scale,
            axis=alt.Axis(grid=False, tickCount=5),
        ),
        x2=alt.X2("high:Q"),
    )
    point = base.mark_point(filled=True, size=22, opacity=1, aria=False).encode(
        x=alt.X("mean:Q", scale=scale),
        shape=alt.Shape("model:N", scale=scales["shape"], legend=None),
    )
    layers: list[Any] = [interval, point]
    if rule is not None:
        line = alt.Chart(pd.DataFrame({"mean": [rule]})).mark_rule(
            strokeDash=[2, 2], color="#555555", strokeWidth=0.7, aria=False
        )
        layers.insert(0, line.encode(x=alt.X("mean:Q", scale=scale)))
    height = (9 * len(models) + 7) * len(order)
    return cast(alt.LayerChart, alt.layer(*layers).properties(width=width, height=height))


def trails(data: pd.DataFrame, models: pd.DataFrame, titles: tuple[str, str], width: float) -> Any:
    """Mean paths in a plane, from noise (hollow) to image (filled).

    Args:
        data: model, step, x, y.
        models: model_id and label.
        titles: of the two axes.
        width: in points.
    """
    scales = charts.model_scales(models)
    colour = alt.Color("model:N", scale=scales["color"], legend=None)
    shape = alt.Shape("model:N", scale=scales["shape"], legend=None)
    axis = alt.Axis(grid=False, tickCount=5)
    x = alt.X("x:Q", title=titles[0], axis=axis, scale=alt.Scale(zero=False))
    y = alt.Y("y:Q", title=titles[1], axis=axis, scale=alt.Scale(zero=False))
    line = (
        alt.Chart(data)
        .mark_line(strokeWidth=1.0, aria=False)
        .encode(
            x=x,
            y=y,
            order=alt.Order("step:Q"),
            color=colour,
            strokeDash=alt.StrokeDash("model:N", scale=scales["dash"], legend=None),
        )
    )
    first = data[data["step"] == data.groupby("model")["step"].transform("min")]
    last = data[data["step"] == data.groupby("model")["step"].transform("max")]
    start = (
        alt.Chart(first)
        .mark_point(filled=True, fill="white", size=30, strokeWidth=1, opacity=1, aria=False)
        .encode(x=x, y=y, stroke=colour, shape=shape)
    )
    end = (
        alt.Chart(last)
        .mark_point(filled=True, size=34, opacity=1, aria=False)
        .encode(x=x, y=y, color=colour, shape=shape)
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
    scales = charts.model_scales(models)
    return (
        alt.Chart(data)
        .mark_bar(aria=False, stroke="#333333", strokeWidth=0.3)
        .encode(
            y=alt.Y(
                "word:N",
                sort=list(dict.fromkeys(data["word"])),
                title=None,
                axis=alt.Axis(ticks=False, domain=False, labelLimit=60),
            ),
            yOffset=alt.YOffset("model:N", scale=alt.Scale(domain=list(models["label"]))),
            x=alt.X("value:Q", title=title, axis=alt.Axis(grid=False, tickCount=3)),
            color=alt.Color("model:N", scale=scales["color"], legend=None),
        )
        .properties(width=width, height=height)
    )


@dataclass(frozen=True)
class Cell:
    """An image of a sheet: its row, its column, PNG or WebP."""

    row: int
    column: int
    image: bytes


@dataclass(frozen=True)
class Row:
    """A row of a sheet.

    Attributes:
        left: beside its images.
        above: words over its images, each with whether it is marked.
    """

    left: str = ""
    above: tuple[tuple[str, bool], ...] = ()


def sheet(
    cells: Sequence[Cell],
    rows: Sequence[Row],
    columns: Sequence[str],
    width: float,
    font: float,
    *,
    largest: float = 96.0,
) -> alt.LayerChart:
    """Images in rows and columns with their titles; marked words are bold and red.

    Args:
        cells: the images.
        rows: from top to bottom.
        columns: titles from left to right.
        width: of the sheet in points.
        font: size of the type.
        largest: side of an image at most, in points.
    """
    gap = 2.0
    margin = min(max((text_width(r.left, font) for r in rows), default=0.0), width * 0.24)
    margin = margin + 4 if margin else 0.0
    count = max(len(columns), 1)
    side = min((width - margin - gap * (count - 1)) / count, largest)
    step = side + gap
    margin += max((width - margin - step * count + gap) / 2, 0.0)
    tops, y = [], font + 3.0 if any(columns) else 0.0
    for row in rows:
        y += (font + 3) if row.above else 0.0
        tops.append(y)
        y += side + gap
    placed = pd.DataFrame(
        [
            {"x": margin + c.column * step, "y": tops[c.row], "url": charts.data_url(c.image)}
            for c in cells
        ]
    )
    layers: list[Any] = [
        alt.Chart(placed)
        .mark_image(width=side, height=side, align="left", baseline="top", smooth=False, aria=False)
        .encode(x=_at("x"), y=_at("y"), url=alt.Url("url:N"))
    ]
    words = _titles(rows, columns, tops, margin, side, step, width, font)
    for bold, own in words.groupby("bold") if len(words) else ():
        for align, texts in own.groupby("align"):
            for baseline, lines in texts.groupby("baseline"):
                mark: Any = {"align": align, "baseline": baseline, "fontSize": font, "aria": False}
                if bold:
                    mark |= {"fontWeight": "bold", "color": RED}
                chart = alt.Chart(lines[["x", "y", "text"]]).mark_text(**mark)
                layers.append(chart.encode(x=_at("x"), y=_at("y"), text=alt.Text("text:N")))
    return _placed(layers, width, y)


def _titles(
    rows: Sequence[Row],
    columns: Sequence[str],
    tops: Sequence[float],
    margin: float,
    side: float,
    step: float,
    width: float,
    font: float,
) -> pd.DataFrame:
    out: list[dict[str, Any]] = []
    for place, title in enumerate(columns):
        if title:
            text = cut(title, step, font)
            out.append(_text(margin + place * step + side / 2, font, text, "center", "alphabetic"))
    for row, top in zip(rows, tops, strict=True):
        if row.left:
            text = cut(row.left, max(margin - 4, 8), font)
            out.append(_text(margin - 4, top + side / 2, text, "right", "middle"))
        start = margin if not row.left else 0.0
        out.extend(_words(row.above, start, top - 3, width, font))
    return pd.DataFrame(out)


def _words(
    words: Sequence[tuple[str, bool]], x: float, y: float, width: float, font: float
) -> list[dict[str, Any]]:
    out = []
    space = text_width(" ", font)
    for word, marked in words:
        left = width - x
        if left < 12:
            break
        text = cut(word, left, font)
        out.append(_text(x, y, text, "left", "alphabetic", bold=marked))
        x += text_width(text, font, bold=marked) + space
    return out


def _text(
    x: float, y: float, text: str, align: str, baseline: str, *, bold: bool = False
) -> dict[str, Any]:
    return {"x": x, "y": y, "text": text, "align": align, "baseline": baseline, "bold": bold}


def read_map(data: bytes, height: int, width: int) -> NDArray[np.float32]:
    """A stored saliency map, h x w in 0..1."""
    return np.frombuffer(data, dtype=np.float16).reshape(height, width).astype(np.float32)


def paint(saliency: NDArray[np.float32], side: int = MAP_SIDE) -> bytes:
    """A saliency map as PNG, dark (0) to bright (1)."""
    return _png(_coloured(saliency, side))


def overlay(image: bytes | None, saliency: NDArray[np.float32], side: int = MAP_SIDE) -> bytes:
    """A map over the image that it explains: the image in grey, the map's colours on it.

    Args:
        image: WebP or PNG; None paints the map alone.
        saliency: h x w in 0..1.
        side: of the square that is returned, in px.
    """
    if image is None:
        return paint(saliency, side)
    with Image.open(io.BytesIO(image)) as picture:
        grey = picture.convert("L").resize((side, side), Image.Resampling.NEAREST)
    base = np.asarray(grey, dtype=float)[..., None]
    return _png(0.42 * base + 0.58 * _coloured(saliency, side))


def square(image: bytes, side: int = MAP_SIDE) -> bytes:
    """An image as PNG, enlarged without smoothing where it is small."""
    with Image.open(io.BytesIO(image)) as picture:
        colour = picture.convert("RGB")
        if max(colour.size) < side:
            factor = -(-side // max(colour.size))
            size = (colour.width * factor, colour.height * factor)
            colour = colour.resize(size, Image.Resampling.NEAREST)
        return _png(np.asarray(colour, dtype=float))


def _coloured(saliency: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    sized = Image.fromarray(np.clip(saliency, 0, 1).astype(np.float32)).resize(
        (side, side), Image.Resampling.BILINEAR
    )
    place = np.clip(np.asarray(sized, dtype=float), 0, 1) * (len(VIRIDIS) - 1)
    low = np.minimum(place.astype(int), len(VIRIDIS) - 2)
    share = (place - low)[..., None]
    return cast(NDArray[np.float64], VIRIDIS[low] * (1 - share) + VIRIDIS[low + 1] * share)


def _png(pixels: NDArray[np.float64]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
