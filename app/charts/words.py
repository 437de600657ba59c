"""Charts of words and roles: lines per word, bars per role."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from app.analysis.words import ROLES
from app.charts.axes import AXES, across, step_marker
from app.charts.layers import by_width, click, interval_fields, layered, tips
from app.charts.style import Look, model_channels, series_scales


def word_lines(
    data: pd.DataFrame, words: Sequence[str], title: str, *, marker: int, look: Look | None = None
) -> alt.LayerChart:
    """One line per word over the steps, with a mark at each recorded step; a click tells the step.

    Args:
        data: word, role, step, value, seeds.
        words: in the order of the prompt, at most eight.
        title: of the vertical axis.
        marker: the chosen step.
        look: the page's theme.
    """
    axis = AXES["Step"]
    scales = series_scales(words, range(len(words)))
    legend = alt.Legend(
        orient="top",
        title=None,
        symbolStrokeWidth=2.5,
        symbolOpacity=1,
        columns=by_width(4, 2),
        labelLimit=90,
    )
    shape = alt.Shape("word:N", scale=scales["shape"], legend=legend, sort=list(words))
    base = alt.Chart(data).encode(
        x=across(axis),
        y=alt.Y("value:Q", title=title, axis=alt.Axis(tickCount=5, gridOpacity=0.5)),
        color=alt.Color("word:N", scale=scales["color"], legend=legend, sort=list(words)),
    )
    line = base.mark_line(strokeWidth=2.2, interpolate="monotone").encode(
        strokeDash=alt.StrokeDash("word:N", scale=scales["dash"], legend=legend, sort=list(words))
    )
    points = base.mark_point(size=46, filled=True, opacity=1).encode(
        shape=shape,
        tooltip=tips(
            ("word:N", "Word"),
            ("role:N", "Role"),
            ("step:Q", "Step"),
            ("value:Q", title, ".3f"),
            ("seeds:Q", "Seeds"),
        ),
    )
    points = points.add_params(click("step", nearest=True))
    return layered(step_marker(axis, marker, look or Look()), line, points, height=300)


def role_bars(
    data: pd.DataFrame, models: pd.DataFrame, title: str, *, look: Look | None = None
) -> alt.LayerChart:
    """What each role of a prompt gets in all, per model or schedule, with intervals; a click tells the role.

    Args:
        data: role, model, mean, low, high, prompts.
        models: model_id and label.
        title: of the vertical axis.
        look: the page's theme.
    """
    roles = [role for role in ROLES if role in set(data["role"])]
    base = alt.Chart(data).encode(
        x=alt.X(
            "role:N",
            sort=roles,
            title=None,
            axis=alt.Axis(labelAngle=0, ticks=False, grid=False),
            scale=alt.Scale(paddingInner=0.25),
        ),
        xOffset=alt.XOffset("model:N", scale=alt.Scale(domain=list(models["label"]))),
        color=model_channels(models).color,
        tooltip=tips(
            ("model:N", "Model"),
            ("role:N", "Role"),
            *interval_fields(".3f"),
            ("prompts:Q", "Prompts"),
        ),
    )
    bars = base.mark_bar(opacity=0.85, cornerRadiusEnd=2, cursor="pointer").encode(
        y=alt.Y("mean:Q", title=title, axis=alt.Axis(tickCount=5, gridOpacity=0.5))
    )
    interval = base.mark_rule(strokeWidth=1.6).encode(
        y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=alt.ColorValue((look or Look()).ink)
    )
    return layered(bars.add_params(click("role")), interval, height=280)
