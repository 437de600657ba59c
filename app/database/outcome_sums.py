"""When concepts emerge in a slice, from arrays in memory: the rows that the SQL files of the same names give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from typing import Any, cast

import numpy as np
import pandas as pd

from app.database.curve_arrays import Outcomes
from app.database.sources import Rows, Source, moments

CUT = ("log_snr", "timestep")
"""Axes on which models begin and end at different places: means are cut to what all of them reach."""
START, NEVER = 0, 2
Parts = Sequence[tuple[np.ndarray, np.ndarray]]
"""(places of prompts, a value of each), of one curve per prompt."""


@dataclass(frozen=True)
class Level:
    """Where a model's steps are on an axis.

    Attributes:
        axis: log_snr, timestep, progress or step.
        steps: (steps,), ascending.
        x: (steps,), the place of each.
        before: (steps,), that of the step before; of the first its own.
    """

    axis: str
    steps: np.ndarray
    x: np.ndarray
    before: np.ndarray

    def matches(self, other: Level) -> bool:
        """Whether another model's steps leave the same open: they are at the same levels, or are compared as steps."""
        return self.axis not in CUT or np.array_equal(self.x, other.x)

    def rows_of(self, step: np.ndarray) -> np.ndarray:
        """The row of each step among the model's; of one that it does not have, that of some other."""
        last = len(self.steps) - 1
        if np.array_equal(self.steps, np.arange(last + 1)):  # a search takes three times as long
            return cast(np.ndarray, step.astype(np.intp).clip(0, last))
        return np.searchsorted(self.steps, step).clip(max=last)

    def of(self, curves: Curves) -> np.ndarray:
        """(n,), where each emerges, never counting as the last step; NaN where it is not known."""
        step = curves.take("step")
        step = np.where(np.isnan(step), self.steps[-1], step)
        at = self.rows_of(step)
        x, before = self.x[at], self.before[at]
        if self.axis in CUT:
            crossing = curves.take("crossing")
            x = before + np.where(np.isnan(crossing), 1.0, crossing) * (x - before)
        return np.where((curves.take("outcome") >= 0) & (self.steps[at] == step), x, np.nan)

    def between(self, curves: Curves) -> tuple[np.ndarray, np.ndarray]:
        """(n,) each, the lower and the higher end of the steps between which each emerges; NaN where it is not known.

        One step where nothing is open: from the start, and never, which counts as the last.
        """
        step = curves.take("step")
        seen = ~np.isnan(step)
        step = np.where(seen, step, self.steps[-1])
        at = self.rows_of(step)
        known = (curves.take("outcome") >= 0) & (self.steps[at] == step)
        x, before = self.x[at], np.where(seen, self.before[at], self.x[at])
        return np.where(known, np.minimum(before, x), np.nan), np.where(known, np.maximum(before, x), np.nan)  # fmt: skip


