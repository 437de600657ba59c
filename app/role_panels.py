"""What the words of each role get over the steps: shared by the Words and the Schedules view."""

from __future__ import annotations

import charts
import charts_explain
import controls
import pandas as pd
import streamlit as st
import uncertainty
from controls import Page


def role_table(page: Page, data: pd.DataFrame, column: str) -> pd.DataFrame:
    """Role curves with their intervals, placed on the schedule."""
    low, high = uncertainty.t_limits(data[column], data[f"{column}_sd"], data["prompts"])
    table = data.assign(mean=data[column], low=low, high=high)
    return page.placed(page.labelled(table))


def role_grid(page: Page, table: pd.DataFrame, source: str, axis: charts.Axis) -> None:
    """A small chart per role, models in their colours, one scale for all."""
    present = [role for role in charts_explain.ROLES if role in set(table["role"])]
    limits = charts.limits_of(table)
    grid = st.grid(min(3, len(present)), min_column_width=230)
    title = "Relevance  ↑" if source == "relevance" else "Share of attention  ↑"
    for number, role in enumerate(present):
        own = table[table["role"] == role]
        with grid.cell():
            st.markdown(f"**{role.capitalize()}**")
            controls.draw(
                charts.curves(
                    own,
                    page.models,
                    axis,
                    title,
                    marker=page.marker(axis),
                    look=page.look,
                    height=210,
                    domain=limits,
                ),
                key=f"role{number}",
                on_click=controls.to_step(page),
                alt=f"{title} of the role {role} over the steps",
            )
    controls.vast_note((own for _, own in table.groupby("role")), domain=limits)
