"""Images in a chart: tiles of saliency maps, and images as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
from PIL import Image

from app.charts.layers import click, colour_bar, label_axis, layered, tips
from app.charts.saliency import VIRIDIS
from app.charts.style import FRAME, OUTLINE

# A picture is a square as large as its cell lets it be.
SIDE: Any = {"expr": "min(bandwidth('x'), bandwidth('y'))"}
SPACED: dict[str, Any] = {"paddingInner": 0.06, "paddingOuter": 0.02}


def image_type(image: Any) -> str:
    """The format that a database value begins as: "webp", "png" or "jpeg"; "" for anything else. A browser looks again."""
    if not isinstance(image, bytes | bytearray | memoryview):
        return ""
    start = bytes(image[:12])
    if start[:4] + start[8:] == b"RIFFWEBP":
        return "webp"
    if start.startswith(b"\x89PNG"):
        return "png"
    return "jpeg" if start.startswith(b"\xff\xd8\xff") else ""


def data_url(image: bytes) -> str:
    """An image as a data URL, so that a chart can show it without a server."""
    kind = image_type(image) or "png"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def enlarged(image: bytes, side: int) -> bytes:
    """An image as PNG, enlarged by a whole factor without smoothing where it is smaller than `side` px."""
    with Image.open(io.BytesIO(image)) as picture:
        colour = picture.convert("RGB")
    if max(colour.size) < side:
        factor = -(-side // max(colour.size))
        size = (colour.width * factor, colour.height * factor)
        colour = colour.resize(size, Image.Resampling.NEAREST)
    out = io.BytesIO()
    colour.save(out, "PNG")
    return out.getvalue()


TILE_TIPS = tips(("note:N", "Map"), ("step:O", "Step"), ("range:N", "Lowest to highest"))


def tiles(
    data: pd.DataFrame,
    rows: Sequence[str],
    *,
    columns: Sequence[Any] | None = None,
    column_title: str | None = None,
    bar: str | None = None,
    of: str = "the row",
    marker: int | None = None,
    cell: int = 84,
    clickable: bool = False,
) -> alt.LayerChart:
    """Pictures in rows and columns, drawn crisp, with one colour bar for the maps.

    Args:
        data: row, column, url, and note, range and step for the tooltip.
        rows: labels from top to bottom; a line break starts a second line.
        columns: labels from left to right; sorted where none are given.
        column_title: of the horizontal axis, whose columns are steps; none where they are something else.
        bar: title of the colour bar; none without.
        of: whose lowest and highest value it names.
        marker: column to outline.
        cell: about the height of a row in px.
        clickable: whether a click tells the tile's step.
    """
    order = list(columns) if columns is not None else sorted(data["column"].unique())
    x, y = _tile_columns(order, column_title), _tile_rows(rows)
    cursor: dict[str, Any] = {"cursor": "pointer"} if clickable else {}
    marks = alt.Chart(data).mark_image(width=SIDE, height=SIDE, smooth=False, **cursor)
    images = marks.encode(x=x, y=y, url=alt.Url("url:N"), tooltip=TILE_TIPS)
    if clickable:
        images = images.add_params(click("step"))
    layers: list[Any] = [images]
    if bar:
        layers.append(_map_bar(bar, of))
    if marker is not None and marker in order:
        layers.append(_tile_outline(marker, rows, x, y))
    return layered(*layers, height=cell * len(rows) + FRAME - 24)


def _tile_columns(order: Sequence[Any], title: str | None) -> alt.X:
    return alt.X(
        "column:O",
        title=title,
        sort=list(order),
        axis=alt.Axis(
            orient="bottom",
            labelAngle=0,
            ticks=False,
            domain=False,
            grid=False,
            labelLimit=130,
            labelExpr="'Step ' + datum.label" if title else alt.Undefined,
        ),
        scale=alt.Scale(domain=list(order), **SPACED),
    )


def _tile_rows(rows: Sequence[str]) -> alt.Y:
    return alt.Y(
        "row:N",
        sort=list(rows),
        title=None,
        axis=label_axis(grid=False, labelLimit=170, labelExpr="split(datum.label, '\\n')"),
        scale=alt.Scale(domain=list(rows), **SPACED),
    )


def _map_bar(title: str, of: str) -> alt.Chart:
    """A colour bar from the lowest to the highest value of a row or a map, drawn by a mark nobody sees."""
    legend = colour_bar(title)
    legend.values = [0, 1]
    legend.labelExpr = f"datum.value < 0.5 ? 'lowest of {of}' : 'highest'"
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
        .mark_rect(fill="transparent", stroke=OUTLINE, strokeWidth=2.5, cornerRadius=2)
        .encode(x=x, y=y)
    )
