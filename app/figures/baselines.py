"""Figure of the baselines of insertion and deletion: the tools' gains under each, and how alike the rankings are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from app.analysis import baselines
from app.charts import paper
from app.charts.tools import tool_title
from app.figures.parts import SEEDS_FIRST, interval_text, keyed, number_text, of_methods, sizes
from app.figures.source import Figure, FigureStudy, NotMeasured
from app.figures.tools import score_of


def rankings(study: FigureStudy) -> Figure:
    """Gain of every tool under each baseline, a panel per game, of the baseline model or the one chosen."""
    score = score_of(study)
    gains = of_methods(study, baselines.prompt_gains(study.ask_scope, score))
    model = study.baseline()
    gains = gains[gains["model_id"] == model]
    if gains["baseline"].nunique() < 2:
        raise NotMeasured(
            "This study has insertion and deletion under one baseline only.",
            'Add baselines = ["zero", "re-noised"] to [measures.faithfulness], then run it again.',
        )
    table = study.labelled(baselines.rankings(gains))
    compared = baselines.compared(gains)
    names = list(dict.fromkeys(table["baseline"]))
    lines = pd.DataFrame({"model_id": range(1, len(names) + 1), "label": names})
    parts = [
        _panel(table[table["game"] == game], lines, f"{game.capitalize()}: gain, better \u2192")
        for game in dict.fromkeys(table["game"])
    ]
    said = " ".join(baselines.dependence(row, tool_title) for _, row in compared.iterrows())
    caption = (
        f"Gain over a random map by insertion and deletion under each baseline of removed pixels, score {score}, mean over "
        "prompts with its 95 % t interval (positive is better); rank: tools of one rank are not separable (paired t test, "
        f"Holm over all pairs of tools). {said} {_correlations(compared)} {SEEDS_FIRST} "
        f"{sizes(study, table['prompts'])} {study.source_line()}"
    )
    columns = ["model", *[c for c in table if c not in {"model", "model_id"}]]
    draw = keyed(lines, parts, len(parts), mark="point")
    return Figure(draw, table[columns], caption, len(parts), _printed(table))


def _panel(rows: pd.DataFrame, lines: pd.DataFrame, title: str) -> Callable[[float], Any]:
    drawn = rows[["method", "low", "high"]].assign(model=rows["baseline"], mean=rows["gain"])
    return lambda width: paper.dots(drawn, lines, "method", title, width, rule=0.0)


def _correlations(compared: pd.DataFrame) -> str:
    known = compared.dropna(subset=["rho"])
    shown = [
        f"{row['game']}, {row['first']} and {row['second']}: {row['rho']:+.2f} "
        f"{interval_text(row['low'], row['high'], 2, '+')}"
        for _, row in known.iterrows()
    ]
    return f"Spearman over tools within a prompt: {'; '.join(shown)}." if shown else ""


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    limits = zip(table["low"], table["high"], strict=True)
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Game": table["game"],
            "Baseline": table["baseline"],
            "Method": table["method"],
            "Rank": table["rank"],
            "Gain": [number_text(v) for v in table["gain"]],
            "95 % interval": [interval_text(a, b, 3, "+") for a, b in limits],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )
