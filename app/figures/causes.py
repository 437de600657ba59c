"""Figure of prompt switching: when concept families are visible and when they are decided."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from app.analysis import emergence, switching, windows
from app.charts import axes, paper
from app.charts import causes as charts
from app.figures.parts import SEEDS_FIRST, interval_text, sizes, without_legends
from app.figures.source import Figure, FigureStudy, NotMeasured
from app.figures.typeset import stack

WHO = {
    switching.JUDGE: "scenes-judge sees the concept in the final image",
    switching.CONTRAST: "the scorer's contrast finds the concept in the final image",
    switching.PREFERENCE: "the scorer finds the final image closer to the prompt than to its base",
}


def causes(study: FigureStudy) -> Figure:
    """Visible and decided positions of each family, and the order in which a model decides."""
    known = switching.measured(switching.rows_of(study))
    if not known:
        raise NotMeasured(
            "This study has no prompt switches within these filters.",
            "Add [measures.switch] to the study file (docs/studies.md), then run it again: finished work is kept.",
        )
    outcome, (_, axis) = known[0], study.basis()
    axis = axis if axis in ("step", "log_snr") else "log_snr"
    table = windows.causes(study, outcome, axis)
    order = switching.decided(study, outcome, axis)
    across = axes.by_field(axis)
    caption = (
        f"Visible (hollow) and decided (filled) positions of each concept family over {across.title.split('  ')[0]}; further left is "
        f"earlier. Visible: emergence, {emergence.RESTRICTED}; over the prompts that name a concept. Decided: the mean position up to which "
        f"switching from a prompt without the concept to one with it still succeeds ({WHO[outcome]}). Bars: 95 % t interval over prompts, of "
        f"decided positions from the last success to the first failure.{_irreversible(table)} Order of deciding, = where no test separates (paired t test, "
        f"Holm): {switching.first_decided(order)}. {SEEDS_FIRST} {sizes(study, order['prompts'])} {study.source_line()}"
    )

    def draw(width: float) -> Any:
        chart = paper.still(charts.timeline(table, study.models, across))
        rows = table[["family", "kind"]].drop_duplicates().shape[0]
        height = max(14, 7 * len(study.models) + 5) * rows
        panel = without_legends(chart).properties(width=width, height=height)
        several = len(study.models) > 1
        key: list[alt.TopLevelMixin] = (
            [paper.key(study.models, width, 8, mark="point")] if several else []
        )
        return stack([*key, panel])

    columns = ["model", "family", "kind", "mean", "low", "high", "prompts"]
    return Figure(draw, table[columns], caption, table=_printed(table))


def _irreversible(table: pd.DataFrame) -> str:
    if windows.IRREVERSIBLE not in set(table["kind"]):
        return ""
    return (
        " Irreversible (pale): from there on at least 95 % of the rise of the share of redraws that keep the attribute is past (images noised "
        "and denoised again); bars: 95 % bootstrap interval over prompts."
    )


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    limits = zip(table["low"], table["high"], strict=True)
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Family": table["family"],
            "Kind": table["kind"],
            "Position": [f"{value:.1f}" for value in table["mean"]],
            "95 % interval": [interval_text(low, high, 1) for low, high in limits],
            "n": [f"{n:d}" for n in table["prompts"]],
        }
    )