@dataclass(frozen=True)
class Curves:
    """The curves of a concept that count, of one seed; of what they come to only that is read which is asked for.

    Attributes:
        every: of all prompts.
        rows: (n,), which of them count.
        level: where the model's steps are.
        rank: (prompts,), of each prompt among those within the filters.
    """

    every: Outcomes
    rows: np.ndarray
    level: Level
    rank: np.ndarray

    def take(self, name: str) -> np.ndarray:
        """(n,), a field of `Outcomes`."""
        return cast(np.ndarray, getattr(self.every, name).take(self.rows))

    @cached_property
    def prompts(self) -> np.ndarray:
        """(n,), places of the prompts among those within the filters."""
        return cast(np.ndarray, self.rank.take(self.take("prompts")))

    @cached_property
    def x(self) -> np.ndarray:
        """(n,), where each emerges; NaN where that is not known."""
        return self.level.of(self)

    @cached_property
    def between(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) each, the steps between which each emerges."""
        return self.level.between(self)

    def where(self, rows: np.ndarray) -> Curves:
        """Those that are marked."""
        return self if rows.all() else replace(self, rows=self.rows[rows])


def emergence(source: Source) -> pd.DataFrame:
    """`emergence.sql`: when each concept or family emerges, and moments between the rows of a model for their tests."""
    asked = source.parameters
    rows, levels = [], _levels(source, asked["models"])
    reach = _reach(levels.values())
    for model, level in levels.items():
        of_row: dict[int, list[Curves]] = {}
        for concept, each in _curves(source, model, level).items():
            row = source.family_ids[concept] if asked["by_family"] else concept
            of_row.setdefault(row, []).extend(each)
        means = {}
        for row in sorted(of_row):
            known = [each.where(~np.isnan(each.x)) for each in of_row[row]]
            if any(len(each.x) for each in known):
                shown, means[row] = _emergence(known, reach, len(source.ids))
                rows.append({"model_id": model, "row": row, **shown})
        for shown in rows[len(rows) - len(means) :]:
            shown |= _others(shown["row"], means, source)
    return _emergence_table(rows, source)


def emerged_share(source: Source) -> pd.DataFrame:
    """`emerged_share.sql`: per (model, family, step) the share of a family's concepts that are present by then."""
    rows = Rows("model_id", "family", "step", "prompts", "mean", "sd")
    for model, level in _levels(source, source.parameters["models"], axis="step").items():
        of_family: dict[str, list[Curves]] = {}
        for concept, each in _curves(source, model, level).items():
            of_family.setdefault(source.families[concept], []).extend(each)
        for family in sorted(of_family):
            known = [each.where(each.take("outcome") >= 0) for each in of_family[family]]
            prompts = np.concatenate([each.prompts for each in known])
            if len(prompts):
                step = np.concatenate([each.take("step") for each in known])
                n, mean, sd = _shares(prompts, step, level)
                rows.add(model, family, level.steps, n, mean, sd)
    return rows.table()


def paired_families(source: Source) -> pd.DataFrame:
    """`paired_families.sql`: per (candidate, family, prompt) both models' final similarity, area and emergence."""
    fields = ("final", "emergence", "auc")
    names = [f"{field}_{side}" for field in fields for side in ("baseline", "candidate")]
    rows = Rows("model_id", "family", "prompt_id", *names, "lowest", "highest")
    asked = source.parameters
    levels = _levels(source, [asked["baseline"], *asked["candidates"]])
    sides = {model: _of_families(_curves(source, model, level), source) for model, level in levels.items()}  # fmt: skip
    if asked["baseline"] not in levels:
        return rows.table()
    prompts = len(source.ids)
    side_of = cache(lambda model, family: _side(sides[model][family], prompts))
    emergence_of = cache(lambda model, *row: _emergence_of(sides[model][row[0]], row[1], prompts))
    ends_of = cache(lambda model, *row: _ends(sides[model][row[0]], row[1], prompts))
    for candidate in sorted(set(asked["candidates"]) & set(levels)):
        models = asked["baseline"], candidate
        reach = _reach([levels[model] for model in models])
        for family in sorted(set(sides[candidate]) & set(sides[asked["baseline"]])):
            a, b = (
                side_of(model, family) | {"emergence": emergence_of(model, family, reach)}
                for model in models
            )
            both = np.flatnonzero(a["there"] & b["there"])
            limits = [b["emergence"] - a["emergence"]] * 2
            if not levels[candidate].matches(levels[asked["baseline"]]):
                (low, high), (other_low, other_high) = (ends_of(model, family, reach) for model in models)  # fmt: skip
                limits = [other_low - high, other_high - low]
            values = [*(side[field] for field in fields for side in (a, b)), *limits]
            rows.add(candidate, family, source.ids[both], *(each[both] for each in values))
    return rows.table()


def _levels(source: Source, models: Iterable[int], axis: str | None = None) -> dict[int, Level]:
    """The steps of each model that has any, by model_id, ascending."""
    axis = axis or source.parameters["axis"]
    table = source.table("levels", models=sorted(set(models)), axis=axis)
    model, *columns = (table[name].to_numpy() for name in ("model_id", "step", "x", "before"))
    return {int(each): Level(axis, *(column[model == each] for column in columns)) for each in np.unique(model)}  # fmt: skip


def _reach(levels: Iterable[Level]) -> tuple[float, float]:
    """What all of the models reach of an axis on which they begin and end at different places."""
    ends = [(level.x.min(), level.x.max()) for level in levels if level.axis in CUT]
    return max((low for low, _ in ends), default=-np.inf), min((high for _, high in ends), default=np.inf)  # fmt: skip


