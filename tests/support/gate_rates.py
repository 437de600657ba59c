"""Error rates of the gate, simulated: `python -m tests.support.gate_rates` writes the table of docs/gate.md.

Differences of prompts are drawn with deviation 1 and judged, by the rule that the gate calls, at five looks. Seeded: the
table is the same on every run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.analysis import reviews, spending, uncertainty
from app.analysis.reviews import FAIL, PASS, Criterion
from app.analysis.uncertainty import Interval

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "gate.md"
BEGIN, END = "<!-- rates: begin -->\n", "<!-- rates: end -->\n"
LOOKS = (20, 40, 60, 80, 100)  # prompts
RUNS = 10_000
TRUTHS = (
    ("no difference, margin 0", 0.0, 0.0),
    ("worse by the margin", -0.3, 0.3),
    ("better by 0.3, margin 0", 0.3, 0.0),
    ("worse by 0.6, margin 0.3", -0.6, 0.3),
)
HEAD = "| truth (deviations) | looks | passed | failed | undecided | mean prompts |\n|---|---|---|---|---|---|"
Outcome = tuple[str, int]


def schemes() -> dict[str, list[tuple[int, float]]]:
    """Prompts and level of each look, by the way of looking."""
    times = [n / LOOKS[-1] for n in LOOKS]
    spent = {shape: spending.levels(times, shape) for shape in spending.SHAPES}
    return {
        "one, at the end": [(LOOKS[-1], uncertainty.ALPHA)],
        "five, without spending": [(n, uncertainty.ALPHA) for n in LOOKS],
        **{f"five, {shape}": list(zip(LOOKS, levels, strict=True)) for shape, levels in spent.items()},
    }  # fmt: skip


def outcomes(
    difference: float, margin: float, looks: list[tuple[int, float]], seed: int
) -> list[Outcome]:
    """Verdict and prompts of each simulated gate."""
    gaps = np.random.default_rng(seed).normal(difference, 1, (RUNS, LOOKS[-1]))
    criterion = Criterion("m", "higher", margin)
    out: list[Outcome | None] = [None] * RUNS
    for n, alpha in looks:
        mean, sd = gaps[:, :n].mean(1), gaps[:, :n].std(1, ddof=1)
        low, high = uncertainty.t_limits(mean, sd, n, 1 - alpha)
        p = uncertainty.paired_t_p(mean, sd, n)
        for i in [i for i, each in enumerate(out) if each is None]:
            verdict, _ = reviews.rule(criterion, Interval(mean[i], low[i], high[i], n), p[i], alpha)
            if verdict in (PASS, FAIL):
                out[i] = (verdict, n)
    return [each or (reviews.UNDECIDED, looks[-1][0]) for each in out]


def table() -> str:
    """The table of docs/gate.md."""
    rows = [HEAD]
    for seed, (truth, difference, margin) in enumerate(TRUTHS):
        for scheme, looks in schemes().items():
            ended = outcomes(difference, margin, looks, seed)
            said = [verdict for verdict, _ in ended]
            shares = [f"{100 * said.count(each) / RUNS:.1f} %" for each in (PASS, FAIL, reviews.UNDECIDED)]  # fmt: skip
            prompts = f"{np.mean([n for _, n in ended]):.0f}"
            rows.append(f"| {truth} | {scheme} | {' | '.join(shares)} | {prompts} |")
    return "\n".join(rows) + "\n"


def written(document: str) -> str:
    """The document with the table in its place."""
    head, rest = document.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
