"""Measures: what every number is, its range and its direction; where tooltips lead to."""

from __future__ import annotations

import controls
import streamlit as st

DEFINITIONS = controls.DEFINITIONS


def show() -> None:
    """The whole view: the project's own text, not the study's."""
    controls.header("Measures", "What every number is, its range, and which way is better.")
    _, text = DEFINITIONS.read_text(encoding="utf-8").split("\n", 1)
    st.markdown(text)


show()