def _curves(source: Source, model: int, level: Level) -> dict[int, list[Curves]]:
    """A model's curves that count, by concept_id: a part per seed."""
    parts: dict[int, list[Curves]] = {}
    seeds = [source.outcomes(model, seed) for seed in source.parameters["seeds"]]
    for concept, marks in source.counted(named=source.parameters["named"]):
        for each in seeds:
            if concept in each:
                rows = np.flatnonzero(marks.take(each[concept].prompts))
                part = Curves(each[concept], rows, level, source.rank)
                parts.setdefault(concept, []).append(part)
    return parts


def _mean(parts: Parts, prompts: int) -> np.ndarray:
    """(prompts,), the mean of the values that each prompt has; NaN where it has none that is known."""
    if len(parts) == 1:  # a part has a prompt once
        mean = np.full(prompts, np.nan)
        mean[parts[0][0]] = parts[0][1]
        return mean
    at, value = map(np.concatenate, zip(*parts, strict=True))
    known = ~np.isnan(value)
    times = np.bincount(at[known], minlength=prompts)
    with np.errstate(invalid="ignore"):
        return np.bincount(at[known], weights=value[known], minlength=prompts) / times


def _over_seeds(parts: Parts, prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """The places of prompts and the mean over seeds of each; NaN where none is known."""
    if len(parts) == 1:
        return parts[0]
    at = parts[0][0]
    if all(np.array_equal(each, at) for each, _ in parts[1:]):
        value = np.array([each for _, each in parts])
        known = ~np.isnan(value)
        with np.errstate(invalid="ignore"):
            return at, np.where(known, value, 0).sum(axis=0) / known.sum(axis=0)
    return np.arange(prompts), _mean(parts, prompts)


def _emergence(
    known: Sequence[Curves], reach: tuple[float, float], prompts: int
) -> tuple[dict[str, Any], np.ndarray]:
    """What one row shows, and (prompts,) the mean of each prompt; NaN where it has no curve."""
    cut = [(each.prompts, each.x.clip(*reach)) for each in known]
    mean_of = _mean(cut, prompts)
    there = np.flatnonzero(~np.isnan(mean_of))
    mean, sd, _ = moments(mean_of.take(there)[:, None])
    shares = {
        name: float(_mean([(e.prompts, (e.take("outcome") == code).astype(float)) for e in known], prompts).take(there).mean())
        for name, code in (("start_share", START), ("never_share", NEVER))
    }  # fmt: skip
    every = np.concatenate([x for _, x in cut])
    q1, median, q3 = np.quantile(every, [0.25, 0.5, 0.75])
    shown = {
        "n": len(there), "mean": mean[0], "sd": sd[0], "emerges_share": 1 - sum(shares.values()),
        **shares, "samples": len(every), "median": median, "q1": q1, "q3": q3,
    }  # fmt: skip
    return shown, mean_of


def _others(row: int, means: dict[int, np.ndarray], source: Source) -> dict[str, Any]:
    """A row's moments against the rows after it with which it shares prompts, as lists; NA where there is none."""
    lists: dict[str, list[Any]] = {name: [] for name in OTHERS}
    known = np.flatnonzero(~np.isnan(means[row]))
    of_row = means[row].take(known)
    for other in (each for each in sorted(means) if each > row):
        gap = means[other].take(known) - of_row
        gap = gap[~np.isnan(gap)]
        if len(gap):
            mean, sd, _ = moments(gap[:, None])
            values = (other, source.families[other], len(gap), mean[0], sd[0])
            for name, value in zip(OTHERS, values, strict=True):
                lists[name].append(value)
    return {name: np.array(lists[name], kind) if lists["others"] else pd.NA for name, kind in OTHERS.items()}  # fmt: skip


OTHERS: dict[str, Any] = {
    "others": np.int32,
    "other_families": object,
    "shared": np.int32,
    "differences": np.float64,
    "sds": np.float64,
}
COLUMNS = [
    "model_id",
    "concept_id",
    "concept",
    "family",
    "n",
    "mean",
    "sd",
    "start_share",
    "emerges_share",
    "never_share",
    "samples",
    "median",
    "q1",
    "q3",
]


def _emergence_table(rows: Sequence[dict[str, Any]], source: Source) -> pd.DataFrame:
    """The rows in the order and with the types of the SQL."""
    by_family = source.parameters["by_family"]
    for each in rows:
        each["family"] = source.families[each["row"]]
        each["concept_id"] = 0 if by_family else each["row"]
        each["concept"] = "" if by_family else source.concepts[each["row"]]
    ordered = sorted(rows, key=lambda each: (each["model_id"], each["concept_id"], each["family"]))
    table = pd.DataFrame(ordered, columns=[*COLUMNS, *OTHERS])
    counts = dict.fromkeys(("model_id", "concept_id", "n", "samples"), np.int32)
    texts = dict.fromkeys(("concept", "family"), "str")
    numbers = dict.fromkeys(set(COLUMNS) - set(counts) - set(texts), np.float64)
    return table.astype({**counts, **texts, **numbers, **dict.fromkeys(OTHERS, object)})


def _shares(
    prompts: np.ndarray, step: np.ndarray, level: Level
) -> tuple[int, np.ndarray, np.ndarray]:
    """Of each prompt's k curves the share that have emerged by a step: prompts, and mean and deviation per step.

    The i-th of them to emerge raises the share from (i-1)/k to i/k, and its square with it; the rises of all prompts are summed.
    """
    size = np.bincount(prompts)
    n = int((size > 0).sum())
    emerged, steps = np.flatnonzero(~np.isnan(step)), level.steps
    # Prompt and step as one number: to sort numbers takes a tenth of the time that the order of two columns takes.
    number = prompts[emerged].astype(np.int64) * len(steps) + level.rows_of(step[emerged])
    at, column = np.divmod(np.sort(number), len(steps))
    k = size[at]
    first = np.flatnonzero(np.diff(at, prepend=-1))
    i = np.arange(1, len(at) + 1) - np.repeat(first, np.diff(first, append=len(at)))
    share, square = (
        np.cumsum(np.bincount(column, weights=rise, minlength=len(steps))[: len(steps)])
        for rise in (1 / k, (2 * i - 1) / k**2)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt((square - share**2 / n).clip(min=0) / (n - 1))
    return n, share / n, sd if n > 1 else np.full_like(share, np.nan)


def _of_families(curves: dict[int, list[Curves]], source: Source) -> dict[str, list[list[Curves]]]:
    """A list per family of its concepts' parts."""
    families: dict[str, list[list[Curves]]] = {}
    for concept, parts in curves.items():
        families.setdefault(source.families[concept], []).append(parts)
    return families


def _side(concepts: Sequence[Sequence[Curves]], prompts: int) -> dict[str, np.ndarray]:
    """Per prompt whether a family has a curve, its final similarity and its area."""
    there = np.zeros(prompts, bool)
    for part in chain(*concepts):
        there[part.prompts] = True
    return {
        "there": there,
        "final": _family_mean(concepts, lambda each: each.take("final").astype(float), 8, prompts),
        "auc": _family_mean(concepts, _rising_area, 8, prompts),
    }


def _rising_area(curves: Curves) -> np.ndarray:
    return np.where(curves.take("rise") > 0, curves.take("auc"), np.nan).astype(float)


def _emergence_of(
    concepts: Sequence[Sequence[Curves]], reach: tuple[float, float], prompts: int
) -> np.ndarray:
    """Per prompt when a family emerges, of what both models reach of the axis."""
    return _family_mean(concepts, lambda each: each.x.clip(*reach), 6, prompts)


def _ends(
    concepts: Sequence[Sequence[Curves]], reach: tuple[float, float], prompts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per prompt the lowest and the highest that a family's emergence can be, by the steps between which it is."""
    low = _family_mean(concepts, lambda each: each.between[0].clip(*reach), 6, prompts)
    return low, _family_mean(concepts, lambda each: each.between[1].clip(*reach), 6, prompts)


def _family_mean(
    concepts: Sequence[Sequence[Curves]],
    value_of: Callable[[Curves], np.ndarray],
    digits: int,
    prompts: int,
) -> np.ndarray:
    """Per prompt a family's mean: seeds averaged within a concept, then its concepts."""
    each = [[(part.prompts, value_of(part)) for part in parts] for parts in concepts]
    means = [_over_seeds(parts, prompts) for parts in each]
    # Rounded: the order of a sum makes no tie a difference.
    return np.round(_mean(means, prompts), digits)
