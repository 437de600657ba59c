"""Concept x step heat maps: of a similarity, and of a paired difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa

from app.charts.axes import AXES
from app.charts.layers import click, colour_bar, interval_fields, label_axis, layered, tips
from app.charts.style import FRAME, SEQUENTIAL, Look


def heat(
    data: pd.DataFrame,
    title: str,
    *,
    marker: int | None = None,
    order: Sequence[str] | None = None,
    domain: Sequence[float] | None = None,
    levels: Mapping[int, float] | None = None,
    row_height: int = 17,
    look: Look | None = None,
) -> alt.LayerChart:
    """Concept x step heat map of a similarity or a correlation; a click tells both.

    Args:
        data: concept, family, step, value, prompts.
        title: of the colour bar, with unit.
        marker: the chosen step.
        order: concepts from top to bottom.
        domain: limits of the colour scale.
        levels: log-SNR of each step, where the columns are labelled with it.
        row_height: of a concept, in px.
        look: the page's theme.
    """
    limits: dict[str, Any] = {"domain": list(domain)} if domain else {}
    scale = alt.Scale(scheme=SEQUENTIAL, **limits)
    names = list(order) if order is not None else list(dict.fromkeys(data["concept"]))
    cells = (
        alt.Chart(data)
        .mark_rect(cursor="pointer")
        .encode(
            x=_step_band(data["step"], levels),
            y=_concepts(names),
            color=alt.Color("value:Q", scale=scale, legend=colour_bar(title)),
            tooltip=tips(*CELL, ("value:Q", title, ".3f"), ("prompts:Q", "Prompts")),
        )
        .add_params(click("step", "concept"))
    )
    frame = [] if marker is None else [_step_frame(marker, look or Look())]
    return layered(cells, *frame, height=row_height * len(names) + FRAME)


CELL = (("concept:N", "Concept"), ("family:N", "Family"), ("step:O", "Step"))


def _step_band(steps: pd.Series, levels: Mapping[int, float] | None = None) -> alt.X:
    """A band per step, labelled with its number or its log-SNR."""
    last = int(steps.max()) if len(steps) else 0
    every = max(1, round(last / 10))
    shown = [s for s in range(0, last + 1) if s % every == 0]
    title, written = "Step  (noise → image)", {}
    if levels is not None:
        texts = ", ".join(f"'{s}': '{levels[s]:.1f}'" for s in shown if s in levels)
        title, written = AXES["Log-SNR"].title, {"labelExpr": f"{{{texts}}}[datum.value]"}
    return alt.X(
        "step:O",
        title=title,
        axis=label_axis(values=shown, labelAngle=0, **written),
        scale=alt.Scale(paddingInner=0.0, paddingOuter=0),
    )


def _concepts(names: Sequence[str]) -> alt.Y:
    return alt.Y(
        "concept:N",
        title=None,
        sort=list(names),
        axis=label_axis(labelLimit=150, labelOverlap=False, labelFlush=False, grid=False),
        scale=alt.Scale(paddingInner=0.06, paddingOuter=0),
    )


def _step_frame(step: int, look: Look) -> alt.Chart:
    return (
        alt.Chart(pa.table({"step": [step]}))
        .mark_rect(filled=False, stroke=look.ink, strokeWidth=1.5)  # no fill: clicks go through
        .encode(x=alt.X("step:O"))
    )


def difference_heat(
    data: pd.DataFrame,
    title: str,
    *,
    marker: int | None = None,
    order: Sequence[str] | None = None,
    levels: Mapping[int, float] | None = None,
    row_height: int = 17,
    look: Look | None = None,
) -> alt.LayerChart:
    """Concept x step heat map of a paired difference; dots stay significant after correction; a click tells both.

    Args:
        data: concept, family, step, mean, low, high, q, significant, prompts.
        title: of the colour bar.
        marker: the chosen step.
        order: concepts from top to bottom.
        levels: log-SNR of each step, where the axis shows it.
        row_height: in px.
        look: the page's theme.
    """
    look = look or Look()
    names = list(order) if order is not None else list(dict.fromkeys(data["concept"]))
    base = alt.Chart(data).encode(x=_step_band(data["step"], levels), y=_concepts(names))
    cells = base.mark_rect(cursor="pointer").encode(
        color=alt.Color("mean:Q", scale=_diverging(data["mean"], look), legend=colour_bar(title)),
        tooltip=tips(
            *CELL,
            *interval_fields("+.4f", mean="Difference"),
            ("q:Q", "p after correction", ".2g"),
            ("prompts:Q", "Prompts"),
        ),
    )
    cells = cells.add_params(click("step", "concept"))
    dots = base.transform_filter("datum.significant").mark_circle(
        size=11, color=look.ink, opacity=0.9, cursor="pointer"
    )
    frame = [] if marker is None else [_step_frame(marker, look)]
    # Without a dot its layer would be a picture without content or name to a screen reader.
    marks = [dots] if data["significant"].any() else []
    return layered(cells, *marks, *frame, height=row_height * len(names) + FRAME)


def _diverging(values: pd.Series, look: Look) -> alt.Scale:
    """Orange below zero, blue above it, the page's background between them."""
    most = float(values.abs().max()) if len(values) else 1.0
    return alt.Scale(
        domain=[-(most or 1), 0, most or 1],
        range=["#D55E00", look.middle, "#0072B2"],
        interpolate="rgb",
    )
