"""How sure a number is: intervals, paired tests, effect sizes, corrections for many comparisons.

The unit is the prompt: seeds are averaged within a prompt before anything here is called.
Differences are candidate minus baseline over the prompts that both have, so a positive one favours
the candidate wherever higher is better. (Not named `statistics`: with app/ on sys.path that would
shadow the standard library's module.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

LEVEL = 0.95
RESAMPLES = 2000
SEED = 20240215
# Above this many prompts the limits of the percentile bootstrap of a mean differ from those of the t interval by about as
# much as from themselves with another seed: that moves them by 3 % of the half width (standard deviation over seeds, at
# n = 1000 to 4000), and t is off by 0 to 4 %, for normal, exponential and lognormal differences alike. Drawing for 5,000
# prompts took 0.7 s, anew for every n.
MOST_BOOTSTRAPPED = 1000
PAIRED = f"95 % percentile bootstrap over prompts (B = {RESAMPLES}; above {MOST_BOOTSTRAPPED:,} prompts a t interval)"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits over n prompts; limits are NaN where n < 2."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the limits: the difference is separable from none."""
        return bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Paired:
    """A paired comparison over shared prompts, candidate minus baseline.

    Attributes:
        difference: mean difference with its percentile bootstrap interval.
        p: Wilcoxon signed-rank, two-sided; 1 where all differences are zero, NaN for fewer than 2
            prompts.
        d_z: mean difference over the standard deviation of the differences (Cohen's d for pairs).
        cliffs_delta: P(candidate > baseline) - P(candidate < baseline) over all pairs of values,
            -1..1.
        win_rate: share of prompts on which the candidate is higher; ties count half.
    """

    difference: Interval
    p: float
    d_z: float
    cliffs_delta: float
    win_rate: float


