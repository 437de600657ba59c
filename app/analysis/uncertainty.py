"""How sure a number is: intervals, paired tests, effect sizes, corrections for many tests, verdicts.

The unit is the prompt: seeds are averaged within a prompt before anything here is called.
Differences are candidate minus baseline over the prompts that both have.

There is one rule for a verdict: the paired difference with its t interval, p of the same paired t test,
corrected over the family of the question. A difference is *separable* where the corrected p is below 0.05 and
at least 6 prompts are shared. (The percentile bootstrap, which was used before, covers the truth in 50 % of
samples of 2 prompts, 75 % of 3 and 92 % of 12 where 95 % is claimed; above 50 prompts the two agree.)
(Not named `statistics`: with app/ on sys.path that would shadow the standard library's module.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

LEVEL = 0.95
ALPHA = 0.05
LEAST_PROMPTS = 6
POWER = 0.8
SEPARABLE, NOT_SEPARABLE, TOO_FEW = "separable", "not separable", "too few prompts"
PAIRED = "95 % t interval over prompts"
RULE = f"A difference is separable where p < {ALPHA} after correction and at least {LEAST_PROMPTS} prompts are shared."

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits over n prompts; limits are NaN where n < 2."""

    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Paired:
    """A paired comparison over shared prompts, candidate minus baseline.

    Attributes:
        difference: mean difference with its t interval; with limits, from the interval of the lowest to that of the highest.
        p: paired t test, two-sided; 1 where all differences are zero, NaN for fewer than 2 prompts. With limits, of those
            nearer to zero, and 1 where zero lies between them.
        wilcoxon: p of the Wilcoxon signed-rank test, beside it.
        d_z: mean difference over the standard deviation of the differences (Cohen's d for pairs).
        cliffs_delta: P(candidate > baseline) - P(candidate < baseline) over all pairs of values,
            -1..1.
        win_rate: share of prompts on which the candidate is better, in the measure's own direction; ties
            count half.
        needed: prompts that would separate a difference of this size with a power of 80 %; NaN without one.
        slack: how far the mean of the lowest lies below the mean difference, and that of the highest above; zeros without limits.
    """

    difference: Interval
    p: float
    wilcoxon: float
    d_z: float
    cliffs_delta: float
    win_rate: float
    needed: float
    slack: tuple[float, float]


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


def compare(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    lower_is_better: bool = False,
    level: float = LEVEL,
    limits: tuple[ArrayLike, ArrayLike] | None = None,
) -> Paired:
    """Compare two models on the same prompts; pairs with a missing side are left out.

    Args:
        baseline: one value per prompt.
        candidate: the same prompts in the same order.
        lower_is_better: the measure's direction, which decides what a win is.
        level: coverage of the interval.
        limits: the lowest and highest difference of each prompt, where the values are known between two steps alone (interval
            censored): a difference is claimed only if none between them takes it back. See docs/methods.md, "Emergence step".
    """
    first, second = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    gap = second - first
    ends = _ends(gap, both, limits)
    mean, low, high = (t_interval(each, level) for each in (gap, *ends))
    sure = _nearest(*ends)
    return Paired(
        Interval(mean.estimate, low.low, high.high, mean.n),
        _t_test_p(sure),
        wilcoxon_p(gap),
        effect_size(gap),
        cliffs_delta(first, second),
        win_rate(-gap if lower_is_better else gap),
        prompts_needed(effect_size(sure)),
        (mean.estimate - low.estimate, high.estimate - mean.estimate),
    )


def _ends(
    gap: Floats, both: NDArray[np.bool_], limits: tuple[ArrayLike, ArrayLike] | None
) -> tuple[Floats, Floats]:
    """The lowest and the highest differences of the pairs that have both sides; the differences themselves without limits."""
    if limits is None:
        return gap, gap
    lowest, highest = (np.asarray(each, dtype=float)[both] for each in limits)
    return lowest, highest


def _nearest(lowest: Floats, highest: Floats) -> Floats:
    """Of the lowest and highest differences those whose mean is nearer to zero; zeros where zero lies between the means."""
    if not lowest.size or lowest.mean() > 0:
        return lowest
    return highest if highest.mean() < 0 else np.zeros_like(lowest)


def paired_p(
    baseline: ArrayLike, candidate: ArrayLike, limits: tuple[ArrayLike, ArrayLike] | None = None
) -> float:
    """`Paired.p` alone, in a twentieth of the time of `compare`."""
    gap = np.subtract(candidate, baseline, dtype=float)
    both = np.isfinite(gap)
    return _t_test_p(_nearest(*_ends(gap[both], both, limits)))


def _t_test_p(gap: Floats) -> float:
    if not gap.size:
        return float("nan")
    sd = gap.std(ddof=1) if gap.size > 1 else np.nan
    return float(paired_t_p(gap.mean(), sd, gap.size))


def sure_part(difference: float, slack: tuple[float, float]) -> float:
    """What of a difference is claimed where so much is open below and above it: of what is possible, the nearest to zero."""
    return max(difference - slack[0], 0.0) + min(difference + slack[1], 0.0)


