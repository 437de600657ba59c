"""Curves over the denoising steps: means per model with their intervals as bands.

Functions from a DataFrame to an Altair chart, without Streamlit and without SQL. Data frames carry the
columns that each function names, and the model's label as `model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from app.charts import bands
from app.charts.axes import Axis, across, step_fields, step_marker
from app.charts.layers import behind, click, interval_fields, layered, rule_at, tips, zero_line
from app.charts.style import Channels, Look, model_channels


def curves(
    data: pd.DataFrame,
    models: pd.DataFrame,
    axis: Axis,
    title: str,
    *,
    marker: float | None = None,
    height: int = 260,
    look: Look | None = None,
    domain: Sequence[float] | None = None,
    format: str = ".3f",
    spread: str = "prompts",
) -> alt.LayerChart:
    """Mean curves per model with their interval as a band, clipped at the panel's edge with an arrow.

    Args:
        data: model, the axis' field, step, mean, low, high, prompts.
        models: model_id and label of the models drawn.
        axis: the horizontal axis.
        title: of the vertical axis, with unit and direction.
        marker: value of the axis to mark (the chosen step); with it, a click tells the step.
        height: in px.
        look: the page's theme.
        domain: limits of the vertical axis.
        format: of the values in the tooltip.
        spread: what the band is over: prompts (a 95 % interval) or seeds (lowest to highest).
    """
    channels = model_channels(models)
    shown = list(domain or bands.limits_of(data))
    clipped = bands.outside(data, shown, axis.field)
    scale = alt.Scale(domain=shown, nice=domain is None and clipped.empty, zero=False)
    vertical: dict[str, Any] = {"scale": scale, "title": title, "axis": _value_axis(format)}
    base = alt.Chart(data).encode(x=across(axis), color=channels.color)
    points = base.mark_point(size=70, filled=True, opacity=0).encode(
        y=alt.Y("mean:Q", scale=scale), tooltip=_tooltip(format, spread)
    )
    faint = bands.opacity(data, shown, 0.16)
    layers: list[Any] = [*_band_and_line(base, channels, vertical, faint), points]
    if marker is not None:
        layers[-1] = points.add_params(click(*step_fields(data), nearest=True))
        layers.insert(0, step_marker(axis, marker, look or Look()))
    layers += bands.arrows(clipped, across(axis), channels.color, format=format)
    return layered(*layers, height=height)


def _band_and_line(
    base: alt.Chart, channels: Channels, vertical: dict[str, Any], opacity: float
) -> list[alt.Chart]:
    band = base.mark_area(opacity=opacity, clip=True).encode(
        y=alt.Y("low:Q", **vertical), y2=alt.Y2("high:Q")
    )
    line = base.mark_line(strokeWidth=2.2, interpolate="monotone").encode(
        y=alt.Y("mean:Q", **vertical), strokeDash=channels.dash
    )
    return [band, line]


def _tooltip(format: str, spread: str) -> list[alt.Tooltip]:
    names = {} if spread == "prompts" else {"low": "Lowest seed", "high": "Highest seed"}
    return tips(
        ("model:N", "Model"),
        ("step:Q", "Step"),
        *interval_fields(format, **names),
        ("prompts:Q", spread.capitalize()),
    )


def _value_axis(format: str) -> alt.Axis:
    """The vertical axis: about five ticks; of a share, 0, a half and 1."""
    return alt.Axis(
        format=format if "%" in format else format.replace("f", "~f"),
        gridOpacity=0.5,
        **({"values": [0, 0.5, 1]} if "%" in format else {"tickCount": 5}),
    )


def predictability(
    data: pd.DataFrame,
    models: pd.DataFrame,
    axis: Axis,
    *,
    marker: float | None = None,
    look: Look | None = None,
) -> alt.LayerChart:
    """Correlation with the final value per step; above the 0.9 line the outcome is settled."""
    look = look or Look()
    chart = curves(
        data,
        models,
        axis,
        "Correlation with the final value (r)  ↑",
        marker=marker,
        height=300,
        look=look,
        domain=(min(0.0, float(data["low"].min()), float(data["mean"].min())), 1),
        format=".2f",
    )
    return behind(rule_at(0.9, "y").mark_rule(color=look.ink, strokeDash=[2, 2]), chart)


def difference_curves(
    data: pd.DataFrame,
    models: pd.DataFrame,
    axis: Axis,
    title: str,
    *,
    marker: float | None = None,
    height: int = 260,
    look: Look | None = None,
) -> alt.LayerChart:
    """Paired difference per step with its interval, around a line at zero."""
    look = look or Look()
    chart = curves(
        data, models, axis, title, marker=marker, height=height, look=look, format="+.3f"
    )
    return behind(zero_line("y", look.ink), chart)
