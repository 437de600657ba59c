"""A ledger on disk: appended to by one process at a time, read by any."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.ledger import Ledger, LedgerEntry, many_objects, parse_entry
from pipeline.results.storage import explain_os_error

MAX_LEDGER = 2**34  # bytes; a million work units with three tries each have 1.5 GB
MAX_LINE = 2**16  # bytes of a line


def append_entries(path: Path, entries: Sequence[LedgerEntry]) -> None:
    """Adds entries to a ledger; they are on the disk afterwards.

    Raises:
        StoreError: they could not be written; what was written of them is taken back.
    """
    append_lines(path, "".join(json.dumps(asdict(entry)) + "\n" for entry in entries).encode())


def append_lines(path: Path, data: bytes) -> None:
    """Adds whole lines to a file; they are on the disk afterwards.

    Raises:
        StoreError: they could not be written; what was written of them is taken back.
    """
    try:
        with safe_files.open_in_place(path) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise StoreError(explain_os_error(path, error)) from error


def read_entries(path: Path) -> Ledger:
    """The last entry of every work unit. A cut or damaged line is counted, never fatal.

    Raises:
        StoreError: it is no file, or cannot be read.
    """
    entries: dict[str, LedgerEntry] = {}
    damaged = lines = 0
    try:
        with safe_files.open_regular(path, MAX_LEDGER) as file, many_objects():
            for line in _lines(file):
                lines += 1
                entry = parse_entry(line)
                if entry is None:
                    damaged += 1
                else:
                    entries[entry.unit_id] = entry
    except FileNotFoundError:
        return Ledger()
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror}). Put a copy in its place, or remove it: the next run "
            "makes a new one."
        ) from None
    return Ledger(entries, damaged, lines)


def cut_half_line(path: Path) -> None:
    """Cuts a line that was not written to its end off a ledger. Raises OSError."""
    try:
        file = safe_files.open_in_place(path, make=False)
    except FileNotFoundError:
        return
    with file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2**20)
        file.seek(start)
        tail = file.read(2**20)
        if tail and not tail.endswith(b"\n"):
            file.truncate(start + tail.rfind(b"\n") + 1)
            os.fsync(file.fileno())


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a ledger. One that is too long for an entry comes cut: it is damaged."""
    while line := file.readline(MAX_LINE):
        yield line
        while len(line) == MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
