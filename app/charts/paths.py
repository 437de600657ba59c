"""Paths of images on two principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from app.charts.layers import by_width, click, layered, tips
from app.charts.style import Look


def component_titles(shares: Sequence[float]) -> tuple[str, str]:
    """Titles of the axes of two principal components.

    Args:
        shares: of the variance that each explains, 0..1; none where they are not known.
    """
    said = [f" ({share:.0%} of the variance)" for share in shares[:2]] or ["", ""]
    return f"First component{said[0]}", f"Second component{said[-1]}"


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
        data: sample_id, step, nearest, x, y, text, and the column `colour`.
        means: the same with one bold line per value of `colour`; may be empty.
        colour: column that colours the paths.
        title: of the legend; none where the colours speak for themselves.
        scale: of the colours; the theme's where None.
        axes: titles of both axes.
        marker: the chosen step, drawn as points.
        look: the page's theme.
    """
    channels = _plane(axes, colour, title, scale)
    opacity = 0.22 if data["sample_id"].nunique() > 40 else 0.4
    line = alt.Chart(data).mark_line(strokeWidth=1, opacity=opacity)
    thin = line.encode(detail=alt.Detail("sample_id:N"), order=alt.Order("step:Q"), **channels)
    points = (
        alt.Chart(data[data["step"] == data["nearest"]])
        .mark_point(size=40, filled=True, opacity=0.85, cursor="pointer")
        .encode(
            tooltip=tips(("text:N", "Prompt"), ("model:N", "Model"), ("step:Q", "Step")),
            **channels,
        )
        .add_params(click("prompt_key"))
    )
    bold = _bold(means, colour, title, channels, look or Look()) if len(means) else []
    return layered(thin, points, *bold, height=460)


def _plane(
    axes: tuple[str, str], colour: str, title: str | None, scale: alt.Scale | None
) -> dict[str, Any]:
    """The channels that all layers share: both components and the colour."""
    legend = alt.Legend(
        orient="top", columns=by_width(6, 1), symbolStrokeWidth=3, symbolOpacity=1, labelLimit=150
    )
    axis = alt.Axis(grid=False, tickCount=5, format=".2~f")
    return {
        "x": alt.X("x:Q", title=axes[0], axis=axis, scale=alt.Scale(zero=False)),
        "y": alt.Y("y:Q", title=axes[1], axis=axis, scale=alt.Scale(zero=False)),
        "color": alt.Color(f"{colour}:N", title=title, scale=scale or alt.Undefined, legend=legend),
    }


def _bold(
    means: pd.DataFrame, colour: str, title: str | None, channels: dict[str, Any], look: Look
) -> list[alt.Chart]:
    """The mean path of each group, from a square at step 0."""
    line = alt.Chart(means).encode(**channels).mark_line(strokeWidth=3.2)
    start = alt.Chart(means[means["step"] == 0]).mark_point(
        size=110, shape="square", filled=True, opacity=1, stroke=look.ink
    )
    tooltip = tips((f"{colour}:N", title or "Group"))
    return [
        line.encode(detail=alt.Detail(f"{colour}:N"), order=alt.Order("step:Q")),
        start.encode(tooltip=tooltip, **channels),
    ]
