"""The chart of a review: the interval of a difference against the margin of its criterion."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.analysis.reviews import Criterion
from app.analysis.uncertainty import Interval
from app.charts.layers import layered
from app.charts.style import Look


def margin_chart(gap: Interval, criterion: Criterion, look: Look) -> alt.LayerChart:
    """The interval of the difference, and the side of the margin on which the criterion passes."""
    sign = 1 if criterion.direction == "higher" else -1
    edge = -sign * criterion.margin
    domain = _domain(gap, edge)
    side = (edge, domain[1]) if sign > 0 else (domain[0], edge)
    row = {"mean": gap.estimate, "low": gap.low, "high": gap.high, "zero": 0.0}
    base = alt.Chart(pd.DataFrame([{**row, "from": side[0], "to": side[1]}]))
    scale = alt.Scale(domain=domain, nice=False)
    title = f"Difference; {'right' if sign > 0 else 'left'} is better"
    x = alt.X("from:Q", scale=scale, title=title, axis=alt.Axis(grid=False, tickCount=5))
    allowed = base.mark_rect(color="#009E73", opacity=0.13).encode(x=x, x2=alt.X2("to:Q"))
    zero = base.mark_rule(color=look.ink, strokeDash=[2, 2]).encode(x=alt.X("zero:Q", scale=scale))
    bar = base.mark_bar(height=7, cornerRadius=3, color="#0072B2", opacity=0.8).encode(
        x=alt.X("low:Q", scale=scale), x2=alt.X2("high:Q")
    )
    return layered(allowed, zero, bar, _point(base, scale), height=84)


def _domain(gap: Interval, edge: float) -> list[float]:
    """Limits of the axis that hold the interval, the margin and zero."""
    low, high = min(gap.low, edge, 0.0), max(gap.high, edge, 0.0)
    pad = 0.12 * (high - low) or 0.01
    return [low - pad, high + pad]


def _point(base: alt.Chart, scale: alt.Scale) -> alt.Chart:
    tooltip = [
        alt.Tooltip("mean:Q", title="Difference", format="+.4f"),
        alt.Tooltip("low:Q", title="95 % low", format="+.4f"),
        alt.Tooltip("high:Q", title="95 % high", format="+.4f"),
    ]
    point = base.mark_point(size=80, filled=True, color="#0072B2", stroke="white", opacity=1)
    return point.encode(x=alt.X("mean:Q", scale=scale), tooltip=tooltip)
