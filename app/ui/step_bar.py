"""The step that every picture and marker of a page shows: chosen in the step bar or by a click, kept in the link.

The bar moves it in the browser and tells the server when it rests. Streamlit binds only its own widgets to the link, so
that the step's parameter is read and written here.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.ui import links, step_component

STEP = "step"  # in the link and among the session's values
LINKED = "_step_linked"  # what the link said when it was last read or written
BEFORE = "_step_before"  # what the link said since a run ended last: the browser may not know yet what runs wrote
HEARD = (
    "_step_heard"  # whether this run began with a move, whose message has the link from before it
)
MOVES = "_step_moves"  # number of the browser's newest move that the server has heard of
BAR = "step_bar"
ROW = "_step_row"  # among the session's values: the row in which the bar stands


def choose_step(last_step: int, *, shown: bool) -> int:
    """The chosen step of a page, whose step bar is docked at the bottom.

    Args:
        last_step: of the longest model.
        shown: whether the page has the bar, and the step in its link.
    """
    default = round(last_step * 0.4)
    _read_link()
    step = links.NUMBERS[STEP].check(st.session_state.get(STEP))
    step = int(step) if step is not None and step <= last_step else default
    st.session_state[STEP] = step
    st.session_state.pop(ROW, None)
    if shown:
        _write_link(step, default)
        moves = st.session_state.get(MOVES, 0)
        with st.bottom:
            row = st.container(horizontal=True, vertical_alignment="center", gap="medium")
        st.session_state[ROW] = row
        with row, st.container(key=STEP, width="stretch"):
            step_component.mount(
                {"step": step, "last": last_step, "number": moves}, BAR, on_moved_change=_moved
            )
    return step


def beside() -> Any:
    """Where a page puts another control of steps: in the row of the step bar, which stays in view; the bottom without one."""
    return st.session_state.get(ROW, st.bottom)


def finished() -> None:
    """The page is drawn, and the browser knows its link."""
    st.session_state.pop(BEFORE, None)


def go_to_step(step: int) -> None:
    """Choose a step; only from a callback, before the page is drawn."""
    st.session_state[STEP] = int(step)


def _read_link() -> None:
    """Take the step from a link that the reader has come by: of the address, or of the browser's back button.

    Not from one that is older than the step: that of a message which tells a move, or which the browser sent before it heard
    what an interrupted run had written.
    """
    asked, heard = st.query_params.get(STEP), st.session_state.pop(HEARD, False)
    if (
        asked is None
        or heard
        or asked in {st.session_state.get(LINKED), *st.session_state.get(BEFORE, ())}
    ):
        return
    st.session_state[LINKED] = asked
    step = links.NUMBERS[STEP].parse(asked)
    if step is not None:
        st.session_state[STEP] = int(step)


def _write_link(step: int, default: int) -> None:
    """Say the step in the link, unless it is the default."""
    wanted = None if step == default else str(step)
    if {wanted} != {st.query_params.get(STEP), st.session_state.get(LINKED)}:
        older = st.query_params.get(STEP), st.session_state.get(LINKED)
        st.session_state[BEFORE] = {*st.session_state.get(BEFORE, ()), *older}
        if wanted is None:
            st.query_params.pop(STEP, None)
        else:
            st.query_params[STEP] = wanted
    st.session_state[LINKED] = wanted


def _moved() -> None:
    """The browser's step has come to rest."""
    message = st.session_state[BAR].get("moved")
    if heard := checked(message):
        st.session_state[STEP], st.session_state[MOVES] = heard
        st.session_state[HEARD] = True


def checked(message: Any) -> tuple[int, int] | None:
    """Step and number of a move, as the bar tells them; None where it is something else."""
    if not isinstance(message, dict):
        return None
    step = links.NUMBERS[STEP].check(message.get("step"))
    number = links.MOVE.check(message.get("number"))
    return None if step is None or number is None else (int(step), int(number))
