"""When a concept is decided: success of prompt switches per step, half points, decided positions, differences. No Streamlit, no chart.

An intervention, beside the correlations of `emergence`. The unit is the prompt: seeds, pairs and concepts of a family are
averaged within it first. Definitions: docs/methods.md, "Prompt switching".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from app.analysis import comparison, emergence, uncertainty
from app.analysis.reading import StudyView, View

JUDGE, CONTRAST, PREFERENCE = "judge", "contrast", "preference"
OUTCOMES = (JUDGE, CONTRAST, PREFERENCE)  # the first that a study has is the default
INSERT, REMOVE = "insert", "remove"
LEAST_FALL = 0.2  # of a success curve between its ends, for a half point
VISIBLE, DECIDED = "visible", "decided"
PAIR = ["model_id", "family", "prompt_id", "seed", "base", "concept"]


def rows_of(view: StudyView, direction: str = INSERT) -> pd.DataFrame:
    """The switches in one direction, each with its place `log_snr`: that of the first step with the second prompt."""
    rows = of_families(view, view.ask_scope("switches"))
    rows = rows[rows["direction"] == direction]
    return rows.merge(positions(view), on=["model_id", "step"])


def of_families(view: StudyView, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the families that the filters leave; relations, which are no concept, where the filters leave all concepts."""
    if len(view.scope.concepts) == len(view.every_concept):
        return rows
    return rows[rows["family"].isin(view.families)]


def concepts_of(view: StudyView) -> list[str]:
    """The concepts that were switched, as family/name."""
    rows = view.ask_scope("switches")
    rows = rows[rows["concept"] != ""].drop_duplicates(["family", "concept"])
    return sorted(rows["family"] + "/" + rows["concept"])


def of_concept(view: View, name: str) -> View:
    """The view narrowed to a concept that was switched, as `concepts_of` names it, and to the prompts it was switched in."""
    rows, concepts = view.ask_scope("switches"), view.every_concept
    prompts = rows.loc[rows["family"] + "/" + rows["concept"] == name, "prompt_id"]
    ids = concepts.loc[concepts["family"] + "/" + concepts["name"] == name, "concept_id"]
    scope = replace(
        view.scope,
        concepts=tuple(map(int, ids)),
        prompts=tuple(sorted({int(i) for i in prompts})),
    )
    return replace(view, scope=scope)


def positions(view: StudyView) -> pd.DataFrame:
    """model_id, step, log_snr of every step, and of the end one step's distance beyond the last."""
    steps = view.ask("steps", models=list(view.scope.models))[["model_id", "step", "log_snr"]]
    ends = []
    for model, rows in steps.groupby("model_id"):
        last = rows.sort_values("step")["log_snr"].to_numpy()
        gap = last[-1] - last[-2] if len(last) > 1 else 1.0
        ends.append({"model_id": model, "step": len(last), "log_snr": last[-1] + gap})
    return pd.concat([steps, pd.DataFrame(ends)], ignore_index=True) if ends else steps


def measured(rows: pd.DataFrame) -> list[str]:
    """The views of the outcome that a study has, the default first."""
    return [name for name in OUTCOMES if len(rows) and rows[name].notna().any()]


def curves(view: StudyView, outcome: str, direction: str = INSERT) -> pd.DataFrame:
    """Success curves per (model, family): the share of images that have the concept, per step of the switch.

    Returns:
        model_id, model, family, step, log_snr; mean, low, high: share over prompts with its 95 % t interval, within 0 and 1; sd, prompts.
    """
    rows = rows_of(view, direction).dropna(subset=[outcome])
    prompts = rows.groupby(["model_id", "family", "step", "log_snr", "prompt_id"], as_index=False)[
        outcome
    ].mean()
    table = prompts.groupby(["model_id", "family", "step", "log_snr"], as_index=False).agg(
        mean=(outcome, "mean"), sd=(outcome, "std"), prompts=(outcome, "count")
    )
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    return view.labelled(table.assign(low=low.clip(0, 1), high=high.clip(0, 1)))


def half_points(view: StudyView, outcome: str, direction: str = INSERT) -> pd.DataFrame:
    """Where each success curve crosses the middle between its ends.

    Returns:
        model_id, model, family, prompts; for step and log_snr: half_*, its limits low_* and high_*; NaN where the ends differ by less
        than LEAST_FALL, or not for sure. The interval holds all points at which a t test does not tell the curve from the middle, and
        at least the two switches around the crossing.
    """
    rows = rows_of(view, direction).dropna(subset=[outcome])
    prompts = rows.groupby(["model_id", "family", "prompt_id", "step", "log_snr"], as_index=False)[
        outcome
    ].mean()
    out = [
        {"model_id": model, "family": family, **_half(part, outcome, direction)}
        for (model, family), part in prompts.groupby(["model_id", "family"])
    ]
    return view.labelled(pd.DataFrame(out, columns=["model_id", "family", *HALF]))


