"""The paper's AUC table: areas under the mean insertion and deletion curves, scaled, with the raw ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from app.analysis import faithfulness, mean_curves
from app.charts import paper
from app.figures.parts import (  # fmt: skip
    SEEDS_FIRST,
    interval_text,
    keyed,
    methods_frame,
    number_text,
    of_methods,
    sizes,
)
from app.figures.source import Figure, FigureStudy
from app.figures.tools import NO_FAITHFULNESS, SCORES, score_of

WAYS = {"higher": "higher is better", "lower": "lower is better"}


def auc_of_mean_curves(study: FigureStudy) -> Figure:
    """Mean curves over the prompts, min-max scaled, and the table of their areas."""
    score = score_of(study)
    areas = of_methods(study, mean_curves.mean_curve_areas(study.ask_scope, score))
    if areas.empty:
        raise NO_FAITHFULNESS
    table = study.labelled(areas)
    curves = of_methods(study, mean_curves.scaled_curves(study.ask_scope, score))
    curves = study.labelled(curves).rename(columns={"model": "entry"})
    curves = curves.assign(model=curves["method"]).dropna(subset=["scaled"])
    lines = methods_frame(list(dict.fromkeys(table["method"])))
    entries = list(dict.fromkeys(table["model"]))[: study.choice.rows or 3]
    table = table[table["model"].isin(entries)]
    parts = [
        _panel(curves, lines, entry, game, score, named=len(entries) > 1)
        for entry in entries
        for game in ("deletion", "insertion")
    ]
    caption = (
        f"Deletion and insertion curves as Park et al. 2024 have them: the mean over prompts, then min-max scaled; score: "
        f"{SCORES[score]}. Table: the area under the scaled mean curve, and beside it the raw area with its 95 % t interval "
        f"over prompts. {SEEDS_FIRST} {sizes(study, table['prompts'])} {study.source_line()}"
    )
    columns = ["model", *[c for c in table if c not in {"model", "model_id"}]]
    return Figure(keyed(lines, parts, 2), table[columns], caption, 2, _printed(table))


def _panel(
    curves: pd.DataFrame, lines: pd.DataFrame, entry: str, game: str, score: str, *, named: bool
) -> Callable[[float], Any]:
    rows = curves[(curves["entry"] == entry) & (curves["game"] == game)]
    way = WAYS["higher" if faithfulness.higher_is_better(game, score) else "lower"]
    title = f"{entry}: {game}, {way}" if named else f"{game.capitalize()}, {way}"
    y = "Scaled score" if game == "deletion" else None
    return lambda width: paper.line_panel(
        rows, lines, "fraction", "scaled", title, "Share of pixels", y, width, min(width * 0.6, 105),
        domain=(0.0, 1.0),
    )  # fmt: skip


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Method": table["method"],
            "Game": table["game"],
            "Better": table["better"],
            "AUC (scaled mean curve)": [number_text(v) for v in table["scaled"]],
            "AUC (raw)": [number_text(v) for v in table["raw"]],
            "Raw, 95 % interval": [
                interval_text(a, b, 3) for a, b in zip(table["low"], table["high"], strict=True)
            ],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )
