"""When a concept is present in a trajectory, and from which step on: by its contrast to prompts that do not name it.

A raw cosine has no zero. The *contrast* of a (prompt, seed) at a step is its similarity minus the mean similarity of the
same concept, model and step over the prompts that do not name the concept. A concept is *present* where its contrast
exceeds the 95th percentile of the contrasts of those prompts, so that 5 % of pairs without the concept count as present.
It *emerges* at the first step from which it stays present to the end. Definitions: docs/methods.md, "Emergence step".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from pipeline.metrics.trajectories import mean_by_group

LEVEL = 0.95
# The fewest values of which one has the rank LEVEL (n + 1): below it the percentile lies above all of them.
LEAST_UNNAMED = 19
START, EMERGES, NEVER = OUTCOMES = ("start", "emerges", "never")


@dataclass(frozen=True)
class Contrast:
    """What the presence of one concept in one model is judged by, per step; NaN where too few prompts do not name it.

    Attributes:
        unnamed: number of prompts that do not name the concept.
        baseline: mean similarity over those prompts, seeds averaged first.
        threshold: contrast above which the concept is present.
    """

    unnamed: int
    baseline: Float[ndarray, " s"]
    threshold: Float[ndarray, " s"]


def emergence_of(
    curves: Float[ndarray, "n s"], prompts: Int[ndarray, " n"], named: Bool[ndarray, " n"]
) -> tuple[Contrast, Float[ndarray, " n"] | None, Float[ndarray, " n"] | None]:
    """The contrast of a concept in a model, and from which step on it is present in each trajectory.

    Args:
        curves: similarity, one row per (prompt, seed).
        prompts: prompt_id of each row.
        named: whether the row's prompt names the concept.

    Returns:
        the contrast; the first step from which each row stays present: 0 = from the start, NaN = never; how far of the way
        from the step before it the threshold is crossed (`crossing`). None where fewer than LEAST_UNNAMED prompts do not name
        the concept.
    """
    rest = np.flatnonzero(~named)
    others = curves[rest]
    keys, means, _ = mean_by_group(others, prompts[rest])
    if len(keys) < LEAST_UNNAMED:
        unknown = np.full(curves.shape[1], np.nan)
        return Contrast(len(keys), unknown, unknown), None, None
    means = means.astype(np.float64)
    baseline = means.mean(0)
    # Leave one out: the contrast of a prompt that does not name the concept is to the other such prompts.
    without = (baseline + (baseline - means) / (len(keys) - 1)).astype(curves.dtype)
    if not np.array_equal(keys, prompts[rest]):  # several seeds, or prompts in another order
        without = without[np.searchsorted(keys, prompts[rest])]
    contrasts = others - without
    threshold = percentile(contrasts)
    excess = np.empty_like(curves)
    excess[rest] = contrasts - threshold
    excess[named] = curves[named] - baseline.astype(curves.dtype) - threshold
    first = first_present(excess > 0)
    return Contrast(len(keys), baseline, threshold), first, crossing(excess, first)


def percentile(values: Float[ndarray, "n s"], level: float = LEVEL) -> Float[ndarray, " s"]:
    """The level's quantile of each column, at rank level (n + 1): a further value exceeds it with probability 1 - level.

    Source: Weibull's plotting position, type 6 of Hyndman and Fan 1996; as `numpy.quantile(method="weibull")`, in a
    third of its time.
    """
    rank = min(max(level * (len(values) + 1), 1), len(values)) - 1
    below = int(rank)
    above = min(below + 1, len(values) - 1)
    columns = np.partition(np.ascontiguousarray(values.T), (below, above), axis=1)
    low, high = columns[:, below], columns[:, above]
    return low + (high - low) * values.dtype.type(rank - below)


def first_present(present: Bool[ndarray, "n s"]) -> Float[ndarray, " n"]:
    """First step from which each row stays present to the end; NaN where it is absent at the end."""
    steps = present.shape[1]
    absent = ~present[:, ::-1]
    first = np.where(absent.any(1), steps - absent.argmax(1), 0).astype(float)
    return np.where(first < steps, first, np.nan)


def crossing(excess: Float[ndarray, "n s"], first: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Where each row emerges between the step before `first` (0) and that step (1), by linear interpolation; NaN where it does not.

    Noise levels of a coarse schedule lie far apart: the level of the step itself would make it emerge later than a fine one.
    """
    rows = np.flatnonzero(first > 0)
    step = first[rows].astype(int)
    before, after = excess[rows, step - 1], excess[rows, step]
    out = np.full(len(first), np.nan)
    out[rows] = -before / (after - before)
    return out


def outcomes(first: Float[ndarray, " n"]) -> Int[ndarray, " n"]:
    """The place in OUTCOMES of each result of `first_present`."""
    return np.where(np.isnan(first), 2, np.where(first == 0, 0, 1)).astype(np.int8)
