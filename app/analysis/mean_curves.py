"""Areas under insertion and deletion curves as the paper has them: of the mean curve, scaled."""

from __future__ import annotations

import numpy as np
import pandas as pd

from app.analysis import faithfulness

SAME = ["model_id", "method", "game"]


def scaled_curves(ask: faithfulness.Ask, score: str) -> pd.DataFrame:
    """Mean curves over prompts, then min-max scaled: 0 at a curve's lowest point, 1 at its highest.

    Source: Park et al. 2024 (arXiv 2402.10404), insertion and deletion.

    Args:
        ask: answers questions to the snapshot.
        score: one of `faithfulness.scores`.

    Returns:
        model_id, method, game, score, fraction (0..1), prompts, mean, scaled; a constant curve has no `scaled`.
    """
    rows = faithfulness.curves(ask, score).drop(columns=["sd", "low", "high"])
    means = rows.groupby(SAME)["mean"]
    low, span = means.transform("min"), means.transform("max") - means.transform("min")
    return rows.assign(scaled=(rows["mean"] - low) / span.where(span > 1e-9))


def mean_curve_areas(ask: faithfulness.Ask, score: str) -> pd.DataFrame:
    """The area under each mean curve by the trapezoid rule, scaled and raw.

    A scaled area depends on the curve's lowest and highest point alone for its scale, so it is not the mean of the areas of
    single prompts' curves. The raw area is that mean, and has its interval.

    Returns:
        model_id, method, game, prompts, scaled and raw (both in [0, 1] for similarities), low and high (95 % t limits of
        raw over prompts), better ("higher" or "lower").
    """
    curves = scaled_curves(ask, score)
    records = [
        dict(zip(SAME, key, strict=True))
        | {name: _area(rows, column) for name, column in (("scaled", "scaled"), ("raw", "mean"))}
        for key, rows in curves.groupby(SAME, sort=False)
    ]
    table = pd.DataFrame(records, columns=[*SAME, "scaled", "raw"])
    areas = faithfulness.areas(ask, score)
    areas = areas.loc[areas["step"] == faithfulness.ALL_STEPS]
    limits = areas[[*SAME, "prompts", "auc_low", "auc_high"]]
    table = table.merge(limits.rename(columns={"auc_low": "low", "auc_high": "high"}), on=SAME)
    higher = [faithfulness.higher_is_better(game, score) for game in table["game"]]
    return table.assign(better=np.where(np.array(higher, dtype=bool), "higher", "lower"))


def _area(rows: pd.DataFrame, column: str) -> float:
    ordered = rows.sort_values("fraction")
    return float(np.trapezoid(ordered[column], ordered["fraction"]))