def t_limits(
    mean: ArrayLike, sd: ArrayLike, n: ArrayLike, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Limits of the t interval of means, elementwise; NaN where n < 2.

    Args:
        mean: means over prompts.
        sd: sample standard deviations over prompts.
        n: numbers of prompts.
        level: coverage, 0..1.
    """
    count = np.asarray(n, dtype=float)
    enough = count > 1
    safe = np.where(enough, count, 2.0)
    half = special.stdtrit(safe - 1, (1 + level) / 2) * np.asarray(sd, dtype=float) / np.sqrt(safe)
    half = np.where(enough, half, np.nan)
    centre = np.asarray(mean, dtype=float)
    return centre - half, centre + half


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Mean of one value per prompt with its t interval."""
    sample = _finite(values)
    if sample.size == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    sd = sample.std(ddof=1) if sample.size > 1 else np.nan
    low, high = t_limits(sample.mean(), sd, sample.size, level)
    return Interval(float(sample.mean()), float(low), float(high), int(sample.size))


def bootstrap_limits(
    values: ArrayLike, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[Floats, Floats]:
    """Percentile bootstrap limits of the mean over the first axis, one pair per column.

    Whole rows (prompts) are drawn, so the points of a curve stay together. The resampled means are
    one matrix product of multinomial counts and values. The same input and seed give the same
    limits.

    Source: Efron 1979; METHODS "Statistics": B = 2000.

    Args:
        values: n x ... differences, one row per prompt.
        level: coverage, 0..1.
        resamples: number of bootstrap samples.
        seed: of the resampling.
    """
    table = np.asarray(values, dtype=float)
    n = table.shape[0]
    if n < 2:
        blank = np.full(table.shape[1:], np.nan)
        return blank, blank
    if n > MOST_BOOTSTRAPPED:
        return t_limits(table.mean(axis=0), table.std(axis=0, ddof=1), n, level)
    means = _draws(n, resamples, seed) @ table.reshape(n, -1) / n
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low.reshape(table.shape[1:]), high.reshape(table.shape[1:])


@lru_cache(maxsize=4)
def _draws(n: int, resamples: int, seed: int) -> Floats:
    """How often each of n rows is in each bootstrap sample.

    A page asks for the same n again and again, and drawing was nine tenths of the bootstrap (0.4 s for 3,000 prompts).
    At most 16 MB each, by MOST_BOOTSTRAPPED.
    """
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return counts.astype(float)


def compare(baseline: ArrayLike, candidate: ArrayLike) -> Paired:
    """Compare two models on the same prompts; pairs with a missing side are left out.

    Args:
        baseline: one value per prompt.
        candidate: the same prompts in the same order.
    """
    first, second = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    gap = second - first
    if gap.size == 0:
        return Paired(Interval(np.nan, np.nan, np.nan, 0), np.nan, np.nan, np.nan, np.nan)
    low, high = bootstrap_limits(gap)
    return Paired(
        Interval(float(gap.mean()), float(low), float(high), int(gap.size)),
        wilcoxon_p(gap),
        effect_size(gap),
        cliffs_delta(first, second),
        win_rate(gap),
    )


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; 1 for no difference at all, NaN where n < 2."""
    gap = _finite(differences)
    if gap.size < 2:
        return float("nan")
    if not gap.any():
        return 1.0
    # scipy's "auto" permutes all signs of a small sample with ties: seconds for a table of tests.
    exact = gap.size <= 50 and gap.all() and np.unique(np.abs(gap)).size == gap.size
    method = "exact" if exact else "asymptotic"
    return float(_stats().wilcoxon(gap, method=method).pvalue)


def effect_size(differences: ArrayLike) -> float:
    """d_z: mean over standard deviation of the differences; 0 for none, NaN without a scale."""
    gap = _finite(differences)
    if gap.size < 2:
        return float("nan")
    if not gap.any():
        return 0.0
    sd = gap.std(ddof=1)
    return float(gap.mean() / sd) if sd > 0 else float("nan")


def cliffs_delta(baseline: ArrayLike, candidate: ArrayLike) -> float:
    """P(candidate > baseline) - P(candidate < baseline) over all pairs of values; -1..1."""
    first, second = _finite(baseline), _finite(candidate)
    if not first.size or not second.size:
        return float("nan")
    below, ranked = np.sort(first), np.sort(second)
    lower = int(np.searchsorted(below, ranked, "left").sum())
    higher = first.size * second.size - int(np.searchsorted(below, ranked, "right").sum())
    return (lower - higher) / (first.size * second.size)


def win_rate(differences: ArrayLike) -> float:
    """Share of prompts with a positive difference, ties counting half; 0..1."""
    gap = _finite(differences)
    if not gap.size:
        return float("nan")
    return float((np.count_nonzero(gap > 0) + np.count_nonzero(gap == 0) / 2) / gap.size)


def paired_t_p(mean: ArrayLike, sd: ArrayLike, n: ArrayLike) -> Floats:
    """Two-sided p of the paired t test from the differences' moments; 1 where all are zero."""
    centre, spread, count = (np.asarray(x, dtype=float) for x in (mean, sd, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = centre / (spread / np.sqrt(count))
    p = 2 * special.stdtr(np.maximum(count - 1, 1), -np.abs(t))
    p = np.where((centre == 0) & (spread == 0), 1.0, p)
    return np.where(count > 1, p, np.nan)


def p_text(p: float) -> str:
    """A p value for a sentence, not to be broken: 'p = 0.045', 'p < 0.001', 'p unknown'."""
    if not np.isfinite(p):
        return "p\u00a0unknown"
    return f"p\u00a0{p_cell(p)}" if p < 0.001 else f"p\u00a0=\u00a0{p_cell(p)}"


def p_cell(p: float) -> str:
    """A p value for a table: '0.045', '< 0.001', '' where it is unknown."""
    if not np.isfinite(p):
        return ""
    return "<\u00a00.001" if p < 0.001 else f"{p:.2g}"


def holm(p: ArrayLike) -> Floats:
    """p values after Holm's step-down correction (familywise), for headlines; NaN stays NaN."""
    raw, known = np.asarray(p, dtype=float), np.isfinite(np.asarray(p, dtype=float))
    order = np.argsort(raw[known])
    stepped = raw[known][order] * np.arange(known.sum(), 0, -1)
    corrected = np.empty(known.sum())
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    out = np.full(raw.shape, np.nan)
    out[known] = corrected
    return out


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """p values after Benjamini-Hochberg (false discovery rate), for grids; NaN stays NaN."""
    raw = np.asarray(p, dtype=float)
    known = np.isfinite(raw)
    out = np.full(raw.shape, np.nan)
    if known.any():
        out[known] = _stats().false_discovery_control(raw[known])
    return out


def correlation_limits(table: pd.DataFrame, r: str, n: str, level: float = LEVEL) -> pd.DataFrame:
    """The rows with limits low and high of their correlations (Fisher's z); NaN where n < 4.

    Args:
        table: one correlation per row.
        r: column of the correlations.
        n: column of the numbers of pairs.
        level: coverage, 0..1.
    """
    count = table[n].to_numpy(float)
    z = np.arctanh(np.clip(table[r].to_numpy(float), -0.999999, 0.999999))
    half = special.ndtri((1 + level) / 2) / np.sqrt(np.where(count > 3, count - 3, np.nan))
    return table.assign(low=np.tanh(z - half), high=np.tanh(z + half))


def tied_ranks(table: pd.DataFrame, *, ascending: bool = True) -> list[str]:
    """Ranks with ties: rows whose intervals overlap can't be told apart and share the better rank.

    A row is ranked one plus the number of rows that are separably better.

    Args:
        table: columns estimate, low, high.
        ascending: the smallest is first.

    Returns:
        '1', '2', or '=2' where another row has the same rank.
    """
    low, high = table["low"].to_numpy(float), table["high"].to_numpy(float)
    better = high[None, :] < low[:, None] if ascending else low[None, :] > high[:, None]
    rank = 1 + better.sum(axis=1)
    shared = pd.Series(rank).duplicated(keep=False).to_numpy()
    return [f"={r}" if tie else f"{r}" for r, tie in zip(rank, shared, strict=True)]


def _finite(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=float)
    return table[np.isfinite(table)]


def _stats() -> Any:
    """`scipy.stats`, when a test needs it: 0.7 s that the first page after a server's start need not wait for."""
    from scipy import stats

    return stats
