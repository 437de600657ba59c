"""The sidebar's slice: which prompts every view counts, with the saved ones to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import queries
import slices
import streamlit as st
import texts
from queries import Snapshot
from reviews import ReviewError, store_of

BIND: Any = "query-params"


def choose(
    snapshot: Snapshot,
    place: Path,
    models: Sequence[int],
    categories: Sequence[str],
    named: Sequence[str],
) -> tuple[int, ...] | None:
    """Draw the panel; the prompt_id of the slice's prompts, or None where it leaves all.

    Args:
        snapshot: the database shown.
        place: the study, beside which slices are saved.
        models: model_id of the models shown, whose measures prompts are ranked by.
        categories: the categories that the filter leaves.
        named: what the filter calls the study's categories.
    """
    with st.sidebar.popover("Slice of the prompts", icon=":material/filter_alt:", width="stretch"):
        _fields()
        _ranking()
        _saved(place, named)
    asked = slices.question({key: st.session_state.get(key) for key in slices.KEYS})
    if asked is None:
        return None
    found = queries.ask(
        snapshot, "slice_prompts", models=list(models), categories=list(categories), **asked
    )
    with st.sidebar:
        st.caption(
            f":material/filter_alt: {len(found):,} prompt{'' if len(found) == 1 else 's'}: "
            f"{texts.plain(slices.sentence(asked))}"
        )
    return tuple(int(each) for each in found["prompt_id"])


def _fields() -> None:
    st.text_input(
        "Text has", key="slice_text", bind=BIND, max_chars=200, placeholder="part of the prompt"
    )
    fewest, most = st.columns(2)
    for column, label, key in (
        (fewest, "Words, at least", "slice_fewest"),
        (most, "at most", "slice_most"),
    ):
        column.number_input(label, 0, 10_000, None, key=key, bind=BIND)
    st.multiselect(
        "Has all of these roles",
        slices.ROLES,
        key="slice_roles",
        bind=BIND,
        placeholder="any",
        help="Roles come with the prompt set: which words are its subject, relation, object, attribute.",
    )


def _ranking() -> None:
    by = st.selectbox(
        "Rank by",
        list(slices.MEASURES),
        format_func=lambda key: slices.MEASURES[key],
        key="slice_by",
        bind=BIND,
        help="Of the similarity with the whole prompt, averaged over seeds and over the models shown.",
    )
    if not by:
        return
    low, high = st.columns(2)
    for column, label, key in ((low, "From", "slice_low"), (high, "to", "slice_high")):
        column.number_input(label, value=None, key=key, bind=BIND, format="%.4f", step=0.01)
    order, top = st.columns(2, vertical_alignment="bottom")
    order.radio("Order", list(slices.ORDERS), key="slice_order", bind=BIND, horizontal=True)
    top.number_input(
        "Only the first", 0, slices.LARGEST, 0, key="slice_top", bind=BIND, help="0 = all"
    )


def _saved(place: Path, named: Sequence[str]) -> None:
    store = store_of(place)
    try:
        known = slices.saved(store)
    except ReviewError as error:
        st.error(str(error))
        return
    if known:
        st.divider()
    for number, (name, filters) in enumerate(known.items()):
        use, drop = st.columns([5, 1])
        use.button(
            texts.plain(name),
            key=f"slice_use_{number}",
            on_click=_apply,
            args=(filters, named),
            width="stretch",
            icon=":material/bookmark:",
        )
        drop.button(
            "",
            key=f"slice_drop_{number}",
            on_click=_try,
            args=(slices.forget, store, name),
            icon=":material/delete:",
            type="tertiary",
            help="Forget this slice",
        )
    st.divider()
    st.text_input("Save as", key="slice_name", max_chars=slices.LONGEST_NAME, placeholder="a name")
    st.button(
        "Save this slice",
        icon=":material/bookmark_add:",
        on_click=_keep,
        args=(store,),
        key="slice_save",
    )
    if said := st.session_state.pop("_slice_said", ""):
        st.caption(said)


def _keep(store: Path) -> None:
    held = {key: st.session_state.get(key) for key in slices.KEYS}
    _try(slices.save, store, st.session_state.get("slice_name") or "", held)


def _try(act: Any, *given: Any) -> None:
    """Do it, and say below the panel what came of it."""
    try:
        act(*given)
    except ReviewError as error:
        st.session_state["_slice_said"] = f":material/error: {error}"
    else:
        st.session_state["_slice_said"] = "Done."


def _apply(filters: dict[str, Any], named: Sequence[str]) -> None:
    """Let the widgets hold a saved slice; a key that it does not name, or a category that is gone, is cleared."""
    clear()
    for key, value in filters.items():
        st.session_state[key] = (
            [each for each in value if each in named] if key == "categories" else value
        )


def clear() -> None:
    """Let the slice show every prompt again."""
    for key in slices.KEYS:
        if key in st.session_state:
            st.session_state[key] = EMPTY.get(key)


EMPTY: dict[str, Any] = {
    "categories": [],
    "slice_text": "",
    "slice_roles": [],
    "slice_by": "",
    "slice_order": "Highest",
    "slice_top": 0,
}
"""What a widget holds when it asks for nothing; None for the others."""
