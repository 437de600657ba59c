"""Insertion and deletion: areas, gains over a random map, and mean curves.

Source: Petsiuk et al. 2018 (arXiv 1806.07421), on latents as in Park et al. 2024. The unit is the prompt:
steps and seeds are averaged within it first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from app.analysis import chance

Ask = Callable[..., pd.DataFrame]  # answers (name, **parameters) within the filters
ALL_STEPS = -1  # the step of rows that are means over all explained steps
GAMES = ("insertion", "deletion")
ZERO = "zero"  # the baseline of the games as Petsiuk et al. have them
# Scores of which a higher value is closer to the untouched prediction; the others are distances.
SIMILARITIES = frozenset({"clip", "structure"})


def scores(ask: Ask) -> list[str]:
    """The scores that insertion and deletion were measured with."""
    return [str(score) for score in ask("faithfulness_scores")["score"]]


def default_score(known: list[str]) -> str:
    """The score that is shown where none is chosen: CLIP where it was measured."""
    return "clip" if "clip" in known else known[0]


def higher_is_better(game: str, score: str) -> bool:
    """Whether a larger area is better: by insertion of a similarity, or by deletion of a distance."""
    return (game == "insertion") == (score in SIMILARITIES)


def areas(ask: Ask, score: str, baseline: str = ZERO) -> pd.DataFrame:
    """Areas under the curves and gains over a random map, per (model, step, method, game).

    Args:
        ask: answers questions to the snapshot.
        score: one of `scores`.
        baseline: what stands in removed positions, one of `baselines.measured`.

    Returns:
        model_id, step (ALL_STEPS for the mean over the explained steps), method, game, prompts; auc with its
        95 % t limits auc_low and auc_high, auc_scaled, auc_random, auc_inverse, each in [0, 1] for
        similarities; gain over the random map (positive is better) with low and high, inverse_gain; p, q and
        verdict of the rows over all steps, which are one family.
    """
    rows = ask("faithfulness", score=score, baseline=baseline)
    better = rows["game"].map({game: higher_is_better(game, score) for game in GAMES})
    sign = np.where(better.fillna(True).astype(bool), 1, -1)
    auc = chance.intervals(rows, "auc", "auc_sd", "prompts")
    rows = rows.assign(
        auc_low=auc["low"],
        auc_high=auc["high"],
        gain=rows["gain"] * sign,
        inverse_gain=rows["inverse_gain"] * sign,
    )
    whole = rows["step"] == ALL_STEPS
    judged = chance.judged(rows[whole], "gain", "gain_sd", "prompts")
    stepped = chance.intervals(rows[~whole], "gain", "gain_sd", "prompts")
    stepped = stepped.assign(p=np.nan, q=np.nan, verdict="")
    return pd.concat([judged, stepped]).loc[rows.index, COLUMNS]


COLUMNS = [
    "model_id", "step", "method", "game", "prompts", "auc", "auc_low", "auc_high", "auc_scaled", "auc_random",
    "auc_inverse", "gain", "low", "high", "inverse_gain", "p", "q", "verdict",
]  # fmt: skip


def curves(ask: Ask, score: str, baseline: str = ZERO) -> pd.DataFrame:
    """Mean curves per (model, method, game) over the fraction of pixels, with 95 % t limits.

    Args:
        ask: answers questions to the snapshot.
        score: one of `scores`.
        baseline: what stands in removed positions, one of `baselines.measured`.

    Returns:
        model_id, method, game, score, fraction (0..1), prompts, mean, sd, low, high.
    """
    rows = ask("faithfulness_curves", score=score, baseline=baseline)
    table = chance.intervals(rows.assign(score=score), "mean", "sd", "prompts")
    return table[
        ["model_id", "method", "game", "score", "fraction", "prompts", "mean", "sd", "low", "high"]
    ]
