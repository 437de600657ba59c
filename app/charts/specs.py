"""A chart as the Vega-Lite spec that the page sends.

Altair's `to_dict` puts a copy of every layered chart together again, and asks of every leaf whether it
keeps a protocol: 9 ms for `charts.curves`, of which 1.2 are left here (CPU time, with its data as Arrow).
The tests hold both against each other for every chart.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa

PLAIN = {str, int, float, bool, type(None)}

parse = cache(alt.utils.parse_shorthand)


def written(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """What the chart's `to_dict` writes, not checked against the schema, under a theme without a config.

    Args:
        chart: a chart whose channels name their types.

    Raises:
        ValueError: a channel that leaves its type to be guessed from the data.
    """
    return {**_plain(chart), "$schema": alt.SCHEMA_URL}


def _plain(part: Any) -> Any:
    """A part of a chart in what JSON knows, with data frames as Altair's current transformer leaves them."""
    if type(part) in PLAIN:
        return part
    if isinstance(part, alt.SchemaBase):
        return _object(part)
    if isinstance(part, dict):
        return {key: _plain(value) for key, value in part.items() if value is not alt.Undefined}
    if isinstance(part, list | tuple):
        return [_plain(each) for each in part]
    if isinstance(part, pd.DataFrame | pa.Table):
        transform: Any = alt.data_transformers.get()
        return transform(_arrow(part) if isinstance(part, pd.DataFrame) else part)
    if hasattr(part, "tolist"):  # numbers and arrays of numpy, series
        return part.tolist()
    return part.to_dict() if hasattr(part, "to_dict") else part


def _arrow(frame: pd.DataFrame) -> pa.Table | pd.DataFrame:
    """The rows as Arrow, without their index: 0.8 ms for 15 columns, where `Table.from_pandas` takes 1.5; mixed columns stay pandas'."""
    try:
        columns = {
            name: pa.array(column.to_numpy(), from_pandas=True) for name, column in frame.items()
        }
        return pa.table(columns)
    except (pa.ArrowException, TypeError):
        return frame


def _object(part: alt.SchemaBase) -> Any:
    """One of Altair's objects: a value that it wraps, or its properties."""
    if part._args:
        return _plain(part._args[0])
    properties = _plain(part._kwds)
    if isinstance(shorthand := properties.pop("shorthand", None), str):
        properties |= _named(shorthand, typed="type" in part._kwds)
    if isinstance(properties.get("mark"), str):
        properties["mark"] = {"type": properties["mark"]}
    return properties


def _named(shorthand: str, *, typed: bool) -> dict[str, Any]:
    """Field, aggregate and type of a shorthand; x2 and y2 are not typed, but share the type of x and y."""
    channel = parse(shorthand)
    if not typed:
        return {key: value for key, value in channel.items() if key != "type"}
    if "type" not in channel:
        raise ValueError(f"channel {shorthand!r} has no type: write {shorthand}:Q, :N, :O or :T")
    return channel
