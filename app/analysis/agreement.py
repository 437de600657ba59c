"""How far the maps of two tools agree on the same sample and step. The unit is the prompt."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from app.analysis import uncertainty

Ask = Callable[..., pd.DataFrame]
ALL_STEPS = -1  # the step of rows that are means over all explained steps


def pairs(ask: Ask) -> pd.DataFrame:
    """Agreement per (model, step, pair of methods), with 95 % t limits over prompts.

    Returns:
        model_id, step (ALL_STEPS for the mean over the explained steps), method_a, method_b, prompts;
        spearman over the pixels in [-1, 1] with low and high, iou of the top 20 % in [0, 1] with iou_low and
        iou_high; higher is more alike.
    """
    rows = ask("agreement")
    low, high = uncertainty.t_limits(rows["spearman"], rows["spearman_sd"], rows["prompts"])
    iou_low, iou_high = uncertainty.t_limits(rows["iou"], rows["iou_sd"], rows["prompts"])
    table = rows.assign(low=low, high=high, iou_low=iou_low, iou_high=iou_high)
    keys = ["model_id", "step", "method_a", "method_b", "prompts"]
    return table[[*keys, "spearman", "low", "high", "iou", "iou_low", "iou_high"]]
