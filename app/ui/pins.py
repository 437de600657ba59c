"""A link that names its snapshot shows that snapshot, and says where a newer one exists."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.database.plain_files import is_plain
from app.database.snapshots import number_of, numbered
from app.ui import links, queries
from app.ui.queries import Snapshot, SnapshotError

SNAPSHOT = "snapshot"  # in the link
_PIN = "_pin"  # among the session's values: the study's path and the number that a link named
_LINKED = "_pin_linked"  # what the link said when it was last read or written


def pinned(path: Path) -> Snapshot | None:
    """The snapshot that the reader's link names, or None where it names none, or one that is gone.

    Args:
        path: the results folder; a file is its own snapshot.
    """
    _read_link(path)
    study, number = st.session_state.get(_PIN, ("", None))
    if number is None or study != str(path) or not path.is_dir():
        _forget()
        return None
    files = numbered(path / "snapshots")
    file = next((each for each in files if number_of(each) == number and is_plain(each)), None)
    try:
        snapshot = queries.locate(file) if file else None
    except SnapshotError:  # removed since it was listed
        snapshot = None
    if snapshot is None:
        st.warning(
            f"The link names snapshot {number} of this study, which was removed. The newest is shown.",
            icon=":material/history:",
        )
        _forget()
        return None
    _write_link(str(number))
    return snapshot


def _read_link(path: Path) -> None:
    asked = st.query_params.get(SNAPSHOT)
    if asked is None or asked == st.session_state.get(_LINKED):
        return
    number = links.NUMBERS[SNAPSHOT].parse(asked)
    st.session_state[_LINKED] = asked
    st.session_state[_PIN] = (str(path), None if number is None else int(number))


def _write_link(number: str) -> None:
    if st.query_params.get(SNAPSHOT) != number:
        st.query_params[SNAPSHOT] = number
    st.session_state[_LINKED] = number


def _forget() -> None:
    st.session_state.pop(_PIN, None)
    st.session_state.pop(_LINKED, None)
    if SNAPSHOT in st.query_params:
        del st.query_params[SNAPSHOT]


def release() -> None:
    """Let the page show the newest snapshot again; only from a callback or before a rerun."""
    _forget()


def warn(path: Path, shown: Snapshot, newest: Snapshot) -> None:
    """Say that a newer snapshot than the link's exists, with the way to it."""
    if shown.path == newest.path or st.session_state.get(_PIN) is None:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="pinned"):
        st.markdown(
            f":material/keep: This link shows snapshot {number_of(Path(shown.path))}; snapshot "
            f"{number_of(Path(newest.path))} is newer."
        )
        st.button(
            "Show the newest",
            key="unpin",
            icon=":material/update:",
            on_click=_take,
            args=(path, newest),
        )


def _take(path: Path, newest: Snapshot) -> None:
    release()
    st.session_state.setdefault("_held", {})[str(path)] = newest
