"""Figure of information per word: what a word of each role tells of the image over the noise levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from app.analysis import information as analysis
from app.analysis.words import ROLES
from app.charts import paper
from app.charts.axes import AXES
from app.figures.parts import SEEDS_FIRST, interval_text, keyed, methods_frame, sizes
from app.figures.source import Figure, FigureStudy, NotMeasured


def information(study: FigureStudy) -> Figure:
    """Density of information by role over log-SNR, a panel per model."""
    data = analysis.role_curves(study)
    if data.empty:
        raise NotMeasured(
            "This study has no information per word within these filters.",
            "Add [measures.information] to the study file (docs/studies.md), then run it again: finished work is kept.",
        )
    table = data.rename(columns={"model": "entry"})
    table = table.assign(model=table["role"])
    lines = methods_frame([role for role in ROLES if role in set(table["role"])])
    shown = list(dict.fromkeys(table["entry"]))[: study.choice.rows or 6]
    table = table[table["entry"].isin(shown)]
    columns, domain = min(len(shown), 3), paper.limits(table)
    parts: list[Callable[[float], Any]] = [
        partial(_panel, table[table["entry"] == entry], lines, entry, number % columns == 0, domain)
        for number, entry in enumerate(shown)
    ]
    totals = analysis.totals(study)
    totals = totals[(totals["kind"] == "role") & totals["model"].isin(shown)]
    caption = (
        "Information of a word by its role, over log-SNR, for each model: half the squared difference of the noise predicted with the whole prompt "
        "and without the word, on finished images noised to each level (Kong et al. 2024). Lines: mean over prompts; bands: 95 % t interval. "
        f"Words of a role are averaged first. {SEEDS_FIRST} {sizes(study, table['prompts'])} "
        f"{study.source_line()}"
    )
    kept = table[["entry", "role", "step", "log_snr", "mean", "low", "high", "prompts"]]
    kept = kept.rename(columns={"entry": "model"})
    return Figure(keyed(lines, parts, columns), kept, caption, columns, table=_printed(totals))


def _panel(
    rows: pd.DataFrame,
    lines: pd.DataFrame,
    title: str,
    first: bool,
    domain: tuple[float, float],
    width: float,
) -> Any:
    height = min(width * 0.75, 100.0)
    y_title = "Nats per log-SNR" if first else None
    x_title = AXES["Log-SNR"].title
    return paper.line_panel(
        rows, lines, "log_snr", "mean", title, x_title, y_title, width, height, domain=domain
    )


def _printed(totals: pd.DataFrame) -> pd.DataFrame:
    limits = zip(totals["low"], totals["high"], strict=True)
    return pd.DataFrame(
        {
            "Model": totals["model"],
            "Role": totals["name"],
            "Nats": [f"{value:.1f}" for value in totals["mean"]],
            "95 % interval": [interval_text(low, high, 1) for low, high in limits],
            "n": [f"{n:d}" for n in totals["prompts"]],
        }
    )