def verdicts(p: ArrayLike, n: ArrayLike) -> NDArray[np.str_]:
    """The verdict of each test: SEPARABLE, NOT_SEPARABLE or TOO_FEW.

    Args:
        p: corrected over the family of the question.
        n: shared prompts.
    """
    corrected, count = np.asarray(p, dtype=float), np.asarray(n, dtype=float)
    sure = np.where(corrected < ALPHA, SEPARABLE, NOT_SEPARABLE)
    return np.where(count < LEAST_PROMPTS, TOO_FEW, sure)


def deviation(interval: Interval, level: float = LEVEL) -> float:
    """The standard deviation of the values that a t interval of this level was made of; NaN where it has no limits."""
    if interval.n < 2:
        return float("nan")
    half = special.stdtrit(interval.n - 1, (1 + level) / 2)
    return float((interval.high - interval.low) / 2 / half * np.sqrt(interval.n))


def prompts_needed(d_z: float, alpha: float = ALPHA) -> float:
    """Prompts that separate a difference of this effect size with a power of 80 %, at a two-sided level; NaN for none.

    Source: Guenther 1981, the normal approximation with its correction for the t test.
    """
    if not np.isfinite(d_z) or d_z == 0:
        return float("nan")
    z = special.ndtri([1 - alpha / 2, POWER])
    return float(max(np.ceil((z.sum() / d_z) ** 2 + z[0] ** 2 / 2), LEAST_PROMPTS))


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; 1 for no difference at all, NaN where n < 2."""
    gap = _finite(differences)
    if gap.size < 2:
        return float("nan")
    if not gap.any():
        return 1.0
    # Means over seeds are stored as 32-bit floats: without the rounding, equal differences are no ties.
    gap = np.round(gap, 6 - int(np.ceil(np.log10(np.abs(gap).max()))))
    # scipy's "auto" permutes all signs of a small sample with ties: seconds for a table of tests.
    exact = gap.size <= 50 and gap.all() and np.unique(np.abs(gap)).size == gap.size
    return float(_stats().wilcoxon(gap, method="exact").pvalue) if exact else _signed_rank_p(gap)


def _signed_rank_p(differences: Floats) -> float:
    """What scipy's `wilcoxon(method="asymptotic")` gives: without zeros, ties of one rank; in a tenth of its 1.3 ms."""
    gap = differences[differences != 0]
    n = gap.size
    size = np.sort(np.abs(gap))
    starts = np.flatnonzero(np.diff(size, prepend=-1))
    ties = np.diff(starts, append=n)
    # Sorted, the differences above zero are found among the others in a third of the time.
    ranks = (starts + (ties + 1) / 2)[np.searchsorted(size[starts], np.sort(gap[gap > 0]))]
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((ties.astype(float) ** 3 - ties).sum()) / 48
    if not variance:
        return float("nan")
    z = (ranks.sum() - n * (n + 1) / 4) / np.sqrt(variance)
    return float(2 * special.ndtr(-abs(z)))


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
    less = np.searchsorted(below, ranked, "left")
    tied = ranked[np.append(below, np.nan)[less] == ranked]
    equal = np.searchsorted(below, tied, "right") - np.searchsorted(below, tied, "left")
    lower = int(less.sum())
    higher = first.size * second.size - lower - int(equal.sum())
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
    """A p value for a table: '0.045', '< 0.001', a dash where it is unknown."""
    if not np.isfinite(p):
        return "–"
    return "<\u00a00.001" if p < 0.001 else f"{p:.2g}"


def interval_text(estimate: float, low: float, high: float, *, signed: bool = False) -> str:
    """A number with its interval and the digits that the interval leaves: '0.0134 [0.0100, 0.0168]'.

    Args:
        estimate: the number.
        low, high: its limits; NaN where there are none, which is said without brackets.
        signed: whether a positive number has its sign, as a difference should.
    """
    width = high - low
    digits = 3
    if np.isfinite(width) and width > 0:
        digits = int(np.clip(1 - np.floor(np.log10(width)), 1, 6))
    number = fixed(estimate, digits, signed=signed)
    return f"{number} [{fixed(low, digits)}, {fixed(high, digits)}]" if np.isfinite(width) else number  # fmt: skip


def fixed(value: float, digits: int, *, signed: bool = False) -> str:
    """A number with so many digits after the point, never in powers of ten and never -0.000."""
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}"


def significant(value: float, digits: int) -> str:
    """A number by its significant digits, never in powers of ten: '0.0000081', '12', '0.5'."""
    return str(np.format_float_positional(float(value), digits, fractional=False, trim="-"))


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


def tied_ranks(better: ArrayLike) -> list[str]:
    """Ranks with ties: one plus the number of rows that are separably better; rows of one rank are tied.

    Args:
        better: n x n, whether row j is separably better than row i, by paired tests.

    Returns:
        '1', '2', or '=2' where another row has the same rank.
    """
    rank = 1 + np.asarray(better, dtype=bool).sum(axis=1)
    shared = pd.Series(rank).duplicated(keep=False).to_numpy()
    return [f"={r}" if tie else f"{r}" for r, tie in zip(rank, shared, strict=True)]


def _finite(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=float)
    return table[np.isfinite(table)]


def _stats() -> Any:
    """`scipy.stats`, when a test needs it: 0.7 s that the first page after a server's start need not wait for."""
    from scipy import stats

    return stats
