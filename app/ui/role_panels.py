"""The value of each role over the steps: shared by the Words and the Schedules view."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from app.analysis.words import ROLES, unknown_sources
from app.charts.axes import Axis
from app.ui import cards
from app.ui.curve_grid import curve_grid
from app.ui.page import Page
from app.ui.texts import plain


def said_unknown(recorded: Iterable[str]) -> bool:
    """Says that this version knows no source of the word values; returns whether that is so."""
    if said := unknown_sources(recorded):
        cards.empty(
            "Word values of an unknown kind",
            plain(f"{said} Update Stepscope, or publish the study again."),
            icon=":material/help:",
        )
    return bool(said)


def role_grid(page: Page, table: pd.DataFrame, source: str, axis: Axis) -> None:
    """A small chart per role, models in their colours, one scale for all."""
    present = [role for role in ROLES if role in set(table["role"])]
    title = "Relevance  ↑" if source == "relevance" else "Share of attention  ↑"
    curve_grid(page, table, "role", present, axis, title, key="role", alt=f"{title} of the role")
