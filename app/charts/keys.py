"""The colours, dashes and shapes of a chart's series, drawn once for all charts of a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from app.charts.layers import layered
from app.charts.style import Look

COLUMNS = 3  # that a phone has room for


def key(names: Sequence[str], scales: Mapping[str, alt.Scale], look: Look) -> alt.LayerChart:
    """A line with its mark and name for every series, in columns.

    Args:
        names: of the series, in order.
        scales: color, dash and shape, by name.
        look: the page's theme.
    """
    left = [float(i % COLUMNS) for i in range(len(names))]
    data = pd.DataFrame({"name": list(names), "left": left})
    data = data.assign(row=[i // COLUMNS for i in range(len(names))])
    data = data.assign(end=data["left"] + 0.1, middle=data["left"] + 0.05, text=data["left"] + 0.13)
    wide = alt.Scale(domain=[0, COLUMNS], nice=False)
    base = alt.Chart(data).encode(y=alt.Y("row:O", axis=None))
    drawn = base.encode(color=alt.Color("name:N", scale=scales["color"], legend=None))
    line = drawn.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("left:Q", axis=None, scale=wide),
        x2="end:Q",
        strokeDash=alt.StrokeDash("name:N", scale=scales["dash"], legend=None),
    )
    point = drawn.mark_point(size=46, filled=True, opacity=1).encode(
        x=alt.X("middle:Q", axis=None, scale=wide),
        shape=alt.Shape("name:N", scale=scales["shape"], legend=None),
    )
    limit = alt.ExprRef(f"0.85 * width / {COLUMNS}")
    text = base.mark_text(align="left", fontSize=11, color=look.ink, limit=limit).encode(
        x=alt.X("text:Q", axis=None, scale=wide), text="name:N"
    )
    chart = layered(line, point, text, height=20 * (1 + int(data["row"].max())))
    chart.padding = 0  # of Streamlit's 20 px below a chart, a key of one row would be cut
    return chart
