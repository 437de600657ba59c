"""*Copy link*: the address of what is seen, with its snapshot pinned, copied in the browser."""

from __future__ import annotations

from pathlib import Path

from app.database import addresses
from app.database.snapshots import number_of
from app.ui import step_component
from app.ui.queries import Snapshot


def button(path: Path, snapshot: Snapshot) -> None:
    """A button that copies the link; the server is not asked.

    Args:
        path: the study; a snapshot's file is no folder of snapshots, and its link names no number.
        snapshot: the one that is shown.
    """
    number = number_of(Path(snapshot.path)) if path.is_dir() else 0
    step_component.mount({"link": {"snapshot": number, "address": addresses.public()}}, "copy_link")
