"""The short table that a run prints at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from pipeline import correlation
from pipeline.database.publish import of_scorer

SQL = Path(__file__).parent / "database"


def findings(snapshot: Path) -> str:
    """Per model: its CLIP score with a 95 % interval over prompts, and when each family of concepts emerges.

    Emergence is the median over samples of a concept that the prompt names, as a share of the steps in %, 0 = noise.
    Of several scorers, each has a table under its source.
    """
    with duckdb.connect(snapshot, read_only=True) as con:
        scorers = _ask(con, "finding_scorers")[0][0]
        if scorers == 1:
            return _table(con)
        parts = []
        for scorer in range(1, scorers + 1):
            with of_scorer(con, scorer):
                parts.append(f"by the scorer {_ask(con, 'finding_scorer')[0][0]}\n{_table(con)}")
    return "\n\n".join(parts)


def _ask(con: duckdb.DuckDBPyConnection, name: str) -> list[Any]:
    return con.execute((SQL / f"{name}.sql").read_text()).fetchall()


def _table(con: duckdb.DuckDBPyConnection) -> str:
    scores, families = _ask(con, "finding_scores"), _ask(con, "finding_emergence")
    by_model: dict[str, list[float]] = {}
    counts: dict[str, tuple[int, int]] = {}
    for label, score, done, failed in scores:
        by_model.setdefault(label, []).append(score)
        before = counts.get(label, (0, 0))
        counts[label] = (before[0] + done, before[1] + failed)
    lines = [
        f"{'model':22} {'CLIP score (cosine)':>28} {'prompts':>8} {'images':>7} {'failed':>7}  concepts emerge at % of the steps"
    ]
    for label, values in by_model.items():
        known = np.array([v for v in values if v is not None])[:, None]
        mean, low, high, _ = correlation.interval(known)
        order = ", ".join(f"{family} {at:.0f}" for name, family, at in families if name == label)
        lines.append(
            f"{label[:22]:22} {mean[0]:10.3f} [{low[0]:.3f}, {high[0]:.3f}] {len(known):8} {counts[label][0]:7} "
            f"{counts[label][1]:7}  {order}"
        )
    return "\n".join(lines)