HALF = [
    "prompts",
    "half_step",
    "low_step",
    "high_step",
    "half_log_snr",
    "low_log_snr",
    "high_log_snr",
]


def _half(part: pd.DataFrame, outcome: str, direction: str) -> dict[str, Any]:
    wide = part.pivot(index="prompt_id", columns="step", values=outcome).dropna()
    values = wide.to_numpy(float) * (1 if direction == INSERT else -1)
    log_snr = part.groupby("step")["log_snr"].first().to_numpy(float)
    axes = {"step": wide.columns.to_numpy(float), "log_snr": log_snr}
    empty = dict.fromkeys(HALF, np.nan) | {"prompts": len(wide)}
    if len(wide) < 2:
        return empty
    fall = uncertainty.t_interval(values[:, 0] - values[:, -1])
    if fall.estimate < LEAST_FALL or fall.low <= 0:
        return empty
    excess = values - (values[:, :1] + values[:, -1:]) / 2
    mean = excess.mean(0)
    low, high = uncertainty.t_limits(mean, excess.std(0, ddof=1), len(wide))
    after = int(np.argmax(mean <= 0))
    summary: dict[str, Any] = {"prompts": len(wide)}
    for name, x in axes.items():
        summary |= {
            f"half_{name}": _crossing(x, mean, after),
            f"low_{name}": min(x[after - 1], _crossing(x, low, int(np.argmax(low <= 0)))),
            f"high_{name}": max(x[after], _last_crossing(x, high)),
        }
    return summary


def _crossing(x: np.ndarray, y: np.ndarray, after: int) -> float:
    """Where y, positive before the index and not at it, is 0, by linear interpolation."""
    if after == 0:
        return float(x[0])
    share = y[after - 1] / (y[after - 1] - y[after])
    return float(x[after - 1] + share * (x[after] - x[after - 1]))


def _last_crossing(x: np.ndarray, y: np.ndarray) -> float:
    """Where y stays at 0 or below from there on; the end where it does not."""
    above = np.flatnonzero(y > 0)
    if not len(above):
        return float(x[0])
    return float(x[-1]) if above[-1] == len(x) - 1 else _crossing(x, y, int(above[-1]) + 1)


def decided_prompts(
    view: StudyView, outcome: str, axis: str, direction: str = INSERT
) -> pd.DataFrame:
    """Up to where a switch still succeeds, per (model, family, prompt), over pairs whose two ends differ as they should.

    Returns: model_id, family, prompt_id; x: on the axis (step or log_snr), halfway between the last success and the first failure;
        least and most: at these.
    """
    rows = rows_of(view, direction).dropna(subset=[outcome]).sort_values([*PAIR, "step"])
    areas = []
    for key, pair in rows.groupby(PAIR, sort=False):
        x, y = pair[axis].to_numpy(float), pair[outcome].to_numpy(float)
        y = y if direction == INSERT else 1 - y
        if y[0] == 1 and y[-1] == 0:
            gaps = np.diff(
                x
            )  # the last success, and the first failure after it, bound where it is decided
            sums = (y[1:] @ gaps, np.trapezoid(y, x), y[:-1] @ gaps)
            areas.append((*key[:3], *(x[0] + float(area) for area in sums)))
    table = pd.DataFrame(areas, columns=["model_id", "family", "prompt_id", "least", "x", "most"])
    return table.groupby(["model_id", "family", "prompt_id"], as_index=False).mean()


def decided(view: StudyView, outcome: str, axis: str, direction: str = INSERT) -> pd.DataFrame:
    """When each family is decided, per model, the earliest first.

    Returns:
        model_id, model, family, prompts; mean, sd: position on the axis over prompts; low, high: t limits of the last
        successes and of the first failures, so that they also cover the distance between two measured switches; share: of all (prompt,
        seed, base) whose two ends differ as they should; rank: one plus the families of the model that are decided separably earlier.
    """
    prompts = decided_prompts(view, outcome, axis, direction)
    table = prompts.groupby(["model_id", "family"], as_index=False).agg(
        mean=("x", "mean"), sd=("x", "std"), prompts=("x", "count"), least=("least", "mean"),
        least_sd=("least", "std"), most=("most", "mean"), most_sd=("most", "std"),
    )  # fmt: skip
    low, _ = uncertainty.t_limits(table["least"], table["least_sd"], table["prompts"])
    _, high = uncertainty.t_limits(table["most"], table["most_sd"], table["prompts"])
    table = table.drop(columns=["least", "least_sd", "most", "most_sd"]).assign(low=low, high=high)
    table = table.merge(_shares(view, outcome, direction), on=["model_id", "family"])
    table = table.assign(rank=_ranks(table, prompts))
    return view.labelled(table.sort_values(["model_id", "mean"])).reset_index(drop=True)


