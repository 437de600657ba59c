"""Charts with a row per model, family, concept or measure: points with intervals, ticks, stacked bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from app.charts import bands
from app.charts.axes import AXES, Axis
from app.charts.layers import (
    click,
    interval_fields,
    label_axis,
    layered,
    rule_at,
    tips,
    when,
    zero_line,
)
from app.charts.style import AXIS_ROOM, FRAME, Look, model_channels, model_scales

STATES = ("done", "failed", "missing")


def emergence(
    data: pd.DataFrame,
    models: pd.DataFrame,
    row: str,
    *,
    limits: Sequence[float],
    axis: Axis = AXES["Step"],
    look: Look | None = None,
    row_height: int = 34,
    marker: float | None = None,
) -> alt.LayerChart:
    """When rows emerge: quartiles (thin), the restricted mean's interval (thick), that mean as a point; a click tells the row.

    Args:
        data: model, the row's column, mean, low, high, q1, q3, start_share, emerges_share, never_share, n;
            in the order to draw.
        models: model_id and label.
        row: column of the rows (family or concept).
        limits: both ends of the axis.
        axis: the horizontal axis.
        look: the page's theme.
        row_height: per row, in px.
        marker: the chosen place on the axis.
    """
    base = _model_rows(data, models, row, 0.35, gridOpacity=0.35).encode(
        tooltip=_emergence_tips(row, axis)
    )
    x = alt.Scale(domain=list(limits), nice=False, reverse=axis.reverse)
    mean = base.mark_point(size=58, filled=True, opacity=1).encode(
        x=alt.X("mean:Q", scale=x), shape=model_channels(models).shape
    )
    layers = [*_spreads(base, x, axis), mean.add_params(click(row, nearest=True))]
    if marker is not None:
        rule = rule_at(marker, "x", scale=x)
        layers.insert(0, rule.mark_rule(color=(look or Look()).quiet, strokeWidth=1.5))
    per_row = max(row_height, 13 * len(models) + 8)
    height = per_row * data[row].nunique() + AXIS_ROOM
    return layered(*layers, *bands.side_arrows(data, list(limits), base), height=height)


def _spreads(base: alt.Chart, x: alt.Scale, axis: Axis) -> list[Any]:
    """The quartiles, and the mean's interval."""
    least = 1 if axis.format == "d" else alt.Undefined
    labels = alt.Axis(grid=False, format=axis.format, tickCount=8, tickMinStep=least)
    quartiles = base.mark_rule(strokeWidth=1.6, opacity=0.55, clip=True).encode(
        x=alt.X("q1:Q", scale=x, title=axis.title, axis=labels), x2=alt.X2("q3:Q")
    )
    interval = base.mark_bar(height=5, cornerRadius=2, opacity=0.55, clip=True).encode(
        x=alt.X("low:Q", scale=x), x2=alt.X2("high:Q")
    )
    return [quartiles, interval]


def _emergence_tips(row: str, axis: Axis) -> list[alt.Tooltip]:
    digits = ".0%" if "%" in axis.format else ".1f"
    return tips(
        ("model:N", "Model"),
        (f"{row}:N", row.capitalize()),
        *interval_fields(digits, mean="Restricted mean"),
        ("q1:Q", "First quartile", digits),
        ("q3:Q", "Third quartile", digits),
        ("start_share:Q", "From the start", ".0%"),
        ("emerges_share:Q", "Emerges later", ".0%"),
        ("never_share:Q", "Never", ".0%"),
        ("n:Q", "Prompts"),
    )


def _model_rows(
    data: pd.DataFrame, models: pd.DataFrame, row: str, padding: float, **axis: Any
) -> alt.Chart:
    """A row per value of a column, in which the models stand below each other in their colours."""
    return alt.Chart(data).encode(
        y=alt.Y(
            f"{row}:N",
            sort=list(dict.fromkeys(data[row])),
            title=None,
            axis=label_axis(**{"grid": True, "labelLimit": 160, **axis}),
        ),
        yOffset=alt.YOffset(
            "model:N", scale=alt.Scale(domain=list(models["label"]), paddingOuter=padding)
        ),
        color=model_channels(models).color,
    )


def forest(
    data: pd.DataFrame,
    models: pd.DataFrame,
    row: str,
    title: str,
    *,
    look: Look | None = None,
    row_height: int = 22,
) -> alt.LayerChart:
    """Differences with intervals around zero; hollow where not significant; a click tells the row.

    Args:
        data: model, the row's column, mean, low, high, q, significant, prompts, win_rate, d_z.
        models: model_id and label.
        row: column of the rows.
        title: of the horizontal axis, with direction.
        look: the page's theme.
        row_height: in px.
    """
    channels = model_channels(models)
    base = _model_rows(data, models, row, 0.3, gridOpacity=0.3).encode(tooltip=_forest_tips(row))
    bar = base.mark_rule(strokeWidth=2.5, opacity=0.75).encode(
        x=alt.X("low:Q", title=title, axis=alt.Axis(format="+.3~g", grid=False, tickCount=6)),
        x2=alt.X2("high:Q"),
    )
    point = base.mark_point(size=60, filled=True, strokeWidth=2, opacity=1).encode(
        x=alt.X("mean:Q"),
        shape=channels.shape,
        fillOpacity=alt.FillOpacityValue(0.0, condition=when("datum.significant", 1.0)),
        stroke=alt.Stroke("model:N", scale=model_scales(models)["color"], legend=None),
    )
    height = forest_height(data[row].nunique(), len(models), row_height)
    return layered(
        zero_line("x", (look or Look()).ink),
        bar,
        point.add_params(click(row, nearest=True)),
        height=height,
    )


