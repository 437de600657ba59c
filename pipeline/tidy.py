"""Removes what nothing needs any more from a results folder: superseded shards, old snapshots, dead ledger lines."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.database.publish import read_pointer, snapshot_number
from pipeline.errors import StoreError
from pipeline.plan import Plan
from pipeline.results import load_plan
from pipeline.shards import LedgerEntry, Results
from pipeline.storage import write_whole

# Other Parquet files are not ours to remove: a folder from elsewhere may say that its shards are anywhere.
UNIT_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Rubbish:
    """What can go.

    Attributes:
        shards: unit ids whose shard belongs to no unit of the present plan, or to no try that counts.
        snapshots: snapshots that are neither current nor newer.
        held: old snapshots that a reader has open: left alone.
        lines: ledger lines that a later one supersedes, or that belong to no unit of the plan.
        bytes: of the shards and snapshots.
    """

    shards: tuple[str, ...] = ()
    snapshots: tuple[Path, ...] = ()
    held: tuple[Path, ...] = ()
    lines: int = 0
    bytes: int = 0
    kept: tuple[LedgerEntry, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.shards or self.snapshots or self.lines)


def find_rubbish(folder: Path) -> Rubbish:
    """What can be removed from a results folder. Changes nothing.

    Raises:
        StoreError: the folder holds no study.
    """
    results = Results(folder)
    made = load_plan(results)
    entries = results.read_ledger().entries
    planned = {unit.unit_id for unit in made}
    kept = tuple(entry for unit_id, entry in entries.items() if unit_id in planned)
    shards, size = _old_shards(results, planned)
    snapshots, held = _old_snapshots(results, made)
    return Rubbish(
        shards=tuple(shards),
        snapshots=tuple(snapshots),
        held=tuple(held),
        lines=_line_count(results.ledger) - len(kept),
        bytes=size + sum(path.stat().st_size for path in snapshots),
        kept=kept,
    )


def _old_shards(results: Results, planned: set[str]) -> tuple[list[str], int]:
    """Shards of no unit of the plan, and their bytes."""
    found = [
        (unit_id, at.size)
        for unit_id, at in results.store.names()
        if UNIT_ID.fullmatch(unit_id) and unit_id not in planned
    ]
    return [unit_id for unit_id, _ in found], sum(size for _, size in found)


def _old_snapshots(results: Results, made: Plan) -> tuple[list[Path], list[Path]]:
    if not results.current.is_file():
        return [], []
    current, number, _ = read_pointer(results)
    old = sorted(
        path
        for path in results.snapshots.glob("*.duckdb")
        if path.name != current.name and 0 < snapshot_number(path) < number
    )
    held = [path for path in old if is_open(path)]
    return [path for path in old if path not in held], held


def _line_count(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


def is_open(path: Path) -> bool:
    """Whether a reader has a snapshot open, as far as this machine can tell.

    DuckDB holds a shared lock on what it reads, so a lock that cannot be had alone means a reader. A reader on
    another machine may not show; it keeps its open file until it closes it.
    """
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def remove(folder: Path, rubbish: Rubbish) -> None:
    """Removes what `find_rubbish` found. Holds both locks, so that no run and no publisher is at work.

    Raises:
        StoreError: the folder is in use, or something cannot be removed.
    """
    results = Results(folder)
    with results.locked(), results.locked("publish.lock", "a publisher"):
        now = find_rubbish(folder)
        for path in rubbish.snapshots:
            if path in now.snapshots:
                _unlink(path)
        if now.lines:
            _rewrite(results, now.kept)
        # Last: a ledger line without a shard is made anew, a shard without a line only takes room.
        for unit_id in sorted(set(rubbish.shards) & set(now.shards)):
            results.store.remove(unit_id)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be removed ({error.strerror}).") from error


def _rewrite(results: Results, entries: Sequence[LedgerEntry]) -> None:
    lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
    write_whole(results.ledger, lines.encode())


def show(folder: Path, rubbish: Rubbish) -> str:
    """What would go, as text."""
    lines = [
        f"{len(rubbish.shards):,} superseded shards, {len(rubbish.snapshots):,} old snapshots "
        f"({rubbish.bytes / 1e6:,.1f} MB), {rubbish.lines:,} superseded ledger lines"
    ]
    if rubbish.shards:
        lines.append(
            "A shard is superseded when the plan of the last run does not hold its unit: other prompts, seeds, "
            f"models or settings, or a smaller --limit. They are in {Results(folder).store.place}."
        )
    lines += [f"  {path.relative_to(folder)}" for path in rubbish.snapshots[:20]]
    lines += [f"  shards/{unit_id}.parquet" for unit_id in rubbish.shards[:20]]
    if len(rubbish.shards) > 20:
        lines.append(f"  ... and {len(rubbish.shards) - 20:,} more shards")
    lines += [
        f"  {path.relative_to(folder)}: a reader has it open, left alone" for path in rubbish.held
    ]
    return "\n".join(lines)
