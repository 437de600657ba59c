"""Removes what nothing needs any more from a results folder: superseded shards, old snapshots, dead ledger lines."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.database.snapshots import read_pointer, snapshot_files, snapshot_number
from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.record import load_plan
from pipeline.results.safe_files import is_regular, open_in_place
from pipeline.results.safe_files import remove as delete
from pipeline.results.storage import write_whole
from pipeline.study.plan import Plan


@dataclass(frozen=True)
class Rubbish:
    """What can go.

    Attributes:
        shards: unit ids whose shard belongs to no work unit of the present plan, or to no try that counts.
        snapshots: snapshots that are neither current nor newer.
        in_use: old snapshots that a reader has open: left alone.
        left: what is like them and is not removed, and why, one line each.
        lines: ledger lines that a later one supersedes, or that belong to no work unit of the plan.
        bytes: of the shards and snapshots.
    """

    shards: tuple[str, ...] = ()
    snapshots: tuple[Path, ...] = ()
    in_use: tuple[Path, ...] = ()
    left: tuple[str, ...] = ()
    lines: int = 0
    bytes: int = 0
    current: tuple[LedgerEntry, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.shards or self.snapshots or self.lines)


def find_rubbish(folder: Path) -> Rubbish:
    """What can be removed from a results folder. Changes nothing.

    Raises:
        StoreError: the folder holds no study.
    """
    results = Results(folder)
    plan = load_plan(results)
    ledger = results.read_ledger()
    entries = ledger.entries
    planned = {work_unit.unit_id for work_unit in plan}
    current = tuple(entry for unit_id, entry in entries.items() if unit_id in planned)
    shards, size, left = _old_shards(results, planned, entries)
    snapshots, in_use = _old_snapshots(results, plan)
    return Rubbish(
        shards=tuple(shards),
        snapshots=tuple(snapshots),
        in_use=tuple(in_use),
        left=tuple(left),
        lines=ledger.lines - len(current),
        bytes=size + sum(path.stat().st_size for path in snapshots),
        current=current,
    )


def _old_shards(
    results: Results, planned: set[str], entries: Mapping[str, LedgerEntry]
) -> tuple[list[str], int, list[str]]:
    """Shards of no work unit of the plan that this folder's ledger wrote, their bytes, and what is left of others."""
    store = results.store
    old = {unit_id: at.size for unit_id, at in store.names() if unit_id not in planned}
    if not results.owns_place():
        count = len(old) + store.others()
        return [], 0, [
            f"{count:,} shards in {store.address}, which does not know this folder as their owner (if they are yours, say so "
            f"once: run with --shards {store.address})"
        ]  # fmt: skip
    removable = [u for u in old if (entry := entries.get(u)) is not None and results.holds(entry)]
    left = []
    if len(removable) < len(old):
        left.append(f"{len(old) - len(removable):,} shards that are not what this ledger wrote")
    if others := store.others():
        left.append(f"{others:,} Parquet files in {store.address} that others wrote")
    return removable, sum(old[unit_id] for unit_id in removable), left


def _old_snapshots(results: Results, plan: Plan) -> tuple[list[Path], list[Path]]:
    if not is_regular(results.current):
        return [], []
    current, number, _ = read_pointer(results)
    old = [
        path
        for path in snapshot_files(results)
        if path.name != current.name and 0 < snapshot_number(path) < number
    ]
    in_use = [path for path in old if is_open(path)]
    return [path for path in old if path not in in_use], in_use


def is_open(path: Path) -> bool:
    """Whether a reader has a snapshot open, as far as this machine can tell.

    DuckDB holds a shared lock on what it reads, so a lock that is not free means a reader. A reader on
    another machine may not show; it keeps its open file until it closes it.
    """
    try:
        with open_in_place(path, make=False) as file:
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
    results.create()
    with results.locked(), results.locked("publish.lock", "a publisher"):
        now = find_rubbish(folder)
        for path in rubbish.snapshots:
            if path in now.snapshots:
                _unlink(path)
        # Shards before their lines: a shard that no line names would never be removed.
        for unit_id in sorted(set(rubbish.shards) & set(now.shards)):
            results.store.remove(unit_id)
        if now.lines:
            _rewrite(results, now.current)


def _unlink(path: Path) -> None:
    try:
        delete(path)
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
            "A shard is superseded when the plan of the last run does not hold its work unit: other prompts, seeds, "
            f"models or settings, or a smaller --limit. They are in {Results(folder).store.address}."
        )
    lines += [f"  snapshots/{path.name}" for path in rubbish.snapshots[:20]]
    lines += [f"  shards/{unit_id}.parquet" for unit_id in rubbish.shards[:20]]
    if len(rubbish.shards) > 20:
        lines.append(f"  ... and {len(rubbish.shards) - 20:,} more shards")
    lines += [
        f"  snapshots/{path.name}: a reader has it open, left alone" for path in rubbish.in_use
    ]
    lines += [f"left alone: {line}" for line in rubbish.left]
    return "\n".join(lines)
