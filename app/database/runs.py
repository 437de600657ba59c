"""What a run is doing, from the log that it writes in the results folder. No Streamlit, no lock on anything.

A log may be long (a line for each work unit), so only its first line and its end are read; each line tells how many
samples the run is through.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.database.plain_files import open_plain

TAIL = 256 * 1024
"""Bytes of a log's end that are read: about a thousand units."""
SILENT = 900.0
"""Seconds without a line after which a run is no longer taken to be alive."""
NEWEST = 4
"""Finished work units that are named."""
ENDS = {"end": "done", "stop": "stopped"}


@dataclass(frozen=True)
class WorkerProgress:
    """What one worker did lately: units and failed samples in the part of the log that was read."""

    worker: int
    work_units: int
    failed: int
    seconds: float
    model: str
    last: datetime


@dataclass(frozen=True)
class Trouble:
    """A unit of which not everything came out, or that was lost and is tried again."""

    when: datetime
    model: str
    seed: int | None
    failed: int
    samples: int
    tries: int
    error: str


@dataclass(frozen=True)
class Progress:
    """A run as its log shows it.

    Attributes:
        state: running, silent (no line for SILENT seconds), done, interrupted, or stopped by an error.
        samples: to make in this run.
        through: made, failed or given up so far.
        rate: samples a second over the part of the log that was read; None before the second unit.
        left: seconds to the end at that rate.
        error: why it stopped.
        newest: ids of the work units that finished last, the newest first.
    """

    study: str
    engine: str
    state: str
    started: datetime
    updated: datetime
    samples: int
    through: int
    rate: float | None
    left: float | None
    workers: tuple[WorkerProgress, ...]
    troubles: tuple[Trouble, ...]
    error: str
    newest: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """0 to 1."""
        return min(1.0, self.through / self.samples) if self.samples else 1.0


def newest_log(results: Path) -> Path | None:
    """The log of the latest run into a results folder; its name begins with the time."""
    folder = results / "logs"
    logs = (
        sorted(folder.glob("run-*.jsonl")) if results.is_dir() and not folder.is_symlink() else []
    )
    return logs[-1] if logs else None


def progress(results: Path, now: datetime | None = None) -> Progress | None:
    """What the latest run into a results folder is doing, or None where no log tells.

    Args:
        results: a results folder.
        now: the time; None = by the clock.
    """
    log = newest_log(results)
    try:
        events = [] if log is None else list(_events(_ends(log)))
    except OSError:
        return None
    start = next((event for event in events if event["event"] == "start"), None)
    return None if start is None else _progress(start, events, now or datetime.now(UTC))


def _ends(path: Path) -> list[bytes]:
    """The first line of a file and the lines of its end."""
    with open_plain(path) as file:
        first = file.readline(TAIL)
        size = file.seek(0, 2)
        file.seek(max(len(first), size - TAIL))
        tail = file.read().split(b"\n")
    return [first, *(tail if size - TAIL <= len(first) else tail[1:])]


def _events(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    """The lines that are whole: the last may just be being written."""
    for line in lines:
        try:
            event = json.loads(line)
            event["time"] = datetime.fromisoformat(event["time"])
            event["event"] = str(event["event"])
        except (ValueError, KeyError, TypeError):
            continue
        yield event


def _progress(start: dict[str, Any], events: Sequence[dict[str, Any]], now: datetime) -> Progress:
    entries = [event for event in events if event["event"] == "unit"]
    last = events[-1]
    samples = _number(start, "samples")
    through = max((_number(entry, "through") for entry in entries), default=0)
    rate = _rate(entries)
    state = ENDS.get(last["event"], "running")
    if state == "running" and (now - last["time"]).total_seconds() > SILENT:
        state = "silent"
    if last.get("interrupted"):
        state = "interrupted"
    left = (samples - through) / rate if rate and state == "running" else None
    return Progress(
        str(start.get("study", "")),
        str(start.get("engine", "")),
        state,
        start["time"],
        last["time"],
        samples,
        through,
        rate,
        left,
        _workers(entries),
        tuple(_trouble(entry) for entry in reversed(entries) if entry.get("status") != "done"),
        str(last.get("error", "")) if state == "stopped" else "",
        _newest(entries),
    )


def _newest(entries: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The work units that gave a sample, the newest first; one that ran again is named once."""
    done = [
        str(e.get("unit_id", "")) for e in entries if _number(e, "samples") > _number(e, "failed")
    ]
    return tuple(dict.fromkeys(reversed(done)))[:NEWEST]


def _number(event: dict[str, Any], key: str) -> int:
    value = event.get(key, 0)
    return value if isinstance(value, int) else 0


def _rate(entries: Sequence[dict[str, Any]]) -> float | None:
    """Samples a second between the first and the last unit that was read."""
    if len(entries) < 2:
        return None
    seconds = (entries[-1]["time"] - entries[0]["time"]).total_seconds()
    samples = _number(entries[-1], "through") - _number(entries[0], "through")
    return samples / seconds if seconds > 0 and samples > 0 else None


def _workers(entries: Sequence[dict[str, Any]]) -> tuple[WorkerProgress, ...]:
    by_worker: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        by_worker.setdefault(_number(entry, "worker"), []).append(entry)
    return tuple(
        WorkerProgress(
            worker,
            len(entries),
            sum(_number(entry, "failed") for entry in entries),
            sum(float(entry.get("seconds") or 0) for entry in entries) / len(entries),
            str(entries[-1].get("model", "")),
            entries[-1]["time"],
        )
        for worker, entries in sorted(by_worker.items())
    )


def _trouble(entry: dict[str, Any]) -> Trouble:
    return Trouble(
        entry["time"],
        str(entry.get("model", "")),
        entry.get("seed"),
        _number(entry, "failed"),
        _number(entry, "samples"),
        _number(entry, "tries"),
        str(entry.get("error", "")),
    )


def duration(seconds: float) -> str:
    """A time to wait, for a reader."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
