"""What is finished of a plan."""

from __future__ import annotations

from pipeline.results.folder import Results
from pipeline.results.ledger import MAX_TRIES, Ledger, LedgerEntry
from pipeline.study.plan import Plan


def is_finished(results: Results, entry: LedgerEntry | None) -> bool:
    """Whether a work unit needs no further try: done with its shard in place, or set aside after MAX_TRIES."""
    if entry is None:
        return False
    if entry.status == "error":
        return entry.tries >= MAX_TRIES
    return results.holds(entry) and (entry.status == "done" or entry.tries >= MAX_TRIES)


def count_states(results: Results, plan: Plan, ledger: Ledger) -> dict[str, int]:
    """Samples by state: planned, done, failed, missing; and work units by state."""
    done = failed = stored = 0
    for work_unit in plan:
        entry = ledger.entries.get(work_unit.unit_id)
        if entry is not None and entry.status == "error":
            failed += len(work_unit)
        elif entry is not None and results.holds(entry):
            stored += 1
            done += entry.rows - entry.failed
            failed += entry.failed
    return {
        "planned": plan.samples,
        "done": done,
        "failed": failed,
        "missing": plan.samples - done - failed,
        "units": len(plan),
        "units_stored": stored,
    }
