"""Statistics of similarity curves: per trajectory, per prompt, and over the prompts of a model.

All functions work on whole matrices of curves, one row a trajectory. Definitions: docs/methods.md, "Concept similarity".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from numpy import ndarray
from scipy import stats

PREDICTABLE = 0.9  # correlation with the final value from which on a step predicts it
CONFIDENCE = 0.95


def spearman_with_step(curves: Float[ndarray, "n s"]) -> Float[ndarray, " n"]:
    """Spearman correlation of each curve with its step, -1..1, ties averaged; NaN for a constant curve."""
    if curves.shape[1] < 2:
        return np.full(len(curves), np.nan)
    order = np.argsort(curves, axis=1)
    tied = (np.diff(np.take_along_axis(curves, order, 1), axis=1) == 0).any(1)
    values = _spearman_without_ties(order)
    ranks = stats.rankdata(curves[tied], axis=1)
    values[tied] = pearson_rows(ranks, np.broadcast_to(np.arange(curves.shape[1]), ranks.shape))
    return values


def _spearman_without_ties(order: Int[ndarray, "n s"]) -> Float[ndarray, " n"]:
    """The same from each row's argsort: sum(rank * step) needs no ranks. 100,000 curves of 50 steps: 0.42 s in place of 1.4 s, on a busy 2-core machine."""
    steps = np.arange(order.shape[1], dtype=np.float64)
    centred = steps - steps.mean()
    return (order @ centred) / (centred @ centred)


def area(curves: Float[ndarray, "n s"]) -> Float[ndarray, " n"]:
    """Area under each min-max scaled curve over 0..1 of the steps: high = early riser; NaN for a constant curve."""
    low, high = curves.min(1, keepdims=True), curves.max(1, keepdims=True)
    span = high - low
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(span > 0, (curves - low) / span, np.nan)
    if curves.shape[1] < 2:
        return np.full(len(curves), np.nan)
    return np.trapezoid(scaled, dx=1 / (curves.shape[1] - 1), axis=1)


def seed_noise(values: Float[ndarray, " n"], groups: Int[ndarray, " n"]) -> float:
    """Pooled standard deviation of values within groups (prompts), over seeds; NaN when no group has two."""
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    freedom = len(values) - len(counts)
    if freedom <= 0:
        return float("nan")
    means = np.bincount(index, values) / counts
    return float(np.sqrt(((values - means[index]) ** 2).sum() / freedom))


def mean_by_group(
    values: Float[ndarray, "n s"], groups: Int[ndarray, " n"]
) -> tuple[Int[ndarray, " g"], Float[ndarray, "g s"], Int[ndarray, " g"]]:
    """Sorted groups, the mean of each group's rows ignoring NaN (NaN if all are), and its number of rows."""
    if (np.diff(groups) > 0).all():  # one seed, sorted: nothing to average
        return groups, values, np.ones(len(groups), int)
    keys, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(index, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    present = ~np.isnan(values[order])
    sums = np.add.reduceat(np.where(present, values[order], 0.0), starts, axis=0)
    seen = np.add.reduceat(present.astype(float), starts, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return keys, sums / seen, counts


def interval(
    values: Float[ndarray, "n s"],
) -> tuple[Float[ndarray, " s"], Float[ndarray, " s"], Float[ndarray, " s"], Float[ndarray, " s"]]:
    """Mean, its 95 % t interval (low, high) and the standard deviation over rows, NaN left out.

    Rows are prompts (seeds averaged before), the unit of every statistic here. Fewer than two rows give NaN limits.
    """
    n = (~np.isnan(values)).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, np.nansum(values, 0) / n, np.nan)
        spread = np.sqrt(np.nansum((values - mean) ** 2, 0) / (n - 1))
        sd = np.where(n > 1, spread, np.nan)
        half = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(n - 1, 1)) * sd / np.sqrt(n)
    return mean, mean - half, mean + half, sd


