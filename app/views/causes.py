"""Causes: at which step a concept is decided, by prompts that are switched while an image is sampled."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.analysis import switching, windows
from app.charts.axes import Axis
from app.ui import cards, cause_panels, choices, window_panels
from app.ui.page import Page, current, header

ALL = "all"


def show(page: Page) -> None:
    """The whole view."""
    header(
        "Causes",
        "When is a concept decided? Prompts are switched at a step, and the final images tell.",
    )
    page = narrowed(page)
    rows = pd.concat([switching.rows_of(page, each) for each in cause_panels.DIRECTIONS])
    known, readers = switching.measured(rows), windows.measured(windows.rows_of(page))
    if not known and not readers:
        cards.empty(
            "Nothing was changed while images were sampled, within these filters.",
            "Clear a filter, or add switch or critical-windows to the measures of the study file (docs/studies.md) "
            "and run it again: finished images are kept.",
        )
        return
    if not known:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            axis = choices.choose_axis(page, ("Log-SNR", "Step"))
        window_panels.irreversible(page, axis, readers)
        return
    axis, outcome, direction = options(page, known, list(dict.fromkeys(rows["direction"])))
    if direction == switching.INSERT:
        cause_panels.visible_and_decided(page, axis, outcome)
    cause_panels.success(page, axis, outcome, direction)
    if readers:
        window_panels.irreversible(page, axis, readers)
    cause_panels.order(page, axis, outcome, direction)
    if len(page.models) > 1:
        cause_panels.differences(page, axis, outcome, direction)
    cause_panels.against_judge(page)


def narrowed(page: Page) -> Page:
    """The page of the concept that is chosen, where several were switched."""
    concepts = switching.concepts_of(page)
    if len(concepts) < 2:
        return page
    if st.session_state.get("caused") not in (ALL, *concepts):
        st.session_state.pop("caused", None)
    chosen = st.selectbox(
        "Concept",
        [ALL, *concepts],
        key="caused",
        bind=choices.BIND,
        width=240,
        help="One concept: the prompts in which it was switched, and no other family.",
    )
    return page if chosen in (None, ALL) else switching.of_concept(page, chosen)


def options(page: Page, known: list[str], directions: list[str]) -> tuple[Axis, str, str]:
    """The axis, who says whether a concept is there, and which way prompts are switched."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        axis = choices.choose_axis(page, ("Log-SNR", "Step"))
        outcome = choices.choose_one(
            "Outcome by", known, cause_panels.OUTCOMES, "outcome", cause_panels.OUTCOME_HELP
        )
        direction = choices.choose_one(
            "Switch",
            sorted(directions),
            cause_panels.DIRECTIONS,
            "direction",
            cause_panels.DIRECTION_HELP,
        )
    return axis, outcome, direction


show(current())
