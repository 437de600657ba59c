"""From one prompt to the next, in the order of the table that the reader came from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.ui.page import Page

MOST = 1_000_000


def keys_in_order(page: Page, **question: Any) -> pd.DataFrame:
    """prompt_key of every prompt of the table, from its first row to its last."""
    search = list(question.pop("search"))
    rows = page.ask_scope("prompt_page", size=MOST, start=0, search=search, **question)
    return rows[["prompt_key"]]


def neighbours(keys: list[str], key: str) -> tuple[str | None, str | None]:
    """The prompt before and the one after; None at the ends, and for both where the table does not have it."""
    if key not in keys:
        return None, None
    index = keys.index(key)
    before = keys[index - 1] if index else None
    return before, keys[index + 1] if index + 1 < len(keys) else None


def steps(page: Page, key: str, question: dict[str, Any]) -> None:
    """Buttons and keys to the prompt before and after, and which of how many this one is."""
    asked = {**question, "search": tuple(question["search"])}
    keys = page.once(keys_in_order, **asked)["prompt_key"].tolist()
    before, after = neighbours(keys, key)
    for label, to, shortcut, icon in (
        ("Previous", before, "P", ":material/chevron_left:"),
        ("Next", after, "N", ":material/chevron_right:"),
    ):
        st.button(
            label,
            icon=icon,
            key=f"prompt_{label.lower()}",
            shortcut=shortcut,
            disabled=to is None,
            on_click=_open,
            args=(to,),
        )
    if key in keys:
        st.caption(f"{keys.index(key) + 1:,} of {len(keys):,}, in the order of the table")


def _open(key: str | None) -> None:
    if key is not None:
        st.query_params["prompt"] = key