def forest_height(rows: int, models: int, row_height: int = 22) -> int:
    """The height of a `forest` in px."""
    return max(row_height, 12 * models + 8) * rows + AXIS_ROOM


def changes(
    data: pd.DataFrame, models: pd.DataFrame, title: str, *, look: Look | None = None
) -> alt.LayerChart:
    """One difference per model with its interval around zero; hollow where not separable.

    Args:
        data: model, mean, low, high, q, significant, prompts, win_rate, d_z.
        models: model_id and label.
        title: of the horizontal axis, with direction.
        look: the page's theme.
    """
    return forest(data.assign(change=""), models, "change", title, look=look, row_height=30)


def _forest_tips(row: str) -> list[alt.Tooltip]:
    return tips(
        ("model:N", "Candidate"),
        (f"{row}:N", row.capitalize()),
        *interval_fields("+.4f", mean="Difference"),
        ("q:Q", "p after correction", ".2g"),
        ("win_rate:Q", "Wins", ".0%"),
        ("d_z:Q", "Effect size d_z", "+.2f"),
        ("prompts:Q", "Prompts"),
    )


def score_strip(
    data: pd.DataFrame,
    means: pd.DataFrame,
    models: pd.DataFrame,
    title: str,
    score: str = "CLIP score",
) -> alt.LayerChart:
    """One tick per prompt, and the mean with its interval, per model; a click tells the prompt.

    Args:
        data: model, prompt_id, score; one row per prompt.
        means: model, mean, low, high, prompts.
        models: model_id and label.
        title: of the score's axis.
        score: what the tooltip calls it.
    """
    channels = model_channels(models)
    y = alt.Y("model:N", sort=list(models["label"]), title=None, axis=label_axis(labelLimit=140))
    x = alt.Scale(zero=False, nice=True)
    ticks = (
        alt.Chart(data)
        .mark_tick(thickness=1.5, size=22, opacity=0.28)
        .encode(
            y=y,
            x=alt.X("score:Q", scale=x, title=title, axis=alt.Axis(format=".2f", grid=False)),
            color=channels.color,
            tooltip=tips(
                ("model:N", "Model"), ("prompt_id:O", "Prompt"), ("score:Q", score, ".3f")
            ),
        )
        .add_params(click("prompt_id", nearest=True))
    )
    return layered(ticks, *_strip_means(means, y, x, models), height=34 * len(models) + FRAME - 30)


def _strip_means(
    means: pd.DataFrame, y: alt.Y, x: alt.Scale, models: pd.DataFrame
) -> list[alt.Chart]:
    """The mean of each model and its interval."""
    channels = model_channels(models)
    interval = (
        alt.Chart(means)
        .mark_bar(height=7, cornerRadius=3, opacity=0.85)
        .encode(y=y, x=alt.X("low:Q", scale=x), x2=alt.X2("high:Q"), color=channels.color)
    )
    mean = (
        alt.Chart(means)
        .mark_point(size=90, filled=True, opacity=1, stroke="white", strokeWidth=1)
        .encode(
            y=y,
            x=alt.X("mean:Q", scale=x),
            color=channels.color,
            shape=channels.shape,
            tooltip=tips(("model:N", "Model"), *interval_fields(".4f"), ("prompts:Q", "Prompts")),
        )
    )
    return [interval, mean]


def bars(data: pd.DataFrame, models: pd.DataFrame, *, height: int | None = None) -> alt.Chart:
    """Samples per state and model, stacked to the planned number; a click tells the model.

    Args:
        data: model, state (done, failed, missing), samples, place.
        models: model_id and label, in order.
        height: in px.
    """
    states = alt.Scale(domain=list(STATES), range=["#009E73", "#D55E00", "#9aa5b0"])
    # A narrow card has no room for states that no sample is in.
    present = [state for state in STATES if data.loc[data["state"] == state, "samples"].any()]
    axis = alt.Axis(format="d", grid=False, tickMinStep=1)
    return (
        alt.Chart(data, height=height or 30 * len(models) + FRAME)
        .mark_bar(size=16, cornerRadius=2, cursor="pointer")
        .encode(
            y=alt.Y("model:N", sort=list(models["label"]), title=None, axis=label_axis()),
            x=alt.X("samples:Q", title="Samples", stack="zero", axis=axis),
            color=alt.Color(
                "state:N",
                scale=states,
                legend=alt.Legend(orient="top", title=None, offset=2, values=present),
            ),
            order=alt.Order("place:Q"),
            tooltip=[alt.Tooltip("model:N"), alt.Tooltip("state:N"), alt.Tooltip("samples:Q")],
        )
        .add_params(click("model"))
    )
