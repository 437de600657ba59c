"""Images in a chart: film strips, contact sheets, tiles of saliency maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
from PIL import Image

from app.charts.axes import step_fields
from app.charts.layers import click, colour_bar, label_axis, layered, tips
from app.charts.saliency import VIRIDIS
from app.charts.style import FRAME, Look

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


def _drawable(data: pd.DataFrame) -> pd.DataFrame:
    """The rows with their image as `url`."""
    return data.assign(url=[data_url(image) for image in data["image"]]).drop(columns="image")


def film_strip(
    data: pd.DataFrame,
    models: pd.DataFrame,
    *,
    marker: int | None = None,
    cell: int = 64,
    look: Look | None = None,
) -> alt.LayerChart:
    """Frames over steps, one row per model; a click on a frame selects its step.

    Args:
        data: model, step, image (WebP or PNG bytes), similarity.
        models: model_id and label, in the order of the rows.
        marker: the chosen step; its nearest frame is outlined.
        cell: about the height of a row in px.
        look: the page's theme.
    """
    labels = [label for label in models["label"] if label in set(data["model"])]
    frames = _drawable(data)
    steps = sorted(frames["step"].unique())
    across = alt.Axis(orient="bottom", labelAngle=0, ticks=False, domain=False, grid=False)
    x = alt.X("step:O", title="Step  (noise → image)", axis=across, scale=alt.Scale(**SPACED))
    axis = label_axis(grid=False, labelLimit=120) if len(labels) > 1 else None
    y = alt.Y("model:N", sort=labels, title=None, axis=axis, scale=alt.Scale(**SPACED))
    scored = [("similarity:Q", "Similarity to the prompt", ".3f")] if "similarity" in frames else []
    tooltip = tips(("model:N", "Model"), ("step:O", "Step"), *scored)
    images = (
        alt.Chart(frames)
        .mark_image(width=SIDE, height=SIDE, smooth=False, cursor="pointer")
        .encode(x=x, y=y, url=alt.Url("url:N"), tooltip=tooltip)
        .add_params(click(*step_fields(data)))
    )
    layers: list[Any] = [images]
    if marker is not None and steps:
        nearest = min(steps, key=lambda s: abs(s - marker))
        layers.append(_step_outline(nearest, labels, x, y))
    return layered(*layers, height=cell * len(labels) + FRAME - 24)


def _step_outline(step: int, labels: Sequence[str], x: alt.X, y: alt.Y) -> alt.Chart:
    frame = pa.table({"step": [step] * len(labels), "model": list(labels)})
    return (
        alt.Chart(frame)
        .mark_rect(filled=False, stroke="#E69F00", strokeWidth=3, cornerRadius=2)
        .encode(x=x, y=y)
    )


def contact_sheet(
    data: pd.DataFrame,
    models: pd.DataFrame,
    *,
    order: Sequence[int] | None = None,
    cell: int = 104,
    fewer: bool = False,
    score: str = "CLIP score",
    look: Look | None = None,
) -> alt.Chart:
    """Images side by side: a column per prompt, a row per model; a click selects the prompt.

    Args:
        data: model, prompt_id, prompt_key, text, score, image.
        models: model_id and label, in the order of the rows.
        order: prompt_id from left to right; ascending where none is given.
        cell: about the height of a row in px.
        fewer: whether to leave out the last prompts where the chart has no room for them, as on a phone.
        score: what the tooltip calls the score.
        look: the page's theme.
    """
    labels = [label for label in models["label"] if label in set(data["model"])]
    images = _drawable(data)
    band = alt.Scale(paddingInner=0.05, paddingOuter=0.0)
    images["place"] = images["prompt_id"].rank(method="dense")
    room = f"datum.place <= max(2, floor(width / {0.77 * cell:.0f}))" if fewer else "true"
    columns = list(order) if order is not None else "ascending"
    names = label_axis(grid=False, labelLimit=120)
    return (
        alt.Chart(images, height=cell * len(labels))
        .transform_filter(room)
        .mark_image(width=SIDE, height=SIDE, smooth=False, cursor="pointer")
        .encode(
            x=alt.X("prompt_id:O", title=None, axis=None, scale=band, sort=columns),
            y=alt.Y("model:N", sort=labels, title=None, scale=band, axis=names),
            url=alt.Url("url:N"),
            tooltip=tips(("text:N", "Prompt"), ("model:N", "Model"), ("score:Q", score, ".3f")),
        )
        .add_params(click("prompt_key"))
    )


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
        .mark_rect(fill="transparent", stroke="#E69F00", strokeWidth=2.5, cornerRadius=2)
        .encode(x=x, y=y)
    )
