"""A log file per run: one JSON object a line, for scripts and for whoever asks later what happened."""

from __future__ import annotations

import json
import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.results.safe_files import make_folder, open_in_place


class RunLog:
    """Writes `logs/<kind>-<time>-<token>.jsonl` in a results folder.

    A log that cannot be written is said once and stops nothing: the ledger is what counts.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.path = folder / f"{kind}-{stamp}-{secrets.token_hex(3)}.jsonl"
        self._broken = False

    def write(self, event: str, **facts: Any) -> None:
        """Adds a line: the time in UTC, the event, and what is known of it."""
        if self._broken:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, "pid": os.getpid(), **facts}, default=str)
        try:
            make_folder(self.path.parent)
            with open_in_place(self.path) as file:
                file.write(f"{line}\n".encode())
        except OSError as error:
            self._broken = True
            print(
                f"cannot write the log {self.path} ({error.strerror}); continuing without it",
                file=sys.stderr,
            )
