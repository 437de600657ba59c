"""When concepts emerge: means with intervals, their order, ranks by tests, shares. No Streamlit, no chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from app.analysis import uncertainty
from app.analysis.comparison import better_matrix, pair_tests
from app.analysis.reading import StudyView

CONCEPT, FAMILY = "concept", "family"
KEYS = {CONCEPT: "concept_id", FAMILY: "family"}
OTHERS = {CONCEPT: "others", FAMILY: "other_families"}
PAIRS = {"shared": "prompts", "differences": "difference", "sds": "sd"}
"""Of a row's pairs with other rows, as the question lists them -> as tests name them."""
DROPPED: dict[str, list[str]] = {CONCEPT: [], FAMILY: ["concept_id", "concept"]}
"""Columns of the question that say nothing of a row of that kind."""
RESTRICTED = (
    "Kaplan-Meier restricted mean: from the start counts at the first step, never at the last"
)
RANKS = (
    "Ranks: one plus the number of rows of the same model that emerge separably earlier, = where several share one "
    f"(paired t test over shared prompts, or Welch's where fewer than {uncertainty.LEAST_PROMPTS} are shared; Holm)."
)
MOMENTS = ("difference", "sd", "prompts")
LEAST_UNNAMED = 19  # of publish: below it the 95th percentile lies above all values
FEW_UNNAMED = f"not enough unnamed prompts (fewer than {LEAST_UNNAMED} do not name the concept)"
NOT_ENOUGH = (
    f"Not enough unnamed prompts: whether a concept is present is judged by its contrast to at least {LEAST_UNNAMED} prompts "
    "that do not name it. Run the study with more prompts."
)


def any_named(view: StudyView) -> bool:
    """Whether any prompt names a concept, so that only such prompts count for it."""
    return view.names_concepts


def table(
    view: StudyView,
    row: str,
    *,
    named: bool,
    axis: str = "step",
    concepts: Sequence[int] | None = None,
) -> pd.DataFrame:
    """When each row emerges, per model, in the order to draw: the earliest first; none where it cannot be judged.

    Args:
        view: the study and its filters.
        row: CONCEPT or FAMILY.
        named: only prompts that name the concept.
        axis: step, progress, timestep or log_snr; noise levels are cut to those that all models shown reach.
        concepts: concept_id; None = those of the filters.

    Returns:
        model_id, model, the row's column, place (in the order); mean, sd, low, high: restricted mean on the axis over n
        prompts, t interval; start_share, emerges_share, never_share: of the outcomes, prompts the unit; median, q1, q3: over
        samples, never = the last step.
    """
    filters = _filters(row, view, concepts)
    rows = view.ask_scope("emergence", named=named, axis=axis, **filters)
    rows = rows.drop(columns=[*DROPPED[row], *OTHERS.values(), *PAIRS])
    low, high = uncertainty.t_limits(rows["mean"], rows["sd"], rows["n"])
    out = view.labelled(rows.assign(low=low, high=high))
    order = out.groupby(row)["mean"].mean().sort_values(ascending=axis != "timestep").index
    out["place"] = out[row].map({each: number for number, each in enumerate(order)})
    return out.sort_values(["place", "model_id"]).reset_index(drop=True)


def ranked(
    view: StudyView,
    row: str,
    *,
    named: bool,
    axis: str = "step",
    concepts: Sequence[int] | None = None,
) -> pd.DataFrame:
    """What `table` gives, with each row's rank within its model, by the tests of all pairs of its rows."""
    out = table(view, row, named=named, axis=axis, concepts=concepts)
    filters = _filters(row, view, concepts)
    shared = _shared(view.ask_scope("emergence", named=named, axis=axis, **filters), row)
    return out.assign(rank=_ranks(out, shared, KEYS[row], lower=axis != "timestep"))


def _shared(rows: pd.DataFrame, row: str) -> pd.DataFrame:
    """The pairs of rows that share prompts: model_id, first, second; prompts, difference, sd (second minus first)."""
    listed = rows[["model_id", KEYS[row], OTHERS[row], *PAIRS]]
    names = {KEYS[row]: "first", OTHERS[row]: "second", **PAIRS}
    pairs = listed.explode([OTHERS[row], *PAIRS]).dropna(subset=OTHERS[row]).rename(columns=names)
    return pairs.astype(dict.fromkeys(PAIRS.values(), float)).reset_index(drop=True)


def _filters(row: str, view: StudyView, concepts: Sequence[int] | None) -> dict[str, Any]:
    ids = view.scope.concepts if concepts is None else concepts
    return {"concepts": list(ids), "by_family": row == FAMILY}


def unknown_concepts(view: StudyView, rows: pd.DataFrame) -> int:
    """How many of the concepts that count have no row of `table` because too few prompts do not name them.

    Args:
        view: the study and its filters.
        rows: of `table`, a concept each.
    """
    unknown = view.ask_scope("unknown_concepts")["concept_id"]
    return int((~unknown.isin(rows["concept_id"])).sum())


