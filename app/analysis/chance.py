"""Gains over a random map: the paired difference, its t interval, its test and its verdict.

The same rule judges every tool on every page and in every figure: the gain of a tool over a random map on
the same prompt (or scene), its paired t interval, p of the same paired t test, corrected by Holm over the
tools, models and games of the question, and a verdict from six prompts (or scenes) on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from app.analysis import uncertainty

BETTER, WORSE = "better than random", "worse than random"


def intervals(table: pd.DataFrame, mean: str, sd: str, n: str) -> pd.DataFrame:
    """The rows with the 95 % t limits of a mean as low and high; NaN where n < 2.

    Args:
        table: one mean per row.
        mean: column of the means.
        sd: column of the standard deviations.
        n: column of the numbers of prompts or scenes.
    """
    low, high = uncertainty.t_limits(table[mean], table[sd], table[n])
    return table.assign(low=low, high=high)


def judged(table: pd.DataFrame, gain: str, sd: str, n: str, unit: str = "prompts") -> pd.DataFrame:
    """The rows of one family of tests with low, high, p, q (Holm) and verdict.

    Args:
        table: one gain per row; positive is better. The family is all of its rows.
        gain: column of the mean gains.
        sd: column of their standard deviations over the unit.
        n: column of the number of units.
        unit: what is counted, for the verdict of too few.
    """
    p = uncertainty.paired_t_p(table[gain], table[sd], table[n])
    q = uncertainty.holm(p)
    verdicts = uncertainty.verdicts(q, table[n])
    said: Any = np.where(table[gain] > 0, BETTER, WORSE)
    said = np.where(verdicts == uncertainty.SEPARABLE, said, verdicts)
    said = np.where(verdicts == uncertainty.TOO_FEW, f"too few {unit}", said)
    return intervals(table, gain, sd, n).assign(p=p, q=q, verdict=said)
