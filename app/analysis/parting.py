"""From which step on an entry's predicted clean images differ from those of a reference entry. No Streamlit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from app.analysis import comparison, uncertainty
from app.analysis.measures import Measure, every_score, scores_by_metric
from app.analysis.reading import StudyView, shared_range

THRESHOLDS = {"ssim": 0.95, "psnr": 30.0, "lpips": 0.1, "dino": 0.1}
"""Where two images begin to count as different, by kind of distance, unless the reader says: in the distance's unit."""
SAMPLE = ["model_id", "prompt_id", "seed"]
START, LATER, NEVER = "from the start", "parts", "never"
SHARES = {"start_share": START, "later_share": LATER, "never_share": NEVER}
COLUMNS = [
    "model_id", "model", "mean", "low", "high", "rank", *SHARES, "said", "prompts",
]  # fmt: skip


@dataclass(frozen=True)
class Distance:
    """A distance of the study to a reference entry.

    Attributes:
        measure: its score: title, direction, source, name in commands.
        kind: a key of THRESHOLDS.
        reference: model_id of the entry that the others are compared with, which has no value.
    """

    measure: Measure
    kind: str
    reference: int

    @property
    def of_steps(self) -> bool:
        """Whether it has a value at every step, so that entries can be seen to part."""
        return self.measure.level == "step"

    @property
    def threshold(self) -> float:
        """Beyond which images count as different, unless the reader says."""
        return THRESHOLDS[self.kind]

    @property
    def beyond(self) -> str:
        """The side of the threshold on which images differ, in a word."""
        return "above" if self.measure.lower_is_better else "below"


def distances(view: StudyView) -> list[Distance]:
    """The distances of the study file that have values, those of every step first."""
    known = scores_by_metric(every_score(view))
    ids = dict(zip(view.every_model["name"], view.every_model["model_id"], strict=True))
    listed = [
        Distance(known[name], kind, int(ids[reference]))
        for name, kind, reference in _listed(str(view.study["spec"]))
        if name in known and kind in THRESHOLDS and reference in ids
    ]
    return sorted(listed, key=lambda each: not each.of_steps)


def _listed(spec: str) -> Iterator[tuple[str, str, str]]:
    """Name, kind and reference of each distance that a study file's values name; a stranger's may be anything."""
    try:
        values = json.loads(spec)
    except (ValueError, RecursionError):
        return
    tables = values.get("distance") if isinstance(values, Mapping) else None
    for table in tables if isinstance(tables, list) else ():
        if isinstance(table, Mapping):
            kind = str(table.get("kind"))
            yield str(table.get("name", kind)), kind, str(table.get("reference"))


def by_name(view: StudyView, metric: str) -> Distance | None:
    """The distance of that name in commands; the first where there is none of that name, None where the study has none."""
    known = distances(view)
    return next((each for each in known if each.measure.metric == metric), next(iter(known), None))


def parting(
    view: StudyView, distance: str, threshold: float = 0.0, axis: str = "log_snr"
) -> pd.DataFrame:
    """From where on each entry's images stay beyond a threshold of their distance to the reference entry's.

    Args:
        view: the study and its filters.
        distance: its name in commands.
        threshold: in the distance's unit; 0 = that of its kind.
        axis: step, progress or log_snr; noise levels are cut to those that all entries compared reach.

    Returns:
        model_id, model; mean, low, high: Kaplan-Meier restricted mean on the axis over prompts, seeds averaged, and its 95 % t
        interval; rank: 1 = parts last, by paired tests over all pairs (Holm), '' below 6 prompts; start_share, later_share,
        never_share: of the outcomes, prompts the unit; said: START, LATER or NEVER where all samples agree on START or NEVER, or
        too few prompts; prompts.
    """
    chosen = by_name(view, distance)
    if chosen is None or not chosen.of_steps or chosen.measure.metric != distance:
        return pd.DataFrame(columns=COLUMNS)
    points = _points(view.ask_scope("distance_steps", distance=distance))
    steps = view.ask("steps", models=sorted({int(i) for i in points["model_id"]}))
    placed = points.merge(steps.assign(x=steps[axis])[["model_id", "step", "x"]], on=["model_id", "step"])  # fmt: skip
    if placed.empty:
        return pd.DataFrame(columns=COLUMNS)
    lower = chosen.measure.lower_is_better
    parted = parted_at(placed, threshold or chosen.threshold, lower=lower, between=axis == "log_snr")  # fmt: skip
    if axis == "log_snr":
        parted["x"] = parted["x"].clip(*shared_range(steps, axis))
    return view.labelled(_summed(parted))[COLUMNS]


