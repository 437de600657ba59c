"""The card of ConceptAttention over the prompt set, on the page Words."""

from __future__ import annotations

import streamlit as st

from app.analysis import concept_shares
from app.charts.axes import AXES
from app.ui import cards, choices, drawing
from app.ui.curve_grid import curve_grid
from app.ui.page import Page
from app.ui.text import count, legend

HELP = (
    "ConceptAttention (Helbling et al. 2025): where attention outputs of the image are those of a concept, named by the prompt or "
    "not. Share: mean over the image of the softmax over the concepts of a family, 0 to 1. Shown: the share of the concepts that "
    "the prompt names less that of the others. Higher means that the image shows what the prompt names."
)
TITLE = "Named less unnamed  ↑"


def shown(page: Page) -> bool:
    """A small chart per family, models in their colours, one scale for all; returns whether there is anything to show."""
    groups = concept_shares.groups(page.ask_scope)
    if not groups:
        return False
    group = choices.choose_one("Layers of the concepts", groups, {}, "concept_layers", HELP)
    table = page.placed(page.labelled(concept_shares.by_family(page.ask_scope, group)))
    with cards.card("Named concepts in the image", key="concept_shares", data=table, help=HELP):
        if table.empty:
            st.caption("No prompt within these filters names a concept that was measured.")
            return True
        legend(page.models)
        curve_grid(
            page,
            table,
            "family",
            list(dict.fromkeys(table["family"])),
            AXES["Step"],
            TITLE,
            key="concept_shares",
            alt="Share of the named concepts of the family",
        )
        st.caption(
            f"Mean over {count(int(table['prompts'].max()), 'prompt')} that name a concept of the family, seeds averaged; band: 95 % t "
            f"interval over prompts. {drawing.STEP_CLICK}"
        )
    return True
