"""Where the steps of each timestep schedule are on the noise scale."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.charts.axes import Axis, across
from app.charts.layers import click, label_axis, layered, tips
from app.charts.style import FRAME, Look, model_channels


def schedule_ticks(
    data: pd.DataFrame, models: pd.DataFrame, axis: Axis, *, look: Look | None = None
) -> alt.LayerChart:
    """The steps of each schedule on the noise scale: one tick a step; a click tells the step.

    Args:
        data: model, step, timestep, log_snr.
        models: model_id and label.
        axis: the horizontal axis.
        look: the page's theme.
    """
    names = label_axis(grid=False, labelLimit=160)
    ticks = (
        alt.Chart(data)
        .mark_tick(thickness=2, size=22, opacity=0.85)
        .encode(
            x=across(axis),
            y=alt.Y("model:N", sort=list(models["label"]), title=None, axis=names),
            color=model_channels(models).color,
            tooltip=tips(
                ("model:N", "Model"),
                ("step:Q", "Step"),
                ("timestep:Q", "Timestep", ".0f"),
                ("log_snr:Q", "Log-SNR", "+.2f"),
            ),
        )
        .add_params(click("step", "progress", nearest=True))
    )
    return layered(ticks, height=34 * len(models) + FRAME - 30)
