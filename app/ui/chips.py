"""The filters in force as chips at the top of a page: each can be removed, and the last change can be undone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from app.analysis import slices
from app.ui import slice_panel, texts
from app.ui.slice_panel import EMPTY
from app.ui.text import count, shorten

LISTS = {"models": "Models", "families": "Families", "categories": "Categories", "seeds": "Seeds"}
"""Filters of which several options can be chosen; none means all."""
CHOICES = {"scorer": "Scorer", "metric": "Score"}
"""Choices of one option, the first by default."""
PARTS = (
    ("slice_text",),
    ("slice_fewest",),
    ("slice_most",),
    ("slice_roles",),
    ("slice_tags",),
    ("slice_by", "slice_low", "slice_high", "slice_order", "slice_top"),
    slices.REGION,
)
"""What of a slice can be removed alone."""
KEYS = (*LISTS, *CHOICES, *(key for part in PARTS for key in part))
MOST_UNDONE = 20
LONGEST = 40  # characters of a chip
_NOW, _BEFORE = "_filters_now", "_filters_before"


@dataclass(frozen=True)
class Chip:
    """A filter in force.

    Attributes:
        text: what it leaves.
        without: what the widgets hold once it is removed.
    """

    text: str
    without: Mapping[str, Any]


def in_force(state: Mapping[str, Any], first: Mapping[str, str]) -> Iterator[Chip]:
    """The filters that leave something out, in the order of their controls.

    Args:
        state: what the filters' widgets hold, by key.
        first: the default of each of CHOICES that the study has.
    """
    for key, title in LISTS.items():
        if state.get(key):
            yield Chip(f"{title}: {', '.join(map(str, state[key]))}", {key: []})
    for key, title in CHOICES.items():
        if key in first and state.get(key) not in (None, first[key]):
            yield Chip(f"{title}: {state[key]}", {key: first[key]})
    for part in PARTS:
        asked = slices.question({key: state.get(key) for key in part})
        if asked is not None:
            said = slices.sentence(asked)
            yield Chip(
                said[:1].upper() + said[1:], {key: slice_panel.EMPTY.get(key) for key in part}
            )


def in_link(first: Mapping[str, str]) -> dict[str, list[str]]:
    """The parameters of the filters in force, as their widgets write them into the link.

    A widget in a closed panel is not in the browser, and does not write its parameter on a page that a reader goes to.

    Args:
        first: as in `in_force`.
    """
    held = {key: st.session_state[key] for key in KEYS if key in st.session_state}
    keys = [key for chip in in_force(held, first) for key in chip.without if key in held]
    values = {key: held[key] for key in keys}
    return {
        key: [str(each) for each in (value if isinstance(value, list | tuple) else [value])]
        for key, value in values.items()
        if value not in (None, EMPTY.get(key))
    }


def draw(study: Path, first: Mapping[str, str], prompts: int | None) -> None:
    """The chips, and the button that undoes the last change; nothing where there is neither.

    Args:
        study: whose filters they are; another study's cannot be undone.
        first: as in `in_force`.
        prompts: how many the slice leaves; None without one.
    """
    past = _noted(study)
    held = {key: st.session_state[key] for key in KEYS if key in st.session_state}
    shown = list(in_force(held, first))
    if not shown and not past:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="chips"):
        for number, chip in enumerate(shown):
            st.button(
                texts.plain(shorten(chip.text, LONGEST)),
                key=f"chip_{number}",
                icon=":material/close:",
                icon_position="right",
                help=f"Remove this filter: {texts.plain(shorten(chip.text, 300))}",
                on_click=_set,
                args=(chip.without,),
            )
        if past:
            st.button(
                "Undo", key="undo", icon=":material/undo:", type="tertiary", on_click=_undo,
                help="Take back the last change of the filters.",
            )  # fmt: skip
        if prompts is not None:
            st.caption(f":material/filter_alt: {count(prompts, 'prompt')}")


def _noted(study: Path) -> list[dict[str, Any]]:
    """What the filters held before each change, the last one last."""
    now = {"": str(study), **{key: _kept(key) for key in KEYS if key in st.session_state}}
    last = st.session_state.get(_NOW)
    past: list[dict[str, Any]] = st.session_state.setdefault(_BEFORE, [])
    if last is not None and last[""] != now[""]:
        past.clear()
    elif last is not None and _said(last) != _said(now):
        past[:] = [*past, last][-MOST_UNDONE:]
    st.session_state[_NOW] = now
    return past


def _kept(key: str) -> Any:
    value = st.session_state[key]
    return list(value) if isinstance(value, list | tuple) else value


def _said(held: Mapping[str, Any]) -> dict[str, Any]:
    """What filters hold, without those that hold nothing: a widget that is drawn first changes nothing."""
    return {key: value for key, value in held.items() if value not in (None, "", [], "Highest") and (key, value) != ("slice_top", 0)}  # fmt: skip


def _set(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key in st.session_state:
            st.session_state[key] = value


def _undo() -> None:
    past: list[dict[str, Any]] = st.session_state.get(_BEFORE, [])
    if not past:
        return
    before = past.pop()
    blank = {key: slice_panel.EMPTY.get(key, [] if key in LISTS else None) for key in KEYS}
    _set({**{key: blank[key] for key in KEYS if key not in CHOICES}, **{k: v for k, v in before.items() if k}})  # fmt: skip
    st.session_state[_NOW] = {"": before[""], **{key: _kept(key) for key in KEYS if key in st.session_state}}  # fmt: skip
