"""Intervals in a panel: the limits of its axis, and arrows where an interval reaches beyond them.

An interval is always drawn. Where it is much wider than what the means span (two or three prompts), the
panel stays at the means' scale: the interval is clipped at the panel's edge, and an arrow says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from app.charts.layers import interval_fields, tips

CLIPPED = "Intervals that reach beyond the panel are clipped at the panel's edge (arrows); the data hold them whole."
# How far a panel reaches beyond the means for their intervals, as a share of what the means span.
ROOM = 0.75
UNCLIPPED = pd.DataFrame({"edge": pd.Series(dtype=str)})


def limits_of(
    data: pd.DataFrame,
    column: str = "mean",
    *,
    pad: float = 0.04,
    least: float = 1e-3,
    reach: float = ROOM,
) -> tuple[float, float]:
    """Limits that show the means, and their intervals up to three quarters of the means' span beyond them.

    Args:
        data: the column of the means, and low and high where they are known.
        column: of the means.
        pad: added at both ends, as a share of the limits' span.
        least: added where that is nothing.
        reach: how far intervals are shown beyond the means, as a share of what the means span; infinity = whole.
    """
    lowest, highest = _ends(data[column])
    room = reach * max(highest - lowest, 1e-3)
    low, high = lowest, highest
    if _has_intervals(data) and not np.isnan(least_low := _ends(data["low"])[0]):
        low = min(lowest, max(least_low, lowest - room))
        high = max(highest, min(_ends(data["high"])[1], highest + room))
    added = pad * (high - low) or least
    return low - added, high + added


def _has_intervals(data: pd.DataFrame) -> bool:
    return "low" in data.columns and "high" in data.columns


def _ends(column: pd.Series) -> tuple[float, float]:
    """The lowest and the highest value, NaN where all are, in a tenth of the time of pandas."""
    values = column.to_numpy(float)
    values = values[~np.isnan(values)]
    return (float(values.min()), float(values.max())) if values.size else (np.nan, np.nan)


def outside(
    data: pd.DataFrame, domain: Sequence[float], along: str, series: str = "model"
) -> pd.DataFrame:
    """Where intervals reach beyond the limits: one row per series and edge.

    Args:
        data: low, high, and the columns `along` and `series`.
        domain: the limits of the panel.
        along: column of the other axis.
        series: column that tells the lines apart.

    Returns:
        the rows where each interval reaches furthest beyond an edge, with `edge` above or below; series
        that are clipped at the same edge have different values of `along` where they can.
    """
    if not _has_intervals(data):
        return UNCLIPPED
    low, high = (data[name].to_numpy(float) for name in ("low", "high"))
    rows: list[int] = []
    edges: list[str] = []
    for edge, excess in (("above", high - domain[1]), ("below", domain[0] - low)):
        if (excess > 0).any():
            furthest = _furthest(excess, data[series], data[along].tolist())
            rows += furthest
            edges += [edge] * len(furthest)
    return data.iloc[rows].assign(edge=edges) if rows else UNCLIPPED


def _furthest(excess: np.ndarray, series: pd.Series, along: Sequence[Any]) -> list[int]:
    """Of each series the row that lies furthest beyond an edge, at another value of `along` than those before it if it can."""
    beyond = np.flatnonzero(excess > 0)
    line = pd.factorize(series.iloc[beyond])[0]
    order = np.argsort(-excess[beyond], kind="stable")
    rows: list[int] = []
    for number in range(line.max(initial=-1) + 1):
        of_line = beyond[order[line[order] == number]].tolist()
        taken = {along[row] for row in rows}
        rows.append(next((row for row in of_line if along[row] not in taken), of_line[0]))
    return rows


def clips(data: pd.DataFrame, domain: Sequence[float] | None = None) -> bool:
    """Whether a panel of these rows clips an interval.

    Args:
        data: mean, low and high.
        domain: the limits of the panel; those of `limits_of` where none are given.
    """
    low, high = domain or limits_of(data)
    return bool(_ends(data["low"])[0] < low or _ends(data["high"])[1] > high)


def opacity(data: pd.DataFrame, domain: Sequence[float], usual: float) -> float:
    """Opacity of the bands of a panel: the usual one, down to half of it where they fill the panel, so that lines stay visible.

    Args:
        data: low and high, where they are known.
        domain: the limits of the panel.
        usual: opacity of bands that cover at most half of the panel's height, by their median.
    """
    if not _has_intervals(data):
        return usual
    low, high = domain
    ends = (data[name].to_numpy(float).clip(low, high) for name in ("high", "low"))
    covered = np.subtract(*ends)
    covered = covered[~np.isnan(covered)]
    share = float(np.median(covered)) / ((high - low) or 1.0) if covered.size else 0.0
    return round(usual * 0.5 / share, 3) if share > 0.5 else usual


def arrows(
    rows: pd.DataFrame, along: alt.X, color: alt.Color, *, size: float = 40, format: str = ".3f"
) -> list[alt.Chart]:
    """Arrows at the upper and lower edge of a panel, one layer per edge that clips something.

    Args:
        rows: as `outside` returns them.
        along: the horizontal channel.
        color: of the series.
        size: of an arrow.
        format: of the values in the tooltip.
    """
    layers: list[alt.Chart] = []
    if rows.empty:
        return layers
    for edge, shape, y, inward in (
        ("above", "triangle-up", 0, 3),
        ("below", "triangle-down", "height", -3),
    ):
        marked = rows[rows["edge"] == edge]
        if len(marked):
            mark = alt.Chart(marked).mark_point(
                shape=shape, size=size, filled=True, opacity=1, yOffset=inward
            )
            tooltip = tips(*interval_fields(format, mean="Clipped interval of"))
            layers.append(mark.encode(x=along, y=alt.YValue(y), color=color, tooltip=tooltip))
    return layers


def side_arrows(data: pd.DataFrame, domain: Sequence[float], base: alt.Chart) -> list[alt.Chart]:
    """Arrows at the left and right edge of a chart of rows, for every interval that is clipped there.

    Args:
        data: the chart's rows with low and high.
        domain: the limits of the horizontal axis.
        base: a chart of the rows with its vertical channels and colour.
    """
    layers = []
    for marked, shape, x, inward in (
        (data[data["low"] < domain[0]], "triangle-left", 0, 3),
        (data[data["high"] > domain[1]], "triangle-right", "width", -3),
    ):
        if len(marked):
            mark = base.mark_point(
                shape=shape, size=30, filled=True, opacity=1, xOffset=inward, aria=False
            )
            mark.data = marked
            layers.append(mark.encode(x=alt.XValue(x)))
    return layers