def _shares(view: StudyView, outcome: str, direction: str) -> pd.DataFrame:
    rows = rows_of(view, direction).dropna(subset=[outcome]).sort_values([*PAIR, "step"])
    ends = rows.groupby(PAIR, as_index=False)[outcome].agg(["first", "last"])
    wanted = (1, 0) if direction == INSERT else (0, 1)
    ends["share"] = ((ends["first"] == wanted[0]) & (ends["last"] == wanted[1])).astype(float)
    prompts = ends.groupby(["model_id", "family", "prompt_id"], as_index=False)["share"].mean()
    return prompts.groupby(["model_id", "family"], as_index=False)["share"].mean()


def _ranks(table: pd.DataFrame, prompts: pd.DataFrame) -> pd.Series:
    out = pd.Series("", index=table.index, dtype=object)
    for model, group in table.groupby("model_id"):
        names = group["family"].tolist()
        values = prompts[prompts["model_id"] == model].pivot(
            index="prompt_id", columns="family", values="x"
        )
        pairs = emergence.rank_tests(values[names])
        out[group.index] = uncertainty.tied_ranks(
            comparison.better_matrix(pairs, names, lower=True)
        )
    return out


def differences(
    view: StudyView, outcome: str, axis: str, baseline: int, direction: str = INSERT
) -> pd.DataFrame:
    """Whether models decide a family at another place: candidate minus baseline over shared prompts, one family of tests (Holm).

    Returns: model_id, model, family, prompts, difference, low, high, p, q, verdict; a positive difference is later.
    """
    prompts = decided_prompts(view, outcome, axis, direction)
    rows = []
    for family, part in prompts.groupby("family"):
        wide = part.pivot(index="prompt_id", columns="model_id", values="x")
        for model in wide.columns.drop(baseline, errors="ignore") if baseline in wide else ():
            paired = uncertainty.compare(wide[baseline], wide[model], lower_is_better=True)
            gap = paired.difference
            rows.append({"model_id": int(model), "family": family, "prompts": gap.n, "difference": gap.estimate,
                         "low": gap.low, "high": gap.high, "p": paired.p})  # fmt: skip
    table = pd.DataFrame(
        rows, columns=["model_id", "family", "prompts", "difference", "low", "high", "p"]
    )
    q = uncertainty.holm(table["p"])
    return view.labelled(table.assign(q=q, verdict=uncertainty.verdicts(q, table["prompts"])))


def timeline(view: StudyView, outcome: str, axis: str) -> pd.DataFrame:
    """When each family is visible (emergence, over prompts that name a concept) and decided (switches that insert it).

    Returns: model_id, model, family, kind (visible, decided), mean, low, high, prompts; on the axis, families in the order of deciding.
    """
    later = decided(view, outcome, axis).assign(kind=DECIDED)
    seen = emergence.table(view, emergence.FAMILY, named=True, axis=axis).assign(kind=VISIBLE)
    seen = seen.rename(columns={"n": "prompts"})
    columns = ["model_id", "model", "family", "kind", "mean", "low", "high", "prompts"]
    both = pd.concat([later[columns], seen[seen["family"].isin(later["family"])][columns]])
    rank = later.groupby("family")["mean"].mean().rank()
    order = both["family"].map(rank)
    return both.assign(place=order).sort_values(
        ["place", "kind", "model_id"], ascending=[True, False, True]
    )[columns]


def agreement(view: StudyView) -> pd.DataFrame:
    """How often the scorer's views of the outcome agree with the judge: share of images, prompts the unit, 95 % t interval.

    Returns: model_id, model, outcome, mean, low, high, prompts; nothing without a judge.
    """
    rows = view.ask_scope("switches").dropna(subset=[JUDGE])
    parts = []
    for outcome in (CONTRAST, PREFERENCE):
        known = rows.dropna(subset=[outcome])
        same = known.assign(same=(known[outcome] == known[JUDGE]).astype(float), outcome=outcome)
        parts.append(
            same.groupby(["model_id", "outcome", "prompt_id"], as_index=False)["same"].mean()
        )
    prompts = pd.concat(parts)
    table = prompts.groupby(["model_id", "outcome"], as_index=False).agg(
        mean=("same", "mean"), sd=("same", "std"), prompts=("same", "count")
    )
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    return view.labelled(table.assign(low=low.clip(0, 1), high=high.clip(0, 1)).drop(columns="sd"))


def first_decided(table: pd.DataFrame) -> str:
    """One sentence per model: the order in which families are decided, = where no test tells two apart.

    Args:
        table: of `decided`.
    """
    said = []
    for model, rows in table.groupby("model", sort=False):
        order = ", ".join(f"{row['family']} ({row['rank']})" for _, row in rows.iterrows())
        said.append(f"{model}: {order}")
    return "; ".join(said)
