"""Frozen decisions: what a review said when it was saved, accepted or rejected, whatever the data say today.

They stand in the reviews' file, which anybody may have written: each value is checked, and a decision with a bad one
is counted, not shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from app.analysis import reviews
from app.analysis.reviews import FAIL, MOST_CRITERIA, PASS, UNDECIDED, Verdict
from app.database import notebook
from app.database.notebook import printable

KINDS = {"saved": "Saved", "accept": "Accepted", "reject": "Rejected"}
NUMBERS = ("difference", "low", "high", "p", "q", "wilcoxon", "d_z", "cliffs_delta", "win_rate", "needed", "more", "prompts")  # fmt: skip
LONGEST = 1000  # characters of a sentence
_CELLS = {"kind": str, "author": str, "made_at": str, "snapshot": int, "content_hash": str, "scorer": str, "filters": str, "numbers": str}  # fmt: skip


@dataclass(frozen=True)
class Frozen:
    """A decision as it was.

    Attributes:
        kind: a key of KINDS.
        author: who made it.
        made_at: UTC, ISO 8601.
        snapshot: number of the snapshot judged.
        content_hash: of what was in it.
        scorer: whose numbers; '' for the first.
        filters: the part of the study, as a query string.
        rows: per criterion: criterion (its sentence), measure, verdict and NUMBERS (NaN where unknown).
    """

    kind: str
    author: str
    made_at: str
    snapshot: int
    content_hash: str
    scorer: str
    filters: str
    rows: tuple[Mapping[str, Any], ...]

    @property
    def verdict(self) -> str:
        """Of the whole: fail where any criterion fails, pass where all pass."""
        said = {row["verdict"] for row in self.rows}
        return FAIL if FAIL in said else PASS if said == {PASS} else UNDECIDED


def record(
    kind: str,
    author: str,
    verdicts: Sequence[Verdict],
    snapshot: int,
    content_hash: str,
    scorer: str,
    filters: str,
) -> dict[str, Any]:
    """A decision as a row of the reviews' file, without the id of its review.

    Args:
        kind: a key of KINDS.
        author: who makes it.
        verdicts: one per criterion.
        snapshot: number of the snapshot judged.
        content_hash: of what is in it.
        scorer: whose numbers; '' for the first.
        filters: the part of the study, as a query string.
    """
    rows = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in reviews.table(verdicts).to_dict("records")
    ]
    return {
        "kind": kind,
        "author": printable(author).strip()[: reviews.LONGEST["author"]],
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "snapshot": snapshot,
        "content_hash": content_hash,
        "scorer": scorer,
        "filters": filters,
        "numbers": json.dumps(rows, ensure_ascii=False, allow_nan=False),
    }


def of_review(store: Path, review_id: str) -> tuple[list[Frozen], int]:
    """The decisions of a review that can be shown, the newest first, and how many cannot.

    Raises:
        ReviewError: the file cannot be read.
    """
    cells, unreadable = notebook.rows(store, "decision", "decisions", _CELLS, review_id=review_id)
    read = [_frozen(each) for each in cells]
    return [each for each in read if each], unreadable + read.count(None)


def _frozen(cells: dict[str, Any]) -> Frozen | None:
    try:
        listed = json.loads(cells.pop("numbers"))
    except (ValueError, RecursionError):
        return None
    rows = checked_rows(listed)
    return Frozen(**cells, rows=rows) if cells["kind"] in KINDS and rows else None


def checked_rows(listed: Any) -> tuple[dict[str, Any], ...] | None:
    """The rows of a decision, one per criterion, of somebody else's JSON; None where one is not what it must be."""
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_CRITERIA:
        return None
    rows = [_row(each) for each in listed]
    known = tuple(each for each in rows if each is not None)
    return known if len(known) == len(rows) else None


def _row(values: Any) -> dict[str, Any] | None:
    """A criterion's verdict and numbers, or None where one is not what it must be."""
    if not isinstance(values, dict) or values.get("verdict") not in (PASS, FAIL, UNDECIDED):
        return None
    out: dict[str, Any] = {"verdict": values["verdict"]}
    for key in ("criterion", "measure"):
        if not isinstance(values.get(key), str):
            return None
        out[key] = printable(values[key])[:LONGEST]
    for key in NUMBERS:
        number = values.get(key)
        if isinstance(number, bool) or not isinstance(number, int | float | None):
            return None
        out[key] = float("nan") if number is None else _number(number)
    return out


def _number(value: float) -> float:
    """The number as a float; NaN for one that is too large."""
    return float(value) if abs(value) < 1e300 else float("nan")


def beside(frozen: Frozen, today: Sequence[Verdict]) -> pd.DataFrame:
    """One row per criterion: what was said then, and what the data say today.

    Returns:
        criterion; then: verdict, then_difference, then_low, then_high, then_q, then_prompts; the same of today as `now...`,
        missing where the criterion is not judged today.
    """
    now = reviews.table(today)
    judged = dict(zip(now["criterion"], now.to_dict("records"), strict=True)) if len(now) else {}
    columns = ("difference", "low", "high", "q", "prompts")
    out = []
    for row in frozen.rows:
        current = judged.get(row["criterion"], {})
        out.append(
            {"criterion": row["criterion"], "then": row["verdict"], "now": current.get("verdict", "")}
            | {f"then_{key}": row[key] for key in columns}
            | {f"now_{key}": current.get(key, float("nan")) for key in columns}
        )  # fmt: skip
    return pd.DataFrame(out)
