"""Concept curves with intervals, and paired differences per step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from app.analysis import uncertainty
from app.analysis.reading import WHOLE, StudyView
from app.database.snapshots import Ask, Scope


def curves(
    ask_scope: Ask, scope: Scope, concepts: Iterable[int], *, named: bool = False
) -> pd.DataFrame:
    """What `queries.curves` gives, through any way to ask.

    Args:
        ask_scope: answers (name, scope, **parameters).
        scope: the filters.
        concepts: concept_id; 0 is the whole prompt.
        named: only prompts whose text names the concept.
    """
    by_prompt = scope.one_curve and not scope.whole_categories
    name = "curves_prompts" if by_prompt else "curves"
    table = ask_scope(name, scope, concepts=list(concepts), named=named, whole=scope.every_seed)
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    return table.assign(low=low, high=high)


def score_steps(view: StudyView) -> pd.DataFrame:
    """The curves of the scores per step that other programs computed.

    Returns: metric (its name), model_id, model, step, prompts, mean, sd, low, high: t interval over prompts, seeds averaged.
    """
    table = view.ask_scope("score_steps")
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    return view.labelled(table.assign(low=low, high=high))


def paired_grid(
    ask_scope: Ask,
    scope: Scope,
    baseline: int,
    candidates: Sequence[int],
    *,
    complete: bool,
    named: bool,
    axis: str,
) -> pd.DataFrame:
    """Moments of the paired differences per (candidate, concept, step), over shared prompts and seeds.

    Args:
        ask_scope: answers (name, scope, **parameters).
        scope: the filters.
        baseline: model_id.
        candidates: model_id.
        complete: whether no sample of the study is missing; else two models may have other seeds of a prompt.
        named: concepts only in prompts that name them.
        axis: at what two models' steps are matched: log_snr, step or progress.
    """
    averaged = scope.one_curve and (complete or len(scope.seeds) == 1)
    if scope.whole_categories and axis == "log_snr":
        name = "paired_grid"  # which publish has summed up
    else:
        name = "paired_grid_prompts" if averaged else "paired_grid_seeds"
    return ask_scope(
        name,
        scope,
        baseline=baseline,
        candidates=list(candidates),
        whole=scope.every_seed,
        named=named,
        axis=axis,
    )


SETTLED = 0.9  # the correlation from which on the outcome counts as settled


def with_rise(curves_: pd.DataFrame) -> pd.DataFrame:
    """The rows of `curves` with `rise`: the mean similarity above the curve's lowest."""
    lowest = curves_.groupby(["model_id", "concept_id"])["mean"].transform("min")
    return curves_.assign(rise=curves_["mean"] - lowest)


def risers(curves_: pd.DataFrame, concepts: pd.DataFrame) -> list[int]:
    """The concepts in the order in which pages and figures show them by default: each family's first riser, then the others.

    A concept's weight is its rise from the first step to the last times the square root of its prompts, in the mean over
    the models: a rise over one prompt has no interval.

    Args:
        curves_: rows of `curves`.
        concepts: concept_id and family; concepts that are not in it, such as the whole prompt, are left out.

    Returns:
        concept_id.
    """
    model, concept, step, mean, prompts = (
        curves_[name].to_numpy() for name in ("model_id", "concept_id", "step", "mean", "prompts")
    )
    # By numpy: pandas' groups took 6 ms, of every rerun.
    order = np.lexsort((step, model, concept))
    first = np.flatnonzero(
        (np.diff(concept[order], prepend=-1) != 0) | (np.diff(model[order], prepend=-1) != 0)
    )
    ends = mean[order]
    rise = ends[[*first[1:] - 1, -1]] - ends[first] if len(first) else ends
    fewest = np.minimum.reduceat(prompts[order], first) if len(first) else prompts
    weights = pd.Series(rise * fewest**0.5, concept[order][first])
    weight = weights.groupby(level=0).mean().rename_axis("concept_id").reset_index(name="weight")
    ranked = weight.merge(concepts[["concept_id", "family"]], on="concept_id")
    ranked = ranked.sort_values(["weight", "concept_id"], ascending=[False, True])
    later = ranked["family"].duplicated().sort_values(kind="stable").index
    return [int(i) for i in ranked.loc[later, "concept_id"]]


def heat_order(cells: pd.DataFrame) -> list[str]:
    """The concepts of one model from top to bottom: families and their concepts by the step at which half of the rise is reached.

    Args:
        cells: concept, family, step and rise of one model; the whole prompt, where it is among them, comes first.
    """
    whole = [WHOLE] if (cells["concept"] == WHOLE).any() else []
    cells = cells[cells["concept"] != WHOLE]
    most = cells.groupby("concept")["rise"].transform("max")
    half = cells[cells["rise"] >= most / 2].groupby("concept")["step"].min().rename("half")
    order = cells.drop_duplicates("concept")[["concept", "family"]].merge(half, on="concept")
    order["family_half"] = order.groupby("family")["half"].transform("mean")
    ordered = order.sort_values(["family_half", "family", "half", "concept"])
    return [*whole, *ordered["concept"]]


def predictability(view: StudyView, curves_: pd.DataFrame) -> pd.DataFrame:
    """Correlation over prompts of the whole prompt's similarity at a step with the final one, with Fisher's z interval.

    Args:
        view: the study and its filters.
        curves_: rows of `curves`, of concept 0 among others.

    Returns:
        model_id, model, step, mean (the correlation), low, high, prompts; no row where no interval is known: over two or
        three prompts a correlation has none, and one of two prompts is 1 or -1 whatever they are.
    """
    whole = curves_[curves_["concept_id"] == 0].dropna(subset=["r_final"])
    table = view.labelled(whole).assign(mean=lambda rows: rows["r_final"])
    return uncertainty.correlation_limits(table, "mean", "prompts").dropna(subset=["low"])


NEEDS = {
    "Over prompts": "A correlation with an interval needs at least four prompts whose similarities differ.",
    "Over seeds": "A correlation over seeds within a prompt needs 2 seeds or more, and an interval 4 samples more than prompts.",
}


def seed_predictability(view: StudyView) -> pd.DataFrame:
    """Correlation over the seeds within a prompt (prompt means removed) of the whole prompt's similarity with the final one.

    Args:
        view: the study and its filters.

    Returns:
        as `predictability`; prompts is the number of degrees of freedom, samples less prompts, plus one.
    """
    rows = view.ask_scope("seed_correlation", concepts=[0], named=False).dropna(subset=["r"])
    table = view.labelled(rows).assign(mean=lambda known: known["r"], prompts=rows["freedom"] + 1)
    return uncertainty.correlation_limits(table, "mean", "prompts").dropna(subset=["low"])


def settled_from(rows: pd.DataFrame) -> int | None:
    """The first step from which on one model's correlation stays at 0.9 or more; None where it never does."""
    below = rows.loc[rows["mean"] < SETTLED, "step"]
    first = int(below.max()) + 1 if len(below) else int(rows["step"].min())
    return first if first <= int(rows["step"].max()) else None
