"""Values of a training run's checkpoints against training step, as small panels."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa

from app.charts import bands
from app.charts.layers import interval_fields, layered, tips
from app.charts.style import Look, model_channels

STEPS = "training_step"
WRITTEN_OUT = 10_000  # training steps below it; from it on 20,000 is 20k


def _across(most: float) -> alt.X:
    return alt.X(
        f"{STEPS}:Q",
        title="Training step",
        axis=alt.Axis(grid=False, tickCount=5, format="~s" if most >= WRITTEN_OUT else ",d"),
        scale=alt.Scale(nice=False, zero=False, padding=6),
    )


def panel(
    data: pd.DataFrame,
    models: pd.DataFrame,
    title: str,
    *,
    column: str = "mean",
    zero: bool = False,
    marker: int | None = None,
    look: Look | None = None,
    height: int = 150,
    format: str = ".3f",
    reach: float = bands.ROOM,
) -> alt.LayerChart:
    """One value per checkpoint with its band; the points in the run's ramp of colours.

    Args:
        data: training_step, model, the column, low, high, prompts.
        models: model_id, label, shade and run_number of the checkpoints.
        title: of the vertical axis.
        column: of the value.
        zero: whether a rule marks 0, "no difference".
        marker: the chosen training step.
        look: the page's theme.
        height: in pixels.
        format: of the values.
        reach: as of `bands.limits_of`.
    """
    look = look or Look()
    data = data.assign(mean=data[column])
    low, high = bands.limits_of(data, reach=reach)
    domain = [min(low, 0.0), max(high, 0.0)] if zero else [low, high]
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(domain=domain, nice=False), axis=alt.Axis(tickCount=4, format=format))  # fmt: skip
    x = _across(data[STEPS].max())
    layers = [*_rules(zero, marker, look, x, y), *_marks(data, models, x, y, look, format)]
    ink: Any = alt.ColorValue(look.ink)
    beyond = bands.outside(data.assign(series="all"), domain, STEPS, "series")
    layers += bands.arrows(beyond, x, ink, format=format)
    return layered(*layers, height=height)


def _marks(
    data: pd.DataFrame, models: pd.DataFrame, x: alt.X, y: alt.Y, look: Look, format: str
) -> list[alt.Chart]:
    """Band, line and points."""
    base = alt.Chart(data).encode(x=x)
    band = base.mark_area(opacity=0.35, color=look.quiet, clip=True, aria=False)
    line = base.mark_line(color=look.ink, strokeWidth=1.5, clip=True, aria=False)
    point = base.mark_point(filled=True, size=55, opacity=1, clip=True)
    tooltip = tips(("model:N", "Checkpoint"), *interval_fields(format, mean="Value"))
    return [
        band.encode(y=alt.Y("low:Q"), y2="high:Q"),
        line.encode(y=y),
        point.encode(y=y, color=model_channels(models).color, tooltip=tooltip),
    ]


def _rules(zero: bool, marker: int | None, look: Look, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The rule of no difference, and that of the chosen training step."""
    rules = []
    if zero:
        none = alt.Chart(pa.table({"mean": [0.0]}))
        rules.append(none.mark_rule(color=look.quiet, strokeDash=[4, 3], aria=False).encode(y=y))
    if marker is not None:
        at = alt.Chart(pa.table({STEPS: [marker]}))
        rules.append(at.mark_rule(color=look.quiet, strokeWidth=1.5, aria=False).encode(x=x))
    return rules
