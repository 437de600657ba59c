"""Object stores that the user has named on this machine.

A results folder says in `shards.json` where its shards are. One that comes from a stranger may name any object store,
and asking that store uses this machine's network and the user's credentials; so a place counts only after its user has
named it with `--shards`. The list is one address a line, in `$XDG_STATE_HOME/stepscope/shard-places` (~/.local/state
unless set).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MOST = 2**20  # bytes that are read of the list
_ALLOWED: set[str] = set()  # in this process, where the list cannot be written


def file() -> Path:
    """Where the list is."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The standard says that a relative path there does not count.
    base = state if state.is_absolute() else Path.home() / ".local" / "state"
    return base / "stepscope" / "shard-places"


def is_allowed(address: str) -> bool:
    """Whether the user has named a place on this machine."""
    address = address.rstrip("/")
    return address in _ALLOWED or address in _listed()


def allow(address: str) -> None:
    """Notes that the user has named a place; where that cannot be written down, it holds for this process."""
    address = address.rstrip("/")
    if is_allowed(address):
        return
    _ALLOWED.add(address)
    with suppress(OSError):
        file().parent.mkdir(parents=True, exist_ok=True)
        with file().open("a", encoding="utf-8") as out:
            out.write(f"{address}\n")


def _listed() -> set[str]:
    try:
        with file().open(encoding="utf-8", errors="replace") as listed:
            return set(listed.read(MOST).splitlines())
    except OSError:
        return set()
