"""Alpha spending: at which level to judge at each of several looks at data that grow, so that all looks together err no more often.

Looks are at information fractions t, 0 to 1. A spending function says how much of the error may be used up to t; from
it the level of each look follows by integrating the path of a Brownian motion that no earlier look stopped. Source: Lan
and DeMets 1983 (spending functions); Armitage, McPherson and Rowe 1969 (the recursion).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from app.analysis.uncertainty import ALPHA

FARTHEST = 9.0  # standard deviations below zero at which a path no longer counts
SMALLEST = 1e-9  # two-sided level of a look; spending less is spending nothing
CLOSEST = 1e-4  # of two looks, as a share of all information; one that is closer spends nothing
NODES = 400  # of an integral at least; as many as a step's deviation needs otherwise

Floats = NDArray[np.float64]


def _obrien_fleming(t: float, alpha: float) -> float:
    """Little at first, nearly all at the end: 2 - 2 Phi(z / sqrt t)."""
    return float(2 * special.ndtr(special.ndtri(alpha / 2) / np.sqrt(t)))


def _pocock(t: float, alpha: float) -> float:
    """About the same at each look: alpha ln(1 + (e - 1) t)."""
    return float(alpha * np.log1p((np.e - 1) * t))


SHAPES: dict[str, Callable[[float, float], float]] = {
    "obrien-fleming": _obrien_fleming,
    "pocock": _pocock,
}
"""Error that may be spent up to t, of a one-sided test at level alpha."""


def levels(times: Sequence[float], shape: str, alpha: float = ALPHA) -> list[float]:
    """The two-sided level at which each look judges; each side of all looks together errs with probability alpha / 2.

    Args:
        times: information fractions, rising, above 0 and at most 1.
        shape: a key of SHAPES.
        alpha: two-sided level of all looks together.
    """
    out: list[float] = []
    points, weights = np.zeros(1), np.ones(1)  # the path begins at 0
    before, spent = 0.0, 0.0
    for number, t in enumerate(times):
        if t - before < CLOSEST:
            out.append(SMALLEST)
            continue
        total = SHAPES[shape](t, alpha / 2)
        bound = _bound(points, weights, t - before, total - spent) if total > spent else np.inf
        bound = min(bound, -special.ndtri(SMALLEST / 2) * np.sqrt(t))
        out.append(float(2 * special.ndtr(-bound / np.sqrt(t))))
        following = [each - t for each in times[number + 1 :] if each - t >= CLOSEST]
        at, widths = _grid(-FARTHEST * np.sqrt(t), bound, min([t - before, *following[:1]]))
        points, weights = at, _moved(points, weights, t - before)(at) * widths
        before, spent = t, max(total, spent)
    return out


def _grid(low: float, high: float, step: float) -> tuple[Floats, Floats]:
    """Points between two ends and their weights by Simpson's rule, dense enough for a motion of this variance."""
    half = max(NODES, int(1.5 * (high - low) / np.sqrt(step))) // 2
    points = np.linspace(low, high, 2 * half + 1)
    weights = np.full(points.size, 2.0)
    weights[1::2], weights[[0, -1]] = 4.0, 1.0
    return points, weights * (high - low) / (6 * half)


def _moved(points: Floats, weights: Floats, step: float) -> Callable[[Floats], Floats]:
    """The density after a further step of a motion that stands at weighted points."""

    def density(at: Floats) -> Floats:
        z = (at[:, None] - points[None, :]) / np.sqrt(step)
        return np.asarray((np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi * step)) @ weights)

    return density


def _bound(points: Floats, weights: Floats, step: float, spend: float) -> float:
    """The value that a motion from weighted points exceeds after a step with probability `spend`."""

    def excess(bound: float) -> float:
        return float(weights @ special.ndtr((points - bound) / np.sqrt(step))) - spend

    return float(optimize.brentq(excess, -FARTHEST, FARTHEST)) if excess(FARTHEST) < 0 else np.inf
