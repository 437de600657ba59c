"""The card of ConceptAttention beside raw attention on known scenes, over all layers and layer by layer, on the page Trust."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import trust
from app.charts.tools import tool_title
from app.ui import cards, tables
from app.ui.page import Page

METHODS = ("concept-attention", "attention")
HELP = (
    "Maps of words and concepts on real scenes, noised to a step, against the mask of the object that they name: average precision, "
    "0 to 1; over chance: minus the share of the image that the mask covers. Paired: both tools on the same scene."
)


def shown(page: Page, gains: pd.DataFrame) -> None:
    """Both tools paired by scene, and what each layer alone finds; nothing where ConceptAttention was not tested."""
    paired = page.labelled(trust.against(gains, *METHODS))
    if paired.empty:
        return
    with cards.card(
        "ConceptAttention beside attention", key="concept_trust", data=paired, help=HELP
    ):
        table = paired.assign(difference=_cells(paired))
        tables.show(
            table[list(PAIRED)],
            alt="ConceptAttention and attention paired by scene",
            column_config=PAIRED,
        )
        st.caption(
            "Steps and words averaged within a scene; 95 % t interval over scenes of the paired difference. Verdict: paired t test, "
            "corrected by Holm over the models; at least 6 scenes."
        )
    layers = page.labelled(trust.layers(page.ask_scope))
    if layers.empty:
        return
    with cards.card("Localisation by layer", key="localisation_layers", data=layers, help=HELP):
        cells = layers.assign(cell=_cells(layers), tool=layers["method"].map(tool_title))
        wide = cells.pivot_table(
            index=["model", "layer"], columns="tool", values="cell", aggfunc="first", sort=False
        )
        tables.show(wide.reset_index(), alt="Localisation by layer and tool")
        st.caption(
            f"Average precision over chance of one layer's maps alone, mean over {int(layers['n'].max())} scenes [95 % t interval]; all: "
            "the mean map over layers."
        )


def _cells(table: pd.DataFrame) -> list[str]:
    """Means with their intervals."""
    return [
        f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
        for mean, low, high in table[["mean", "low", "high"]].itertuples(index=False)
    ]


PAIRED: dict[str, Any] = {
    "model": "Model",
    "first": st.column_config.NumberColumn("ConceptAttention", format="%.2f"),
    "second": st.column_config.NumberColumn("Attention", format="%.2f"),
    "difference": "Difference [95 %]",
    "verdict": "Verdict",
    "n": "Scenes",
}
