"""A map of images: bins of the plane of two principal components, each with one of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa

from app.charts.layers import colour_bar, layered, region, tips
from app.charts.style import OUTLINE, Look

COLUMNS, ROWS = 20, 10  # of bins
HEIGHT = 470


def image_map(
    bins: pd.DataFrame,
    axes: tuple[str, str],
    chosen: Mapping[str, float],
    *,
    look: Look | None = None,
) -> alt.LayerChart:
    """Bins coloured by how many images the slice leaves in them, an image over each; a dragged rectangle tells its limits.

    Args:
        bins: x_low, x_high, y_low, y_high, images, prompts, images_left, text, model, url (of the image).
        axes: titles of both axes.
        chosen: the limits of the region in force: x_low, x_high, y_low, y_high; outlined where one is there.
        look: the page's theme.
    """
    data = bins.assign(
        x=(bins["x_low"] + bins["x_high"]) / 2, y=(bins["y_low"] + bins["y_high"]) / 2
    )
    plane = {"x": _axis(alt.X, "x", axes[0], data), "y": _axis(alt.Y, "y", axes[1], data)}
    corner = {"x": _axis(alt.X, "x_low", axes[0], data), "y": _axis(alt.Y, "y_low", axes[1], data)}
    most = max(1, int(data["images_left"].max()))
    scale = alt.Scale(range=list((look or Look()).tint), domain=[0, most])
    legend = colour_bar("Images in the slice")
    legend.format = ",d"
    colour = alt.Color("images_left:Q", scale=scale, legend=legend)
    ground = alt.Chart(data).mark_rect(stroke=None)
    ground = ground.encode(**corner, x2="x_high:Q", y2="y_high:Q", color=colour)
    layers = [ground, _pictures(data, plane).add_params(region())]
    if chosen:
        layers.append(_outline(data, chosen))
    return layered(*layers, height=HEIGHT)


def _pictures(data: pd.DataFrame, plane: Mapping[str, Any]) -> alt.Chart:
    """An image in the middle of each bin."""
    side: Any = {"expr": f"max(8, min(width / {COLUMNS}, height / {ROWS}) - 6)"}
    lines = (
        ("text:N", "Prompt"), ("model:N", "Model"), ("images:Q", "Images in this bin"), ("prompts:Q", "Prompts"),
        ("images_left:Q", "Images in the slice"),
    )  # fmt: skip
    marks = alt.Chart(data).mark_image(width=side, height=side, smooth=False, cursor="crosshair")
    opacity = alt.Opacity("shown:Q", scale=None)
    return marks.encode(**plane, url=alt.Url("url:N"), opacity=opacity, tooltip=tips(*lines))


def _axis(kind: Any, field: str, title: str, data: pd.DataFrame) -> Any:
    """One axis of the plane, from the first bin's end to the last one's."""
    name = field[0]
    ends = [float(data[f"{name}_low"].min()), float(data[f"{name}_high"].max())]
    axis = alt.Axis(grid=False, tickCount=5)
    scale = alt.Scale(domain=ends, nice=False, zero=False)
    return kind(f"{field}:Q", title=title, axis=axis, scale=scale)


def _outline(data: pd.DataFrame, chosen: Mapping[str, float]) -> alt.Chart:
    """The region in force; a side that it leaves open is the map's."""
    limits = {}
    for name, pick in (("x_low", "min"), ("x_high", "max"), ("y_low", "min"), ("y_high", "max")):
        end = float(getattr(data[name], pick)())
        limits[name] = [chosen.get(name, end)]
    mark = alt.Chart(pa.table(limits)).mark_rect(
        fill=None, stroke=OUTLINE, strokeWidth=2.5, clip=True
    )
    return mark.encode(x="x_low:Q", x2="x_high:Q", y="y_low:Q", y2="y_high:Q")
