"""A log file per run: one JSON object a line, for scripts and for whoever asks later what happened."""

from __future__ import annotations

import json
import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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
            self.path.parent.mkdir(exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            self._broken = True
            print(f"no log from here on: {self.path} ({error.strerror})", file=sys.stderr)
