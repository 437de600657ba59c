"""Looks at growing data: the plan of a gate that runs until it is decided, kept so that a look is never forgotten.

Whoever looks again and again at a 95 % interval finds it beyond a margin in far more than 5 % of cases. So the looks of
a gate are kept in the reviews' file by the hash of its criteria, and each look is judged at the level that
`spending.levels` gives it for all looks so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from app.analysis import reviews, spending
from app.analysis.criteria import Gate
from app.analysis.gates import Decision
from app.database import notebook
from app.database.notebook import ReviewError

MOST_LOOKS = 50
MOST_PROMPTS = 10**8
_CELLS = {"number": int, "looked_at": str, "prompts": int, "most": int, "shape": str, "snapshot": int, "content_hash": str, "verdict": str}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One look of a gate.

    Attributes:
        number: 1 = the first.
        looked_at: UTC, ISO 8601.
        prompts: of the study that were there.
        most: prompts at the last look of the plan.
        shape: a key of `spending.SHAPES`.
        snapshot: number of the one judged.
        content_hash: of what was in it.
        verdict: pass, fail or undecided.
    """

    number: int
    looked_at: str
    prompts: int
    most: int
    shape: str
    snapshot: int
    content_hash: str
    verdict: str

    @property
    def decided(self) -> bool:
        """Whether the gate ended here."""
        return self.verdict != reviews.UNDECIDED


def of_gate(store: Path, gate: Gate) -> list[Look]:
    """The looks that were taken, in order.

    Raises:
        ReviewError: the file cannot be read, or its looks are not those of one plan.
    """
    rows, unreadable = notebook.rows(store, "look", "looks", _CELLS, gate=gate.sha256())
    looks = [Look(**row) for row in rows]
    prompts = [0, *(look.prompts for look in looks)]
    ordered = all(a < b for a, b in pairwise(prompts))
    plans = {(look.most, look.shape) for look in looks}
    known = all(
        look.shape in spending.SHAPES and look.prompts <= look.most <= MOST_PROMPTS
        for look in looks
    )
    if unreadable or not ordered or len(plans) > 1 or not known or len(looks) > MOST_LOOKS:
        raise ReviewError(
            f"{store.name}: the looks of this gate are not those of one plan, so that no level can be given. Change the criteria "
            "file (its question) to begin a new plan."
        )
    return looks


def level(prompts: Sequence[int], most: int, shape: str) -> float:
    """The two-sided level of the latest of several looks.

    Args:
        prompts: at each look, the latest last.
        most: at the last look of the plan.
        shape: a key of `spending.SHAPES`.
    """
    return spending.levels([min(each / most, 1.0) for each in prompts], shape)[-1]


def keep(store: Path, decision: Decision, asked: Gate, number: int, prompts: int, most: int, shape: str) -> Look:  # fmt: skip
    """Keep a look.

    Args:
        store: the reviews' file.
        decision: what it said.
        asked: the gate as its file has it.
        number: 1 = the first.
        prompts: of the study that were there.
        most: at the last look of the plan.
        shape: a key of `spending.SHAPES`.

    Raises:
        ReviewError: it cannot be written.
    """
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    look = Look(number, stamp, prompts, most, shape, decision.snapshot, decision.content_hash, decision.verdict)  # fmt: skip
    notebook.write(store, ("add_look", {"gate": asked.sha256(), **vars(look)}))
    return look


def next_target(prompts: int, most: int, remaining: int) -> int:
    """Prompts at the next look, the rest of the way to the last being divided evenly.

    Args:
        prompts: that there are.
        most: at the last look.
        remaining: looks that are left.
    """
    return most if remaining < 2 else prompts + max(1, round((most - prompts) / remaining))
