"""A gate's decision that was kept, beside what the data say today: `stepscope gate --frozen FILE`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from app.analysis import decisions
from app.analysis.criteria import CriteriaError
from app.analysis.decisions import Frozen
from app.analysis.gates import Decision
from app.database.notebook import printable
from app.database.plain_files import read_plain
from app.figures.review import markdown
from app.figures.verdicts import FORMAT, WORDS

LARGEST_FILE = 2**22  # bytes


def read(path: Path) -> Frozen:
    """A decision as `gate --json` printed it, checked: whoever wrote the file.

    Raises:
        CriteriaError: one line about what is wrong.
    """
    try:
        values = json.loads(read_plain(path, LARGEST_FILE))
    except FileNotFoundError:
        raise CriteriaError(f"{path}: there is no such file. Keep one with --json.") from None
    except OSError as error:
        raise CriteriaError(f"{path}: {error.strerror or error}. Give a regular file of at most {LARGEST_FILE:,} bytes.") from error  # fmt: skip
    except (ValueError, RecursionError):
        values = None
    frozen = _frozen(values) if isinstance(values, dict) else None
    if frozen is None:
        raise CriteriaError(f"{path}: no decision that `gate --json` printed (format {FORMAT!r}).")
    return frozen


def _frozen(values: dict[str, Any]) -> Frozen | None:
    filters = values.get("filters")
    texts = [values.get(key) for key in ("content_hash", "scorer")]
    known = values.get("format") == FORMAT and isinstance(filters, dict) and all(isinstance(each, str) for each in texts)  # fmt: skip
    rows = decisions.checked_rows(values.get("criteria"))
    snapshot = values.get("snapshot")
    if not known or rows is None or not isinstance(snapshot, int) or isinstance(snapshot, bool):
        return None
    held = printable(json.dumps(filters, ensure_ascii=False) if filters else "")
    short = [printable(str(each))[: decisions.LONGEST] for each in texts]
    return Frozen("saved", "", "", snapshot, short[0], short[1], held[: decisions.LONGEST], rows)


def text(frozen: Frozen, decision: Decision) -> str:
    """What was decided then and what today's data say, for a terminal."""
    lines = ["", _head(frozen, decision)]
    for row in decisions.beside(frozen, decision.verdicts).to_dict("records"):
        lines += [f"  {row['criterion']}"]
        lines += [f"    {side:5}  {_cell(row, key)}" for side, key in SIDES]
    return "\n".join(printable(line) for line in lines)


def to_markdown(frozen: Frozen, decision: Decision) -> str:
    """The same for a pull request; nothing in its texts is interpreted."""
    rows = [
        "| " + " | ".join(markdown(cell) for cell in (row["criterion"], *(_cell(row, key) for _, key in SIDES))) + " |"
        for row in decisions.beside(frozen, decision.verdicts).to_dict("records")
    ]  # fmt: skip
    head = ["| criterion | then | today |", "|---|---|---|"]
    return "\n".join([markdown(_head(frozen, decision)), "", *head, *rows, ""])


def record(frozen: Frozen) -> dict[str, Any]:
    """The decision as it was, for JSON."""
    return {
        "verdict": frozen.verdict,
        "snapshot": frozen.snapshot,
        "content_hash": frozen.content_hash,
        "scorer": frozen.scorer,
        "criteria": list(frozen.rows),
    }


SIDES = (("then", "then"), ("today", "now"))


def _head(frozen: Frozen, decision: Decision) -> str:
    same = frozen.content_hash == decision.content_hash
    data = "today's data are the same" if same else f"today's data differ (snapshot {decision.snapshot})"  # fmt: skip
    scorer = f", scorer {frozen.scorer}" if frozen.scorer else ""
    return (
        f"Frozen decision: {WORDS[frozen.verdict]}, snapshot {frozen.snapshot} (sha256 {frozen.content_hash}){scorer}, "
        f"filters: {frozen.filters or 'none'}; {data}."
    )


def _cell(row: dict[Any, Any], side: str) -> str:
    """Verdict and numbers of one side."""
    if not row[side]:
        return "not judged"
    gap, low, high, prompts = (float(row[f"{side}_{key}"]) for key in ("difference", "low", "high", "prompts"))  # fmt: skip
    if math.isnan(gap) or math.isnan(prompts):
        return str(row[side])
    limits = "" if math.isnan(low) else f" [{low:+.4g}, {high:+.4g}]"
    return f"{row[side]}  {gap:+.4g}{limits}, prompts: {prompts:.0f}"
