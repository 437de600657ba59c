"""*Copy link*: the address of what is seen, with its snapshot pinned, copied in the browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from app.database import addresses
from app.database.snapshots import number_of
from app.ui import step_component
from app.ui.queries import Snapshot


def button(path: Path, snapshot: Snapshot, filters: Mapping[str, list[str]]) -> None:
    """A button that copies the link; the server is not asked.

    Args:
        path: the study; a snapshot's file is no folder of snapshots, and its link names no number.
        snapshot: the one that is shown.
        filters: parameters that the address must have; what it lacks is written into it.
    """
    number = number_of(Path(snapshot.path)) if path.is_dir() else 0
    # The page, so that the browser looks at its address again on the next one.
    page = str(st.session_state.get("_view", ""))
    data = {
        "page": page,
        "snapshot": number,
        "address": addresses.public(),
        "filters": dict(filters),
    }
    step_component.mount({"link": data}, "copy_link")
