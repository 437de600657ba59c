"""Speed against quality: one point per entry of a study, filled on the Pareto front, hollow where another entry dominates it."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from app.charts.layers import layered, tips, when
from app.charts.style import model_channels, model_scales

DECADE = 10  # from this ratio of the slowest to the fastest on, the axis of seconds is logarithmic
SIZES = (30, 330)  # px² of a point without memory and of that with the most
TIPS = (
    ("model:N", "Entry"),
    ("verdict:N", "Pareto front"),
    ("dominated_by:N", "Dominated by"),
    ("seconds:Q", "Seconds per image", ".3~g"),
    ("memory_gb:Q", "Peak memory, GB", ".2f"),
)


def is_logarithmic(data: pd.DataFrame) -> bool:
    """Whether the seconds span more than a decade.

    Args:
        data: seconds.
    """
    return bool(
        data["seconds"].min() > 0 and data["seconds"].max() > DECADE * data["seconds"].min()
    )


def trade_off(
    data: pd.DataFrame,
    models: pd.DataFrame,
    title: str,
    *,
    memory: bool,
    sizes: tuple[float, float] = SIZES,
    height: float = 300,
) -> alt.LayerChart:
    """Seconds per image against a score, both with intervals; filled on the Pareto front, pale where undecided, hollow where dominated.

    Args:
        data: model, verdict, dominated_by, memory_gb; seconds and score with their limits _low and _high.
        models: model_id and label.
        title: of the score's axis, with its direction.
        memory: whether a point's area is its peak memory.
        sizes: areas of a point without memory and of that with the most; the mean of both where areas say nothing.
        height: of the chart.
    """
    channels = model_channels(models)
    across, upright = _axes(data, title)
    base = alt.Chart(data).encode(color=channels.color)
    x, y = alt.X("seconds:Q", **across), alt.Y("score:Q", **upright)
    interval = base.mark_rule(strokeWidth=1.4, opacity=0.7, aria=False)
    speed = interval.encode(x=alt.X("seconds_low:Q", **across), x2=alt.X2("seconds_high:Q"), y=y)
    quality = interval.encode(x=x, y=alt.Y("score_low:Q", **upright), y2=alt.Y2("score_high:Q"))
    point = base.mark_point(filled=True, strokeWidth=2, opacity=1).encode(
        x=x,
        y=y,
        shape=channels.shape,
        size=_area(memory, sizes),
        stroke=alt.Stroke("model:N", scale=model_scales(models)["color"], legend=None),
        fillOpacity=_fill(),
        tooltip=tips(*TIPS, ("score:Q", "Score", ".4f")),
    )
    return layered(speed, quality, point, height=height)


def _axes(data: pd.DataFrame, title: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the axis of seconds, and of that of the score."""
    logarithmic = is_logarithmic(data)
    seconds = {"type": "log", "nice": False} if logarithmic else {"zero": False}
    across = {
        "scale": alt.Scale(padding=14, **seconds),
        "axis": alt.Axis(grid=False, tickCount=6, format="~r"),
        "title": f"Seconds per image{', log scale' if logarithmic else ''}  ← faster",
    }
    upright = {
        "scale": alt.Scale(zero=False, padding=10),
        "axis": alt.Axis(tickCount=6, gridOpacity=0.4, format=".4~f"),
        "title": title,
    }
    return across, upright


def _fill() -> Any:
    """Filled, pale or hollow, by the verdict."""
    opacity: Any = [when("datum.verdict == 'dominated'", 0.0), when("datum.verdict == 'undecided'", 0.3)]  # fmt: skip
    return alt.FillOpacityValue(0.9, condition=opacity)


def _area(memory: bool, sizes: tuple[float, float]) -> Any:
    if not memory:
        return alt.SizeValue(sum(sizes) / 2)
    scale = alt.Scale(zero=True, range=list(sizes))  # from 0, so that 1 % more looks like it
    return alt.Size("memory_gb:Q", scale=scale, legend=None)
