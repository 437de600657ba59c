"""Models that differ in their timestep schedule only, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from app.analysis import chance

Ask = Callable[..., pd.DataFrame]

KINDS = ("uniform", "early", "late")


def comparable(models: pd.DataFrame) -> dict[str, list[int]]:
    """Models (by their first entry's label) that stand in the study with two schedules or more.

    Args:
        models: model_id, label, source, revision, schedule, scheduler, gamma, steps.
    """
    groups = {}
    for _, group in models.groupby(["source", "revision"], sort=False):
        ways = group[["schedule", "scheduler", "gamma", "steps"]].astype(str).drop_duplicates()
        if len(ways) > 1:
            groups[str(group["label"].iloc[0])] = [int(i) for i in group["model_id"]]
    return groups


def entries(models: pd.DataFrame) -> pd.DataFrame:
    """The largest group of entries with the same weights and number of steps, by kind of schedule and gamma.

    Returns:
        the models' rows with `kind` (uniform, early, late) in that order.
    """
    known = models.assign(kind=models["schedule"].where(models["schedule"] != "default", "uniform"))
    best = known.iloc[:0]
    for _, group in known.groupby(["source", "revision", "steps"], sort=False):
        if group["kind"].nunique() > best["kind"].nunique():
            best = group
    order = best.assign(order=best["kind"].map({kind: i for i, kind in enumerate(KINDS)}))
    order = order.sort_values(["order", "gamma", "model_id"], na_position="last")
    return order.drop(columns="order")


def one_per_kind(models: pd.DataFrame) -> pd.DataFrame:
    """One entry per kind of schedule, the one with the largest gamma; in the order uniform, early, late."""
    known = entries(models)
    order = known["kind"].map({kind: i for i, kind in enumerate(KINDS)})
    three = known[known["kind"].isin(KINDS)].assign(order=order)
    three = three.sort_values(["order", "gamma"], ascending=[True, False], na_position="first")
    return three.drop_duplicates("kind").drop(columns="order")


def family_curves(ask: Ask, concepts: Sequence[int], *, every_seed: bool) -> pd.DataFrame:
    """Mean similarity to the concepts of a family that prompts name, per (model, family, step).

    The named concepts of a family, and the seeds, are averaged within a prompt first, so that the prompt is the
    unit of the 95 % t limits although concepts share prompts.

    Args:
        ask: answers questions to the snapshot.
        concepts: concept_id of those that count.
        every_seed: whether the filters leave all seeds, which publish has averaged.

    Returns:
        model_id, family, step, prompts, mean, sd, low, high.
    """
    rows = ask("family_curves", concepts=list(concepts), whole=every_seed)
    return chance.intervals(rows, "mean", "sd", "prompts")
