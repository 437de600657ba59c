"""When concepts are visible, when they are decided, and from when on they are irreversible."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.charts.axes import Axis
from app.charts.layers import interval_fields, label_axis, layered, tips, when
from app.charts.style import AXIS_ROOM, model_channels, model_scales

# By conditions: Vega spreads the opacities of a scale evenly over its kinds, whatever they are.
FILLED = alt.FillOpacityValue(
    1.0,
    condition=[
        when("datum.kind === 'visible'", 0.0),
        when("datum.kind === 'irreversible'", 0.35),
    ],
)


def timeline(data: pd.DataFrame, models: pd.DataFrame, axis: Axis) -> alt.LayerChart:
    """Visible (hollow), decided (filled) and irreversible (pale) positions with their intervals, a row per family and kind, coloured by model.

    Args:
        data: model, family, kind, mean, low, high, prompts; in the order to draw.
        models: model_id and label.
        axis: the horizontal axis.
    """
    rows = data.assign(row=data["family"] + ", " + data["kind"])
    order = list(dict.fromkeys(rows["row"]))
    channels = model_channels(models)
    base = alt.Chart(rows).encode(
        y=alt.Y("row:N", sort=order, title=None, axis=label_axis(grid=True, labelLimit=160)),
        yOffset=alt.YOffset(
            "model:N", scale=alt.Scale(domain=list(models["label"]), paddingOuter=0.35)
        ),
        color=channels.color,
        tooltip=tips(
            ("model:N", "Model"),
            ("row:N", "Family"),
            *interval_fields(".1f", mean="Position"),
            ("prompts:Q", "Prompts"),
        ),
    )
    scale = alt.Scale(nice=True, zero=False, reverse=axis.reverse)
    labels = alt.Axis(grid=False, format=axis.format, tickCount=8)
    interval = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
        x=alt.X("low:Q", scale=scale, title=axis.title, axis=labels), x2=alt.X2("high:Q")
    )
    point = base.mark_point(size=58, opacity=1, strokeWidth=2).encode(
        x=alt.X("mean:Q", scale=scale),
        shape=channels.shape,
        fill=alt.Fill("model:N", scale=model_scales(models)["color"], legend=None),
        fillOpacity=FILLED,
    )
    per_row = max(22, 12 * len(models) + 8)
    return layered(interval, point, height=per_row * len(order) + AXIS_ROOM)
