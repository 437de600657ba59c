"""The slice in the bar at the top: which prompts every view counts, with the saved ones to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from app.analysis import measures, slices, tags
from app.database import notebook
from app.database.notebook import ReviewError, store_of
from app.ui import links, queries, texts
from app.ui.queries import Scope, Snapshot

BIND: Any = "query-params"
REGION_HELP = (
    "A region of the map of images: prompts of which an image of the models and seeds shown lies there. x and y are the first and the "
    "second principal component of its CLIP embedding. Drag a rectangle on the map, on the Prompts page, to set them."
)


def choose(
    snapshot: Snapshot,
    path: Path,
    scope: Scope,
    named: Sequence[str],
) -> tuple[int, ...] | None:
    """Draw the panel; the prompt_id of the slice's prompts, or None where it leaves all.

    Args:
        snapshot: the database shown.
        path: the study, beside which slices are saved.
        scope: what the filters leave: by the measures of its models prompts are ranked.
        named: what the filter calls the study's categories.
    """
    with (
        st.popover("Slice", icon=":material/filter_alt:", key="slice", help="Which prompts count"),
        st.container(gap="xsmall"),  # all of it fits 720 px, whatever the fonts
    ):
        _fields()
        _ranking(snapshot)
        _region(snapshot)
        _saved(path, named)
    asked = slices.question({key: st.session_state.get(key) for key in slices.KEYS})
    if asked is None:
        return None
    prompts = queries.ask(
        snapshot,
        "slice_prompts",
        **{**scope.parameters(), **_parameters(path, asked)},
    )
    return tuple(int(each) for each in prompts["prompt_id"])


def _parameters(path: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The question with the prompts of its tags; no prompt where the tags cannot be read."""
    try:
        return slices.parameters(asked, store_of(path))
    except ReviewError as error:
        st.error(texts.plain(str(error)))
        return {**asked, "tagged": []}


def _fields() -> None:
    text, fewest, most = st.columns([2, 1, 1])
    text.text_input(
        "Text has",
        key="slice_text",
        bind=BIND,
        max_chars=slices.LONGEST_TEXT,
        placeholder="part of the prompt",
    )
    for column, label, key in (
        (fewest, "Words, at least", "slice_fewest"),
        (most, "at most", "slice_most"),
    ):
        column.number_input(label, 0, slices.LARGEST, None, key=key, bind=links.bound(key))
    roles, tagged = st.columns(2)
    roles.multiselect(
        "Has all of these roles",
        slices.ROLES,
        key="slice_roles",
        bind=BIND,
        placeholder="any",
        help="Roles come with the prompt set: which words are its subject, relation, object, attribute.",
    )
    tagged.multiselect(
        "Tagged with one of",
        list(tags.TAGS),
        key="slice_tags",
        bind=BIND,
        placeholder="any",
        help="Tags are given to prompts on the Prompts page, with the keys 1 to 9.",
    )


def _ranking(snapshot: Snapshot) -> None:
    added = measures.of_metrics(queries.ask(snapshot, "metrics"))
    titles = slices.MEASURES | {f"score:{score.metric}": score.title for score in added}
    rank, low, high = st.columns([2, 1, 1])
    by = rank.selectbox(
        "Rank by",
        list(titles),
        format_func=lambda key: titles.get(key, key),
        key="slice_by",
        bind=BIND,
        help="Of the similarity with the whole prompt, or a score that another program computed; averaged over seeds and over "
        "the models shown.",
    )
    if not by:
        return
    for column, label, key in ((low, "From", "slice_low"), (high, "to", "slice_high")):
        _limit(column, label, key)
    order, top = st.columns(2, vertical_alignment="bottom")
    order.radio("Order", list(slices.ORDERS), key="slice_order", bind=BIND, horizontal=True)
    top.number_input(
        "Only the first",
        0,
        slices.LARGEST,
        0,
        key="slice_top",
        bind=links.bound("slice_top"),
        help="0 = all",
    )


def _region(snapshot: Snapshot) -> None:
    """The limits of a region of the map of images, of a study that has one."""
    if queries.ask(snapshot, "projection").empty:
        return
    for column, key in zip(st.columns(4), slices.REGION, strict=True):
        axis, end = key.removeprefix("slice_").split("_")
        hint = REGION_HELP if key == slices.REGION[0] else None
        _limit(column, f"Map: {axis} from" if end == "low" else "to", key, hint)


def _limit(column: Any, label: str, key: str, hint: str | None = None) -> None:
    """A number that may stay open."""
    allowed = slices.NUMBERS[key]
    column.number_input(
        label, allowed.low, allowed.high, None, key=key, bind=links.bound(key), format="%.4f", step=0.01,
        placeholder="any", help=hint,
    )  # fmt: skip


def _saved(path: Path, named: Sequence[str]) -> None:
    store = store_of(path)
    try:
        known = slices.saved(store)
    except ReviewError as error:
        st.error(texts.plain(str(error)))
        _look_again(store)
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
    _save_as(store)


def _save_as(store: Path) -> None:
    """A name for what is chosen, and what came of saving it."""
    name, save = st.columns([2, 1], vertical_alignment="bottom")
    name.text_input(
        "Save as", key="slice_name", max_chars=slices.LONGEST_NAME, placeholder="a name"
    )
    save.button(
        "Save this slice",
        icon=":material/bookmark_add:",
        on_click=_keep,
        args=(store,),
        key="slice_save",
    )
    if said := st.session_state.pop("_slice_said", ""):
        st.caption(said)


@st.fragment(run_every="2s")
def _look_again(store: Path) -> None:
    """Draw the page anew once the file that was locked or slow has answered in the background."""
    seen = f"_held_{store}"
    held = notebook.is_held(store)
    if st.session_state.get(seen, False) and not held:
        st.session_state[seen] = False
        st.rerun()
    st.session_state[seen] = held


def _keep(store: Path) -> None:
    held = {key: st.session_state.get(key) for key in slices.KEYS}
    _try(slices.save, store, st.session_state.get("slice_name") or "", held)


def _try(act: Any, *arguments: Any) -> None:
    """Do it, and say below the panel what came of it."""
    try:
        act(*arguments)
    except ReviewError as error:
        st.session_state["_slice_said"] = f":material/error: {texts.plain(str(error))}"
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
    "slice_tags": [],
    "slice_by": "",
    "slice_order": "Highest",
    "slice_top": 0,
}
"""What a widget holds when it asks for nothing; None for the others."""
