"""The tags of a prompt: buttons 1 to 9 that the keys 1 to 9 press."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from app.analysis import tags
from app.database.notebook import ReviewError, store_of
from app.ui import texts

SAID = "_tag_said"


def choose(study: Path, key: str) -> None:
    """Draws the buttons of the prompt with this key; what is tagged is saved beside the study."""
    store = store_of(study)
    held = by_prompt(study).get(key, [])
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="tags"):
        st.caption(
            "Tags",
            width="content",
            help="Press 1 to 9. Tags are saved with the study's reviews; a slice can show them.",
        )
        for tag in tags.TAGS:
            st.button(
                "Tag",  # the key beside it says which
                icon=":material/sell:" if tag in held else None,
                type="primary" if tag in held else "tertiary",
                key=f"tag_{tag}",
                shortcut=str(tag),
                on_click=partial(_toggle, store, key, tag),
            )
    if said := st.session_state.pop(SAID, ""):
        st.error(texts.plain(said))


def by_prompt(study: Path) -> dict[str, list[int]]:
    """The tags of a study's prompts by prompt_key; none, and the reason on the page, where they cannot be read."""
    try:
        return tags.by_prompt(store_of(study))
    except ReviewError as error:
        st.session_state[SAID] = str(error)
        return {}


def _toggle(store: Path, key: str, tag: int) -> None:
    try:
        tags.toggle(store, key, tag)
    except ReviewError as error:
        st.session_state[SAID] = str(error)
