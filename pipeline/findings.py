"""The short table that a run prints at its end."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np

from pipeline import correlation

SQL = Path(__file__).parent / "database"


def findings(snapshot: Path) -> str:
    """Per model: its CLIP score with a 95 % interval over prompts, and when each family of concepts emerges.

    Emergence is the median over samples of a concept that the prompt names, as a share of the steps in %, 0 = noise.
    """
    with duckdb.connect(snapshot, read_only=True) as con:
        scores = con.execute((SQL / "finding_scores.sql").read_text()).fetchall()
        families = con.execute((SQL / "finding_emergence.sql").read_text()).fetchall()
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
