"""Tables of numbers, in which what is missing is a dash with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import uncertainty

DASH = "–"
NONE = f"[{DASH}]"  # in place of an interval
ENDS = ("low", "high", "from", "to", "interval")
INTERVAL = "no interval: it needs at least two prompts (or scenes, or maps)"
OTHER = "not measured, or not defined for this row"


def show(data: pd.DataFrame, *, why: str = "", **options: Any) -> Any:
    """A table without its index; below it the reason for what is missing, where anything is.

    Args:
        data: the rows.
        why: the reason, where it is not one of the usual ones.
        options: of `st.dataframe`.

    Returns: what `st.dataframe` returns.
    """
    rounded = whole_percents(data, options.get("column_config") or {})
    event = st.dataframe(rounded, **{"hide_index": True, "placeholder": DASH, **options})
    if reasons := missing(data, options.get("column_order")):
        st.caption(f"{DASH}: {why or '; '.join(reasons)}.")
    return event


def whole_percents(data: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Shares to the percent, as the cards say them; those below 1 % to the hundredth of one. Streamlit's own format shows 51.95%."""
    shares = [name for name in data.columns if _is_percent(columns.get(name))]
    return data.assign(
        **{name: data[name].where(data[name].abs() < 0.01, data[name].round(2)) for name in shares}
    )


def _is_percent(column: Any) -> bool:
    return isinstance(column, dict) and column.get("type_config", {}).get("format") == "percent"


def intervals(data: pd.DataFrame, measure: str, *, signed: bool = True) -> list[str | None]:
    """Estimates with their intervals in one narrow column: '+0.0134 [0.0100, 0.0168]', '+0.013 [–]'; None where there is no estimate.

    Args:
        data: columns measure, low, high.
        measure: the column of the estimates.
        signed: whether a positive number has its sign, as a difference should.
    """
    rows = data[[measure, "low", "high"]].to_numpy(dtype=float)
    return [_interval(*row, signed=signed) if pd.notna(row[0]) else None for row in rows]


def _interval(estimate: float, low: float, high: float, *, signed: bool) -> str:
    text = uncertainty.interval_text(estimate, low, high, signed=signed)
    return text if pd.notna(high - low) else f"{text} {NONE}"


def missing(data: pd.DataFrame, shown: Any = None) -> list[str]:
    """Why numbers of a table are missing: ends of intervals, and others.

    Args:
        data: the rows.
        shown: the columns that are shown; None = all.
    """
    columns = [str(each) for each in data.columns if shown is None or each in shown]
    gaps = [
        each
        for each in columns
        if (pd.api.types.is_numeric_dtype(data[each]) or each in ENDS) and _has_gap(data[each])
    ]
    ends = [each for each in gaps if each.rpartition("_")[2] in ENDS]
    return [INTERVAL] * bool(ends) + [OTHER] * (len(gaps) > len(ends))


def _has_gap(column: pd.Series) -> bool:
    return any(pd.isna(each) or str(each).endswith(NONE) for each in column)