def order_of(rows: pd.DataFrame, row: str) -> list[str]:
    """The rows' names as `table` orders them, the earliest first."""
    return list(dict.fromkeys(rows[row]))


def _ranks(rows: pd.DataFrame, shared: pd.DataFrame, key: str, *, lower: bool) -> pd.Series:
    """Each row's rank within its model.

    Args:
        rows: of `table`.
        shared: model_id, first, second; prompts, difference, sd: of the pairs of rows that share prompts, in either order.
        key: the column of `rows` that first and second name.
        lower: whether earlier is lower.
    """
    out = pd.Series("", index=rows.index, dtype=object)
    for model, group in rows.groupby("model_id"):
        columns = group.set_index(key)
        pairs = _every_pair(columns.index, shared[shared["model_id"] == model])
        tested = _between_groups(pairs, columns["n"], columns["mean"], columns["sd"] ** 2)
        better = better_matrix(tested, columns.index.tolist(), lower=lower)
        out[group.index] = uncertainty.tied_ranks(better)
    return out


def _every_pair(keys: pd.Index, shared: pd.DataFrame) -> pd.DataFrame:
    """The moments of every pair of keys, `first` before `second` in their order, with p; prompts 0 where none is shared.

    As squares, not by an index of pairs: 1 ms a model in place of 6.
    """
    position = {key: number for number, key in enumerate(keys)}
    rows = [[position.get(key, -1) for key in shared[side]] for side in ("first", "second")]
    first, second = np.array(rows, dtype=int).reshape(2, -1)
    known = (first >= 0) & (second >= 0)
    first, second = first[known], second[known]
    difference, sd, prompts = (shared[name].to_numpy(float)[known] for name in MOMENTS)
    square = np.full((3, len(keys), len(keys)), np.nan)
    square[:, first, second] = difference, sd, prompts
    square[:, second, first] = -difference, sd, prompts
    before, after = np.triu_indices(len(keys), 1)
    gap, spread, count = square[:, before, after]
    count = np.nan_to_num(count)
    p = uncertainty.paired_t_p(gap, spread, count)
    columns = {"difference": gap, "sd": spread, "prompts": count, "p": p}
    return pd.DataFrame({"first": keys[before], "second": keys[after], **columns})


def rank_tests(values: pd.DataFrame) -> pd.DataFrame:
    """Which columns differ: paired over shared prompts, between groups of prompts where too few are shared.

    Two objects are rarely named by the same prompts, so that most pairs of concepts have nothing to be paired by.

    Args:
        values: prompt x row emergence, NaN where a row has none.

    Returns:
        as `comparison.pair_tests`; where fewer than 6 prompts are shared, difference, p and verdict are those of Welch's
        t test, and prompts is the smaller group's number.
    """
    return _between_groups(pair_tests(values), values.count(), values.mean(), values.var(ddof=1))


def _between_groups(
    pairs: pd.DataFrame, count: pd.Series, mean: pd.Series, variance: pd.Series
) -> pd.DataFrame:
    """Paired tests, with Welch's t test in place of those of fewer than 6 shared prompts.

    Args:
        pairs: of `comparison.judged`.
        count: prompts of each row.
        mean: of each row.
        variance: of each row, over its prompts.
    """
    few = pairs["prompts"].to_numpy() < uncertainty.LEAST_PROMPTS
    sides = [count.index.get_indexer(pairs[side]) for side in ("first", "second")]
    n = [count.to_numpy(float)[side] for side in sides]
    means = [mean.to_numpy(float)[side] for side in sides]
    gap = means[1] - means[0]
    squares = [variance.to_numpy(float)[side] / size for side, size in zip(sides, n, strict=True)]
    p = np.where(few, _welch_p(gap, squares, n), pairs["p"])
    q = uncertainty.holm(p)
    prompts = np.where(few, np.minimum(*n), pairs["prompts"])
    gap = np.where(few, gap, pairs["difference"])
    verdict = uncertainty.verdicts(q, prompts)
    return pairs.assign(difference=gap, p=p, q=q, prompts=prompts, verdict=verdict)


def _welch_p(gap: np.ndarray, squares: list[np.ndarray], n: list[np.ndarray]) -> np.ndarray:
    """Two-sided p of Welch's t test from the squared standard errors of both means; NaN where one has no spread known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = squares[0] + squares[1]
        freedom = error**2 / (squares[0] ** 2 / (n[0] - 1) + squares[1] ** 2 / (n[1] - 1))
        p = 2 * special.stdtr(freedom, -np.abs(gap) / np.sqrt(error))
    return np.where((n[0] > 1) & (n[1] > 1), p, np.nan)


def emerged(view: StudyView, *, named: bool) -> pd.DataFrame:
    """Share of each family's concepts that are present for good by each step, with its t interval within 0 and 1."""
    rows = view.ask_scope("emerged_share", named=named)
    low, high = uncertainty.t_limits(rows["mean"], rows["sd"], rows["prompts"])
    return view.labelled(rows.assign(low=low.clip(0, 1), high=high.clip(0, 1)))