@dataclass(frozen=True)
class Moments:
    """Moments of a matrix' rows (prompts) by groups of them, a row each; groups without a row are left out.

    Attributes:
        group: which groups these are, ascending.
        count: rows in each.
        mean: of each column.
        square: sum of squared deviations from the mean.
        cross: sum of products of the deviations with the last column's.
    """

    group: Int[ndarray, " g"]
    count: Int[ndarray, " g"]
    mean: Float[ndarray, "g s"]
    square: Float[ndarray, "g s"]
    cross: Float[ndarray, "g s"]

    def pooled(self, into: Int[ndarray, " g"]) -> Moments:
        """The moments of groups put together, without the rows: squares within the groups plus those between their means.

        Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance".

        Args:
            into: for each group the one that it goes into; negative = left out.
        """
        members = np.flatnonzero(into >= 0)
        order = members[np.argsort(into[members], kind="stable")]
        group, starts = np.unique(into[order], return_index=True)
        count = self.count[order]
        total = np.add.reduceat(count, starts)
        mean = np.add.reduceat(count[:, None] * self.mean[order], starts) / total[:, None]
        gap = self.mean[order] - np.repeat(mean, np.diff([*starts, len(order)]), axis=0)
        between = count[:, None] * gap
        return Moments(
            group,
            total,
            mean,
            np.add.reduceat(self.square[order] + between * gap, starts),
            np.add.reduceat(self.cross[order] + between * gap[:, -1:], starts),
        )

    @property
    def sd(self) -> Float[ndarray, "g s"]:
        """Standard deviation; NaN for one row."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sqrt(self.square / (self.count - 1)[:, None])

    @property
    def covariance(self) -> Float[ndarray, "g s"]:
        """Covariance with the last column; NaN for one row."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.cross / (self.count - 1)[:, None]

    def limits(self) -> tuple[Float[ndarray, "g s"], Float[ndarray, "g s"]]:
        """The mean's 95 % t interval; NaN for one row."""
        freedom = np.maximum(self.count - 1, 1)
        t = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) / np.sqrt(self.count)
        half = t[:, None] * self.sd
        return self.mean - half, self.mean + half

    def r_last(self) -> Float[ndarray, "g s"]:
        """Pearson correlation with the last column; NaN for fewer than three rows or a constant column."""
        r = correlation(self.cross, self.square)
        return np.where((self.count > 2)[:, None], r, np.nan)


def correlation(
    product: Float[ndarray, "*g s"], square: Float[ndarray, "*g s"]
) -> Float[ndarray, "*g s"]:
    """Correlation of each column with the last, from sums of products with it and of squares; NaN without spread."""
    size = np.sqrt(square * square[..., -1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 1e-12, product / size, np.nan).clip(-1, 1)


def group_moments(values: Float[ndarray, "n s"], groups: Int[ndarray, " n"]) -> Moments:
    """Moments of the rows of each group, none of which may be NaN; two passes, so that no digits are lost."""
    order, distinct, count = _by_group(groups)
    rows = values[order].astype(np.float64)
    shape = (len(distinct), values.shape[1])
    mean, square, cross = np.empty(shape), np.empty(shape), np.empty(shape)
    for index, deviations in enumerate(np.split(rows, np.cumsum(count)[:-1])):
        mean[index] = deviations.mean(0)
        deviations -= mean[index]
        square[index] = np.einsum(
            "ij,ij->j", deviations, deviations
        )  # half the time of (deviations * deviations).sum(0)
        cross[index] = deviations[:, -1] @ deviations
    return Moments(distinct, count, mean, square, cross)


def group_means(values: Float[ndarray, "n s"], groups: Int[ndarray, " n"]) -> Float[ndarray, "g s"]:
    """The mean of the rows of each group, in the order of `group_moments`."""
    order, _, count = _by_group(groups)
    starts = np.cumsum(count) - count
    return np.add.reduceat(values[order].astype(np.float64), starts) / count[:, None]


def _by_group(groups: Int[ndarray, " n"]) -> tuple[ndarray, ndarray, ndarray]:
    """The rows group by group, the groups, and the number of rows of each."""
    distinct, count = np.unique(groups, return_counts=True)
    return np.argsort(groups, kind="stable"), distinct, count


def pearson_rows(a: Num[ndarray, "n s"], b: Num[ndarray, "n s"]) -> Float[ndarray, " n"]:
    """Pearson correlation of matching rows; NaN where either is constant."""
    a = a - a.mean(1, keepdims=True)
    b = b - b.mean(1, keepdims=True)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 1e-12, (a * b).sum(1) / size, np.nan).clip(-1, 1)