def _points(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per (sample, step) of rows with a list of steps and one of values; a sample whose lists differ in length is left out."""
    sizes = rows["steps"].map(len)
    fit = (sizes == rows["value_list"].map(len)) & (sizes > 0)
    rows, sizes = rows[fit], sizes[fit]
    if rows.empty:
        return pd.DataFrame(columns=[*SAMPLE, "step", "value"], dtype=float)
    points = rows[SAMPLE].loc[rows.index.repeat(sizes)].reset_index(drop=True)
    steps, values = (np.concatenate(rows[name].tolist()) for name in ("steps", "value_list"))
    return points.assign(step=steps.astype(int), value=values.astype(float))


def parted_at(
    points: pd.DataFrame, threshold: float, *, lower: bool, between: bool = False
) -> pd.DataFrame:
    """Where each sample parts from the reference: the first step from which its distance stays beyond the threshold to the end.

    Args:
        points: model_id, prompt_id, seed, step, value, x: the step's position on the axis.
        threshold: a value that equals it is not beyond it.
        lower: whether lower values are closer to the reference.
        between: whether the threshold's crossing is interpolated between two steps, as on a noise axis.

    Returns:
        model_id, prompt_id, seed; outcome: START (beyond it at the first step), LATER or NEVER (within it at the last step);
        x: the first step for START, the last for NEVER: censored there.
    """
    rows = points.sort_values([*SAMPLE, "step"], kind="stable").reset_index(drop=True)
    groups = rows.groupby(SAMPLE, sort=False)
    number, sample = groups.cumcount().to_numpy(), groups.ngroup().to_numpy()
    value, x = rows["value"].to_numpy(float), rows["x"].to_numpy(float)
    beyond = value > threshold if lower else value < threshold
    size = np.bincount(sample)
    first = np.zeros_like(size)  # of the steps that are all beyond it, up to the end
    np.maximum.at(first, sample, np.where(beyond, 0, number + 1))
    begin = np.cumsum(size) - size
    at = begin + np.minimum(first, size - 1)
    position, later = x[at], (first > 0) & (first < size)
    if between:
        before = np.maximum(at - 1, begin)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (threshold - value[before]) / (value[at] - value[before])
        share = np.where(later & np.isfinite(share), share, 1.0)
        position = x[before] + share * (x[at] - x[before])
        position = np.where(later, position, x[at])
    outcome = np.select([first == 0, later], [START, LATER], NEVER)
    return rows.loc[begin, SAMPLE].reset_index(drop=True).assign(outcome=outcome, x=position)


def _summed(parted: pd.DataFrame) -> pd.DataFrame:
    """One row per model of the samples that `parted_at` gives."""
    marks = {share: (parted["outcome"] == word).astype(float) for share, word in SHARES.items()}
    by_prompt = parted.assign(**marks).groupby(["model_id", "prompt_id"])[["x", *SHARES]].mean()
    models = by_prompt.groupby("model_id")
    table = (
        models["x"].agg(mean="mean", sd="std", prompts="count").join(models[list(SHARES)].mean())
    )
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    ids = table.index.tolist()
    tests = comparison.pair_tests(comparison.by_prompt(by_prompt.reset_index(), "x"))
    ranks = uncertainty.tied_ranks(comparison.better_matrix(tests, ids))
    enough = table["prompts"] >= uncertainty.LEAST_PROMPTS
    said = [_said(row) for row in table.to_dict("records")]
    ranks = [rank if each else "" for rank, each in zip(ranks, enough, strict=True)]
    return table.assign(low=low, high=high, rank=ranks, said=said).reset_index()


def _said(row: Mapping[Any, Any]) -> str:
    """The outcome of an entry in a word."""
    if row["prompts"] < uncertainty.LEAST_PROMPTS:
        return uncertainty.TOO_FEW
    return next((SHARES[each] for each in ("start_share", "never_share") if row[each] == 1), LATER)
