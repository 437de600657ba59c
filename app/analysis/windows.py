"""When an attribute can no longer change: shares of redraws that keep it per noise level, and critical windows. No Streamlit, no chart.

An intervention on finished images. The unit is the prompt: seeds are averaged within it first. Definitions: docs/methods.md,
"Critical windows".
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from app.analysis import switching, uncertainty
from app.analysis.reading import StudyView

JUDGE, SCORER = "judge", "scorer"
READERS = (JUDGE, SCORER)  # the first that a study has is the default
IRREVERSIBLE = "irreversible"
EDGES = (0.05, 0.95)  # of the rise from the noisiest step to the end, between which the window lies
LEAST_RISE = 0.2
RESAMPLES = 500


def rows_of(view: StudyView) -> pd.DataFrame:
    """The redraws, each with its place `log_snr`."""
    rows = switching.of_families(view, view.ask_scope("redraws"))
    return rows.merge(switching.positions(view), on=["model_id", "step"])


def measured(rows: pd.DataFrame) -> list[str]:
    """Who reads the images in a study, the default first."""
    return [name for name in READERS if len(rows) and rows[name].notna().any()]


def _prompts(rows: pd.DataFrame, reader: str) -> pd.DataFrame:
    known = rows.dropna(subset=[reader])
    keys = ["model_id", "family", "step", "log_snr", "prompt_id"]
    return known.groupby(keys, as_index=False)[reader].mean()


def shares(view: StudyView, reader: str) -> pd.DataFrame:
    """The share of redraws that keep the finished image's attribute, per (model, family, step).

    Returns:
        model_id, model, family, step, log_snr; mean, low, high: share over prompts with its 95 % t interval, within 0 and 1; sd, prompts.
    """
    table = _prompts(rows_of(view), reader).groupby(
        ["model_id", "family", "step", "log_snr"], as_index=False
    ).agg(mean=(reader, "mean"), sd=(reader, "std"), prompts=(reader, "count"))  # fmt: skip
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    return view.labelled(table.assign(low=low.clip(0, 1), high=high.clip(0, 1)))


def windows(view: StudyView, reader: str, axis: str) -> pd.DataFrame:
    """The critical window of each family, per model: where the share of kept attributes rises from 5 % to 95 % of its rise.

    Returns:
        model_id, model, family, prompts; opens, mean: the two edges on the axis (step or log_snr), mean being the later one, from
        which on the attribute no longer changes; opens_low, opens_high, low, high: their 95 % bootstrap intervals over prompts;
        floor: the share at the noisiest step. Edges are NaN where the share rises by less than LEAST_RISE.
    """
    rows = _prompts(rows_of(view), reader)
    ends = switching.positions(view).groupby("model_id")[axis].max()
    out = [
        {"model_id": model, "family": family, **_window(part, reader, axis, float(ends[model]))}
        for (model, family), part in rows.groupby(["model_id", "family"])
    ]
    return view.labelled(pd.DataFrame(out, columns=["model_id", "family", *COLUMNS]))


COLUMNS = ["prompts", "floor", "opens", "opens_low", "opens_high", "mean", "low", "high"]


def _window(part: pd.DataFrame, reader: str, axis: str, end: float) -> dict[str, float]:
    wide = part.pivot(index="prompt_id", columns="step", values=reader).dropna()
    values = wide.to_numpy(float)
    x = np.append(part.groupby("step")[axis].first().to_numpy(float), end)
    summary = dict.fromkeys(COLUMNS, np.nan) | {"prompts": len(values)}
    if len(values) < 2:
        return summary
    mean = values.mean(0)
    summary["floor"] = float(mean[0])
    if 1 - mean[0] < LEAST_RISE:
        return summary
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    means = np.vstack([mean, values[draws].mean(1)])
    edges = np.array([_edges(x, row) for row in means])
    low, high = np.quantile(edges[1:], (0.025, 0.975), axis=0)
    names = (("opens", "opens_low", "opens_high"), ("mean", "low", "high"))
    for number, (edge, least, most) in enumerate(names):
        summary |= {edge: edges[0, number], least: low[number], most: high[number]}
    return summary


def _edges(x: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Where a share, made monotone by isotonic regression, passes each of EDGES between its first value and 1, by interpolation."""
    from scipy.optimize import isotonic_regression

    rising = isotonic_regression(np.append(share, 1.0)).x
    if rising[-1] <= rising[0]:
        return np.full(len(EDGES), x[0])
    levels = rising[0] + np.array(EDGES) * (rising[-1] - rising[0])
    return np.interp(levels, rising, x)


def causes(view: StudyView, outcome: str, axis: str) -> pd.DataFrame:
    """When each family is visible, decided and irreversible: `switching.timeline` with the ends of the critical windows.

    Returns: model_id, model, family, kind (visible, decided, irreversible), mean, low, high, prompts; families in the order of deciding.
    """
    table = switching.timeline(view, outcome, axis)
    readers = measured(rows_of(view))
    if not readers or table.empty:
        return table
    ends = windows(view, readers[0], axis).dropna(subset=["mean"]).assign(kind=IRREVERSIBLE)
    ends = ends[ends["family"].isin(table["family"])][list(table)]
    families = list(dict.fromkeys(table["family"]))
    both = pd.concat([table, ends], ignore_index=True)
    return both.sort_values(
        "family", key=lambda names: names.map(families.index), kind="stable", ignore_index=True
    )