def pearson_columns(a: Float[ndarray, "n s"], b: Float[ndarray, "n s"]) -> Float[ndarray, " s"]:
    """Pearson correlation of matching columns; NaN for fewer than three rows, or where either is constant."""
    if len(a) < 3:
        return np.full(a.shape[1], np.nan)
    a = a - a.mean(0, dtype=np.float64)
    b = b - b.mean(0, dtype=np.float64)
    size = np.sqrt(np.einsum("ij,ij->j", a, a) * np.einsum("ij,ij->j", b, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 1e-12, np.einsum("ij,ij->j", a, b) / size, np.nan).clip(-1, 1)


def predictable_from(r: Float[ndarray, " s"], level: float = PREDICTABLE) -> int | None:
    """First step from which the correlation with the final value stays at or above `level`; None if undefined."""
    if np.isnan(r[-1]):
        return None
    below = np.flatnonzero(~(r >= level))
    first = int(below[-1]) + 1 if len(below) else 0
    return first if first < len(r) else None


def concept_correlation(values: Float[ndarray, "k n"]) -> Float[ndarray, "k k"]:
    """Pearson correlations between concepts (rows) over prompts (columns); NaN where one is constant."""
    centred = values - values.mean(1, keepdims=True)
    size = np.sqrt((centred**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        normalised = np.where(size[:, None] > 1e-9, centred / size[:, None], np.nan)
    return (normalised @ normalised.T).clip(-1, 1)


@dataclass(frozen=True)
class Matching:
    """Where one model's curves are read to stand beside another's: at the same log-SNR, by linear interpolation.

    Attributes:
        known: whether each of the first model's steps lies within the second model's noise levels.
        below: for those steps, the second model's step at or before that noise level.
        weight: of the step after it, 0..1.
    """

    known: Bool[ndarray, " s"]
    below: Int[ndarray, " k"]
    weight: Float[ndarray, " k"]

    def read(self, curves: Float[ndarray, "n r"]) -> Float[ndarray, "n k"]:
        """The second model's curves at the first model's noise levels, where those are known."""
        if not self.weight.any():
            return curves[:, self.below]
        weight = self.weight.astype(curves.dtype)
        above = np.minimum(self.below + 1, curves.shape[1] - 1)
        return curves[:, self.below] * (1 - weight) + curves[:, above] * weight


def match_noise(first: Float[ndarray, " s"], second: Float[ndarray, " r"]) -> Matching:
    """How to read the second model's curves at the first model's noise levels.

    Args:
        first: log-SNR of the first model's steps, from noise to image.
        second: of the second model's.
    """
    if len(first) == len(second) and np.allclose(first, second, atol=1e-6):
        return Matching(np.full(len(first), True), np.arange(len(first)), np.zeros(len(first)))
    second = np.maximum.accumulate(second)
    tolerance = 1e-6 * max(1.0, float(np.ptp(second)))
    known = (first >= second[0] - tolerance) & (first <= second[-1] + tolerance)
    levels = np.clip(first[known], second[0], second[-1])
    below = np.clip(np.searchsorted(second, levels + tolerance, "right") - 1, 0, len(second) - 1)
    above = np.minimum(below + 1, len(second) - 1)
    gap = second[above] - second[below]
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(gap > tolerance, (levels - second[below]) / gap, 0.0).clip(0, 1)
    return Matching(known, below, np.where(weight > 1e-6, weight, 0.0))
