"""Locks of a results folder: of one process, or shared by parts of a run; the system frees them when a process ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.shards import now
from pipeline.results.storage import explain_os_error


def hold(
    stack: ExitStack, folder: Path | None, path: Path, exclusive: bool, patience: float = 0.0
) -> FileIO | None:
    """Takes a lock until a stack is left; the system frees it when the process ends, however it ends.

    The lock is on a folder that is open: whoever removes or replaces the file lets nobody in. The file tells who holds the
    lock, and is locked too, for older versions and for file systems that cannot lock folders.

    Args:
        stack: what ends the lock.
        folder: the folder to lock; None = the file alone.
        path: the file to lock.
        exclusive: whether nobody else may hold it, or several may who share it.
        patience: seconds to wait for it.

    Returns: the open file; None where another process holds the lock.

    Raises:
        StoreError: the file cannot be opened.
    """
    kind, end = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, time.monotonic() + patience
    try:
        handle = None if folder is None else stack.enter_context(safe_files.folder_handle(folder))
        file = stack.enter_context(safe_files.open_in_place(path))
    except OSError as error:
        raise StoreError(explain_os_error(path, error)) from error
    while not ((handle is None or _lock(handle, kind)) and _lock(file.fileno(), kind, must=True)):
        if time.monotonic() >= end:
            return None
        time.sleep(0.05)
    return file


def owner_of(path: Path) -> dict[str, Any]:
    """What a lock's file says of its holder; nothing where it cannot be read."""
    try:
        owner = json.loads(safe_files.read_capped(path, 4096))
        return owner if isinstance(owner, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def describe_owner(owner: Mapping[str, Any]) -> str:
    """The holder of a lock, for a message."""
    try:
        return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except KeyError:
        return "another process"


def write_owner(file: FileIO, **facts: Any) -> None:
    """Writes into a lock's file who holds it."""
    file.truncate(0)
    file.write(json.dumps({**this_process(), **facts}).encode())


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file, as far as this machine can tell."""
    try:
        with safe_files.open_in_place(path, make=False) as file:
            return not _lock(file.fileno(), fcntl.LOCK_SH)
    except OSError:
        return False


def _lock(handle: int, kind: int, must: bool = False) -> bool:
    """Whether the lock of an open file or folder is ours now, or, unless it must be, this file system has no such lock."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return not must
    return True


def this_process() -> dict[str, Any]:
    """Process, machine and time, for a lock's file."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
