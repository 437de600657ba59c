"""Measures: the definition, range and direction of every number; tooltips link here."""

from __future__ import annotations

import streamlit as st

from app.ui import cards, page

DEFINITIONS = cards.DEFINITIONS


def show() -> None:
    """The whole view: the project's own text, not the study's."""
    page.header("Measures", "Definition, range and direction of every measure.")
    _, text = DEFINITIONS.read_text(encoding="utf-8").split("\n", 1)
    st.markdown(text)


show()
