"""Small multiples of curves: a chart for each value of a column, on one scale."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app.charts.axes import Axis
from app.charts.bands import limits_of
from app.charts.curves import curves
from app.ui import cards, drawing
from app.ui.page import Page
from app.ui.texts import plain


def curve_grid(
    page: Page,
    table: pd.DataFrame,
    column: str,
    values: Sequence[str],
    axis: Axis,
    title: str,
    *,
    key: str,
    alt: str,
    format: str = ".3f",
) -> None:
    """Models in their colours, one chart for each value; a click goes to its step.

    Args as of `curves`; each chart's key begins with `key`, its description is `alt` and its value.
    """
    limits = limits_of(table)
    grid = st.grid(min(3, len(values)), min_column_width=230)
    for number, value in enumerate(values):
        with grid.cell():
            st.markdown(f"**{plain(value.capitalize())}**")
            chart = curves(
                table[table[column] == value], page.models, axis, title, marker=page.marker(axis),
                look=page.look, height=210, domain=limits, format=format,
            )  # fmt: skip
            drawing.draw(
                chart,
                key=f"{key}{number}",
                on_click=drawing.to_step(page),
                alt=f"{alt} {value} over the steps",
            )
    cards.clip_note([table], domain=limits)
