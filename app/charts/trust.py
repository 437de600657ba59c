"""Which tool to believe on which model, as a grid of words on three colours."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from app.analysis.trust import FAILS, PASSES, UNDECIDED
from app.charts.layers import label_axis, layered, tips
from app.charts.style import Look
from app.charts.tools import tool_order, tool_title

ROW = 54  # height of a row in px
ROOM = 130  # px of a cell that has room for its reason
LABEL = f"bandwidth('x') < {ROOM} ? split(datum.label, ' ') : datum.label"
FILLS = {
    False: {PASSES: "#c9e9dd", FAILS: "#fbd5c4", UNDECIDED: "#e6eaee"},
    True: {PASSES: "#0e4a39", FAILS: "#6b2f12", UNDECIDED: "#2a343e"},
}
"""Of a light page and of a dark one; the words stand on them with at least 7 to 1."""
TEXT = {False: "#0b1017", True: "#f2f5f8"}


def grid(data: pd.DataFrame, models: pd.DataFrame, look: Look) -> alt.LayerChart:
    """A row per tool, a column per model; each cell says passes, fails or undecided, and why where there is room.

    Args:
        data: model, method, believed, why.
        models: model_id and label, in the order of the columns.
        look: the page's theme.
    """
    order = [tool_title(m) for m in tool_order(list(data["method"]))]
    columns = [label for label in models["label"] if label in set(data["model"])]
    lines = [why.replace(", ", "\n") for why in data["why"]]
    table = data.assign(tool=[tool_title(m) for m in data["method"]], lines=lines)
    fills = FILLS[look.dark]
    labels = label_axis(
        orient="top", labelAngle=0, grid=False, labelLimit=120, labelOverlap=False, labelExpr=LABEL
    )
    base = alt.Chart(table).encode(
        x=alt.X("model:N", sort=columns, title=None, axis=labels, scale=alt.Scale(domain=columns, paddingInner=0.02)),
        y=alt.Y("tool:N", sort=order, title=None, axis=label_axis(grid=False), scale=alt.Scale(paddingInner=0.05)),
        tooltip=tips(("tool:N", "Tool"), ("model:N", "Model"), ("believed:N", "Verdict"), ("why:N", "Why")),
    )  # fmt: skip
    scale = alt.Scale(domain=list(fills), range=list(fills.values()))
    cells = base.mark_rect(cornerRadius=4).encode(
        color=alt.Color("believed:N", scale=scale, legend=None)
    )
    ink = TEXT[look.dark]
    word = base.mark_text(
        fontSize=_where_wide("13", "10.5"), fontWeight=600, color=ink, dy=_where_wide("-15", "0")
    ).encode(text="believed:N")
    reason = base.mark_text(
        fontSize=_where_wide("11", "0"), color=ink, lineBreak="\n", lineHeight=13, baseline="top", dy=-3
    ).encode(text="lines:N")  # fmt: skip
    return layered(cells, word, reason, height=ROW * len(order) + 40)


def _where_wide(wide: str, narrow: str) -> Any:
    """A value for cells that have room for a reason, and one for others."""
    return alt.ExprRef(f"bandwidth('x') < {ROOM} ? {narrow} : {wide}")
