"""One point per prompt: baseline against candidate."""

from __future__ import annotations

import altair as alt
import pandas as pd
import pyarrow as pa

from app.charts.layers import click, layered, tips
from app.charts.style import Look, model_channels

TIPS = tips(
    ("text:N", "Prompt"),
    ("model:N", "Candidate"),
    ("baseline:Q", "Baseline", ".3f"),
    ("candidate:Q", "Candidate", ".3f"),
    ("difference:Q", "Difference", "+.3f"),
)


def scatter(
    data: pd.DataFrame,
    models: pd.DataFrame,
    x_title: str,
    y_title: str,
    *,
    look: Look | None = None,
) -> alt.LayerChart:
    """One point per prompt: baseline against candidate, with the line of equality; a click tells the prompt.

    Args:
        data: model, prompt_id, text, baseline, candidate, difference.
        models: model_id and label of the candidates.
        x_title: of the baseline's axis.
        y_title: of the candidate's axis.
        look: the page's theme.
    """
    channels = model_channels(models)
    both = pd.concat([data["baseline"], data["candidate"]])
    pad = float((both.max() - both.min()) * 0.05) or 0.01
    limits = [float(both.min()) - pad, float(both.max()) + pad]
    scale = alt.Scale(domain=limits, nice=False)
    axis = alt.Axis(format=".3~f", tickCount=6, gridOpacity=0.4)
    equal = (
        alt.Chart(pa.table({"baseline": limits, "candidate": limits}))
        .mark_line(color=(look or Look()).quiet, strokeDash=[3, 3])
        .encode(x=alt.X("baseline:Q", scale=scale), y=alt.Y("candidate:Q", scale=scale))
    )
    points = alt.Chart(data).mark_point(size=58, filled=True, opacity=0.72, cursor="pointer")
    points = points.encode(
        x=alt.X("baseline:Q", scale=scale, title=x_title, axis=axis),
        y=alt.Y("candidate:Q", scale=scale, title=y_title, axis=axis),
        color=channels.color,
        shape=channels.shape,
        tooltip=TIPS,
    )
    return layered(equal, points.add_params(click("prompt_key")), height=420)
