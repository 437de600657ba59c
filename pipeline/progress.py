"""What is finished of a plan."""

from __future__ import annotations

from pipeline.plan import Plan
from pipeline.shards import MAX_TRIES, Ledger, LedgerEntry, Results


def is_finished(results: Results, entry: LedgerEntry | None) -> bool:
    """Whether a unit needs no further try: done with its shard in place, or set aside after MAX_TRIES."""
    if entry is None:
        return False
    if entry.status == "error":
        return entry.tries >= MAX_TRIES
    return results.holds(entry) and (entry.status == "done" or entry.tries >= MAX_TRIES)


def count_states(results: Results, made: Plan, ledger: Ledger) -> dict[str, int]:
    """Samples by state: planned, done, failed, missing; and units by state."""
    done = failed = units = 0
    for unit in made:
        entry = ledger.entries.get(unit.unit_id)
        if entry is not None and entry.status == "error":
            failed += len(unit)
        elif entry is not None and results.holds(entry):
            units += 1
            done += entry.rows - entry.failed
            failed += entry.failed
    return {
        "planned": made.samples,
        "done": done,
        "failed": failed,
        "missing": made.samples - done - failed,
        "units": len(made),
        "units_stored": units,
    }
