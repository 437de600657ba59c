"""What a click in a chart changed, said in a short message at the next drawing of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.ui import texts

TITLES = {
    "step": "Step",
    "models": "Models",
    "families": "Concept families",
    "categories": "Prompt categories",
    "seeds": "Seeds",
    "concept": "Concept",
    "concepts": "Concepts",
    "slice_roles": "Prompts that have the role",
    "slice_x_low": "Map from x",
    "slice_x_high": "to x",
    "slice_y_low": "from y",
    "slice_y_high": "to y",
}
"""Controls that a click in a chart sets, by their keys."""
_SAID = "_chart_said"


def held() -> dict[str, Any]:
    """What the controls hold now."""
    values = {key: st.session_state.get(key) for key in TITLES}
    return {key: list(v) if isinstance(v, list | tuple) else v for key, v in values.items()}


def note(before: Mapping[str, Any], picked: Mapping[str, Any]) -> None:
    """Remember what a click has changed.

    Args:
        before: what `held` gave before it.
        picked: what the click told; it names the concept that the controls hold by its number.
    """
    now = held()
    changed = [
        _sentence(key, before[key], now[key], picked) for key in TITLES if now[key] != before[key]
    ]
    if changed:
        st.session_state[_SAID] = "; ".join(changed)


def _sentence(key: str, before: Any, value: Any, picked: Mapping[str, Any]) -> str:
    title = TITLES[key]
    if key in ("concept", "concepts"):
        gone = isinstance(value, list) and len(value) < len(before or [])
        return f"{title}: {'without ' if gone else ''}{picked.get('concept', '')}"
    if isinstance(value, list):
        return f"{title}: {', '.join(map(str, value)) or 'all'}"
    return f"{title} {value}"


def tell() -> None:
    """Say it, once."""
    if message := st.session_state.pop(_SAID, ""):
        st.toast(texts.plain(message), icon=":material/ads_click:")
