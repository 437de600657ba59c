"""Cards of critical windows: which redraws of a finished image keep its attributes, and from where on all do."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import windows
from app.charts import curves as curves_charts
from app.charts.axes import Axis
from app.ui import cards, choices, drawing, tables
from app.ui.page import Page
from app.ui.text import legend, plain

READERS = {"judge": "Judge", "scorer": "Scorer"}
READER_HELP = "Who reads the attributes off the images. Judge: scenes-judge. Scorer: its nearest concept of the family."
HELP = (
    "A finished image is noised to the level of a step and denoised again with fresh noise. Where the redraws keep an attribute, it is "
    "decided; where they lose it, it is still open."
)


def irreversible(page: Page, axis: Axis, readers: list[str]) -> None:
    """The share of redraws that keep an attribute of one family, and the windows of all."""
    with cards.card("Kept by redraws", key="causes_kept", data=None, help=HELP):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            reader = choices.choose_one("Read by", readers, READERS, "reader", READER_HELP)
            table = page.once(windows.shares, reader=reader)
            families = list(dict.fromkeys(table["family"]))
            family = choices.choose_one("Attribute", families, {}, "attribute", HELP)
        rows = table[table["family"] == family]
        legend(page.models)
        drawing.draw(
            curves_charts.curves(
                rows,
                page.models,
                axis,
                "Redraws that keep it",
                domain=(0, 1),
                format=".0%",
                look=page.look,
            ),
            key="causes_kept",
            alt=f"Share of redraws that keep the {family}, per noise level",
        )
        st.caption(
            f"Share of redraws with the finished image's {plain(family)}, by the step from which they are denoised again; band: 95 % t interval over "
            "prompts."
        )
    edges = page.once(windows.windows, reader=reader, axis=axis.field)
    with cards.card("Critical windows", key="causes_windows", data=edges, help=HELP):
        shown = edges.assign(
            open_until=_intervals(edges, "opens", "opens_low", "opens_high"),
            irreversible=_intervals(edges, "mean", "low", "high"),
        )
        tables.show(shown[list(EDGES)], alt="Critical windows", column_config=EDGES)
        st.caption(
            "Open until: 5 % of the rise from the noisiest step measured to the end is past; irreversible from: 95 %. 95 % bootstrap interval "
            f"over prompts. A dash where the share rises by less than {windows.LEAST_RISE:.0%}. {choices.axis_text(page, axis)}"
        )


def _intervals(edges: pd.DataFrame, *names: str) -> list[str]:
    """An edge with its interval as a cell; a dash where there is none."""
    return [
        f"{edge:.1f} [{low:.1f}, {high:.1f}]" if pd.notna(edge) else "–"
        for edge, low, high in edges[list(names)].itertuples(index=False)
    ]


EDGES: dict[str, Any] = {
    "model": "Model",
    "family": "Attribute",
    "open_until": "Open until [95 %]",
    "irreversible": "Irreversible from [95 %]",
    "floor": st.column_config.NumberColumn("Kept at the noisiest step", format="percent"),
    "prompts": "Prompts",
}
