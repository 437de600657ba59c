"""The short table that a run prints at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from pipeline.database.build import of_scorer
from pipeline.database.snapshots import open_snapshot
from pipeline.metrics import trajectories
from pipeline.metrics.emergence import LEAST_UNNAMED
from pipeline.tables import terminal_table

SQL = Path(__file__).parent
HEAD = (
    "model",
    "CLIP score (cosine)",
    "prompts",
    "images",
    "failed",
    "named concepts emerge at % of the steps (from the start, never)",
)
ADDED = ("score", "better", "model", "mean over prompts", "prompts", "scorer", "preprocessing")


def findings(snapshot: Path) -> str:
    """Per model: its CLIP score with a 95 % interval over prompts, and when each family of concepts emerges.

    Emergence is of the concepts that a prompt names: the Kaplan-Meier restricted mean in % of the steps (0 = noise), with
    the shares that are there from the start and that never emerge.
    Of several scorers, each has a table under its source. Scores of other programs have a table of their own.
    """
    with open_snapshot(snapshot) as con:
        scorers = _ask(con, "finding_scorers")[0][0]
        parts = [_table(con)] if scorers == 1 else []
        for scorer in range(1, scorers + 1 if scorers > 1 else 1):
            with of_scorer(con, scorer):
                parts.append(f"by the scorer {_ask(con, 'finding_scorer')[0][0]}\n{_table(con)}")
        parts += _added(con)
    return "\n\n".join(parts)


def _added(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The table of the scores that other programs computed, where there are any: a row per score and model."""
    values: dict[tuple[str, ...], list[float]] = {}
    for title, lower, source, preprocessing, label, value in _ask(con, "finding_metrics"):
        key = (title, "lower" if lower else "higher", label, source, preprocessing or "not stated")
        values.setdefault(key, []).append(value)
    rows = []
    for (title, better, label, source, preprocessing), prompts in values.items():
        mean, low, high, _ = trajectories.interval(np.array(prompts)[:, None])
        score = f"{mean[0]:.4g} [{low[0]:.4g}, {high[0]:.4g}]"
        rows.append((title, better, label, score, len(prompts), source, preprocessing))
    return [terminal_table(ADDED, rows, text="<<<>><<")] if rows else []


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
    rows = []
    for label, values in by_model.items():
        known = np.array([v for v in values if v is not None])[:, None]
        mean, low, high, _ = trajectories.interval(known)
        order = _order([row[1:] for row in families if row[0] == label])
        score = f"{mean[0]:.3f} [{low[0]:.3f}, {high[0]:.3f}]"
        rows.append((label, score, len(known), *counts[label], order))
    return terminal_table(HEAD, rows, text="<>>>><")


def _order(families: list[Any]) -> str:
    """When each family emerges, the earliest first; families that cannot be judged at the end."""
    parts = [
        f"{family} {at:.0f} ({start:.0f} %, {never:.0f} %)"
        for family, at, start, never in families
        if at is not None
    ]
    unknown = [str(row[0]) for row in families if row[1] is None]
    if unknown:
        parts.append(
            f"not enough unnamed prompts for {', '.join(unknown)} (a concept needs {LEAST_UNNAMED} prompts that do not name it)"
        )
    return ", ".join(parts)
