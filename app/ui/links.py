"""What a link may say: numbers pass one parser before Streamlit's, which ends a page on `inf` and on 400 digits."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NoReturn

import streamlit as st
from streamlit.errors import StreamlitAPIException

from app.analysis import slices
from app.analysis.numbers import Range

NUMBERS = {
    **slices.NUMBERS,
    "step": Range(0, 100_000),
    "page": Range(1, 1_000_000),
    "snapshot": Range(1, 10**9),
    "most_number": Range(1, 100),
    "changed_number": Range(1, 100),
    "figure_rows": Range(0, 12),
    "figure_threshold": Range(0, 1e6, whole=False),
    "parts_at_": Range(0, 1e6, whole=False),
    "altered": Range(0, 1e6, whole=False),
    "margin_": Range(-1e6, 1e6, whole=False),
}
"""Parameters that are numbers; one that ends in an underscore stands for all that begin with it."""


MOVE = Range(0, 2**53)
"""Numbers of the step bar's moves."""
FILTERS = (
    "study", "baseline", "candidate", "models", "families", "seeds", "scorer", "metric", "step", *slices.KEYS,
)  # fmt: skip
"""What the bar at the top and the step control set for every page."""
CARRIED = "_carried"


def switch_page(view: str, filters: Mapping[str, Any] | None = None, **parameters: str) -> NoReturn:
    """Leads the reader to another view with the filters in force.

    `st.switch_page` empties the link, and Streamlit lets nobody write a parameter that a widget holds. The widgets write
    their own again on the next page, but now and then one has not, and the link lost a filter: `carry` sets them there.

    Args:
        view: the file of the view, from `app/`.
        filters: to set on the way, as their widgets hold them, in place of those in force.
        parameters: of the link, beside the filters.
    """
    held = {key: st.session_state[key] for key in FILTERS if key in st.session_state}
    st.session_state[CARRIED] = {**held, **deepcopy(dict(filters or {}))}
    st.switch_page(view, query_params=parameters)


def translate() -> None:
    """Read what links said before there was one comparison: `candidates`, one or several."""
    former = st.query_params.get_all("candidates")
    if former and _dropped("candidates") and len(former) == 1:
        st.session_state["candidate"] = former[0]


def carry() -> None:
    """Sets the filters that a reader brings from another view; before the first widget of a page."""
    for key, value in st.session_state.pop(CARRIED, {}).items():
        st.session_state[key] = value


def allowed(key: str) -> Range | None:
    """What a parameter may be, or None where it is no number."""
    families = (prefix for prefix in NUMBERS if prefix.endswith("_") and key.startswith(prefix))
    return NUMBERS.get(key) or NUMBERS.get(next(families, ""))


def is_fit(key: str, values: list[str]) -> bool:
    """Whether a parameter's values can be given to its widget."""
    number = allowed(key)
    return number is None or all(number.parse(value) is not None for value in values)


def clean() -> None:
    """Take out of the link what no widget can hold, and begin anew; before the first widget of a page."""
    unfit = [key for key in st.query_params if not is_fit(key, st.query_params.get_all(key))]
    if sum(_dropped(key) for key in unfit):
        st.rerun()


def _dropped(key: str) -> bool:
    """Whether a parameter could be removed; one that a widget holds is left to `bound`."""
    try:
        del st.query_params[key]
    except StreamlitAPIException:
        return False
    return True


def bound(key: str) -> Any:
    """How a widget for a number is bound: to the link, unless the link says what the widget cannot hold.

    That is so when a reader goes back to such an address: the widget is there already, and Streamlit lets
    nobody else remove its parameter.
    """
    return "query-params" if is_fit(key, st.query_params.get_all(key)) else None
