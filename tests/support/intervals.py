"""The intervals that the spec of a chart draws: which rows they are of, and whether they end inside their panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

COUNTS = ("prompts", "n", "scenes")
PARTS = ("layer", "concat", "vconcat", "hconcat")
ARROWS = {"triangle-up", "triangle-down", "triangle-left", "triangle-right"}


def layers(part: Any, data: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every layer of a spec, with its data."""
    data = part.get("data", data)
    yield part, data
    for each in [each for key in PARTS for each in part.get(key, [])]:
        yield from layers(each, data)


def intervals(
    spec: Any, rows_of: Callable[[str], pd.DataFrame]
) -> Iterator[tuple[pd.DataFrame, tuple[float, float] | None]]:
    """The rows of every layer that draws from `low` to `high`, and the limits of its axis where they are fixed.

    Args:
        spec: of a chart, in Vega-Lite.
        rows_of: a data set by its name.
    """
    for part, data in layers(spec):
        for axis in "xy":
            first = part.get("encoding", {}).get(axis, {})
            second = part.get("encoding", {}).get(f"{axis}2", {})
            if (first.get("field"), second.get("field")) == ("low", "high"):
                domain = (first.get("scale") or {}).get("domain")
                fixed = (min(domain), max(domain)) if isinstance(domain, list) else None
                yield rows_of(data["name"]), fixed


def without_interval(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a mean of several prompts and without the interval that belongs to it.

    Where a table does not say how many there are, each of its means is one of several. Tables of trust that were
    measured by an old version have no standard deviation (`sd`), and so no interval.
    """
    several = rows["mean"].notna()
    for name in COUNTS:
        if name in rows:
            several &= rows[name] > 1
    if "sd" in rows:
        several &= rows["sd"].notna()
    return rows[several & (rows["low"].isna() | rows["high"].isna())]


def beyond(rows: pd.DataFrame, fixed: tuple[float, float] | None) -> bool:
    """Whether an interval reaches beyond its panel."""
    return fixed is not None and bool(
        (rows["low"] < fixed[0]).any() or (rows["high"] > fixed[1]).any()
    )


def has_arrows(spec: Any) -> bool:
    """Whether a chart has an arrow where an interval is clipped."""
    marks = [part.get("mark") for part, _ in layers(spec)]
    return any(isinstance(mark, dict) and mark.get("shape") in ARROWS for mark in marks)
