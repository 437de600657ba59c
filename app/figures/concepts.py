"""The figures about concepts: their curves, their heat map, when they emerge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd

from app.analysis import emergence as emergence_
from app.analysis import trajectories
from app.analysis.reading import shared_range
from app.charts import axes as axes_charts
from app.charts import grids as grids_charts
from app.charts import paper
from app.charts import rows as rows_charts
from app.figures.parts import (
    SEEDS_FIRST,
    interval_text,
    keyed,
    no_trajectories,
    sizes,
    which_pairs,
    without_legends,
)
from app.figures.source import Figure, FigureStudy, NotMeasured
from app.figures.typeset import stack

RISE = "Rise of similarity (cosine) since its lowest"
MOST_CURVES = 4
MOST_CONCEPTS = 24


def concept_curves(study: FigureStudy) -> Figure:
    """Similarity of single concepts over the steps, a panel per concept."""
    if study.concepts.empty:
        raise no_trajectories()
    ids = study.concept_ids() if study.choice.concepts else list(study.scope.concepts)
    named, axis = study.basis()
    data = study.curves(ids, named=named)
    if data.empty:
        raise no_trajectories()
    if not study.choice.concepts:
        ids = trajectories.risers(data, study.concepts)[: study.choice.rows or MOST_CURVES]
        data = data[data["concept_id"].isin(ids)]
    table = study.with_concepts(study.labelled(data))
    steps = study.ask("steps", models=list(study.scope.models))
    table = table.merge(steps[["model_id", "step", "log_snr", "progress"]], on=["model_id", "step"])
    names = list(dict.fromkeys(table["concept"]))
    across = axes_charts.by_field(axis)
    parts = [_concept_panel(table, study, name, across, i % 2 == 0) for i, name in enumerate(names)]
    which = "the prompts that name the concept" if named else "all prompts"
    caption = (
        "Cosine similarity (CLIP) of the predicted clean image with a concept at each denoising "
        f"step, over {across.title.split('  ')[0]}; higher means that the concept is seen more. Lines: mean over {which}; bands: "
        f"95 % t interval over prompts. {SEEDS_FIRST} {sizes(study, table['prompts'])} "
        f"{study.source_line()}"
    )
    columns = min(len(parts), 2)
    kept = table[
        ["model", "concept", "family", "step", "log_snr", "mean", "low", "high", "prompts"]
    ]
    return Figure(keyed(study.models, parts, columns), kept, caption, columns)


def _concept_panel(
    table: pd.DataFrame, study: FigureStudy, name: str, axis: axes_charts.Axis, first: bool
) -> Callable[[float], Any]:
    rows = table[table["concept"] == name]
    title = "Similarity (cosine)" if first else None
    # Lower than the vertical title is long, a panel's own title would stand above its neighbour's.
    return lambda width: paper.curve_panel(
        rows, study.models, axis, name, title, width, min(max(width * 0.55, 88), 110)
    )


def concept_heatmap(study: FigureStudy) -> Figure:
    """Concept x step heat map of the similarity of one model, the whole prompt on top."""
    ids = study.concept_ids() if study.choice.concepts else list(study.scope.concepts)
    model = study.baseline()
    named, axis = study.basis()
    curves = study.curves([0, *ids], named=named)
    curves = trajectories.with_rise(curves[curves["model_id"] == model])
    if curves.empty:
        raise no_trajectories()
    ids = trajectories.risers(curves, study.every_concept)[: study.choice.rows or MOST_CONCEPTS]
    table = study.with_whole_prompt(curves[curves["concept_id"].isin([0, *ids])])
    order = trajectories.heat_order(table)
    levels = axes_charts.levels(study.ask("steps", models=[model]), model, axis)

    def draw(width: float) -> alt.TopLevelMixin:
        cells = table.assign(value=table["rise"])
        chart = paper.still(grids_charts.heat(cells, RISE, order=order, levels=levels))
        return cast(alt.TopLevelMixin, chart.properties(width=width, height=8.5 * len(order)))

    which = "the prompts that name it" if named else "all prompts"
    caption = (
        f"Rise of the similarity (CLIP cosine) of {study.label(model)}'s predicted clean image with "
        f"the whole prompt (top row) and with each concept over the denoising steps, above its lowest mean; of a concept over {which}. Families "
        f"and concepts are ordered by the step at which half of the rise is reached. The data has the 95 % interval of every cell. {SEEDS_FIRST} "
        f"{sizes(study, table['prompts'])} {study.source_line()}"
    )
    columns = ["concept", "family", "step", "rise", "mean", "low", "high", "prompts"]
    return Figure(draw, table[columns], caption)


def emergence(study: FigureStudy) -> Figure:
    """When concept families (or named concepts) emerge, with tied ranks."""
    row = emergence_.CONCEPT if study.choice.concepts else emergence_.FAMILY
    concepts = study.concept_ids() if study.choice.concepts else None
    named, axis = study.basis()
    table = emergence_.ranked(study, row, named=named, axis=axis, concepts=concepts)
    if table.empty:
        raise NotMeasured(emergence_.NOT_ENOUGH, "Leave a filter out if concepts are missing.")
    across = axes_charts.by_field(axis)
    caption = (
        f"Emergence of each {row}, {which_pairs(named)}: the first step from which its contrast to prompts that do not "
        "name it stays above the 95th percentile of such prompts' contrasts; further left is earlier. Points: "
        f"{emergence_.RESTRICTED}, with its 95 % t interval over prompts (bar) and the quartiles over samples (line); "
        f"{'at the log-SNR that all models reach' if axis == 'log_snr' else f'in {axis}'}. {emergence_.RANKS} {SEEDS_FIRST} "
        f"{sizes(study, table['n'])} {study.source_line()}"
    )
    shares = ["start_share", "emerges_share", "never_share"]
    columns = ["model", row, "rank", "mean", "low", "high", "q1", "q3", *shares, "n"]
    printed = _emergence_table(table, row)
    draw = _emergence_chart(study, table, row, across)
    return Figure(draw, table[columns], caption, table=printed)


def _emergence_chart(
    study: FigureStudy, table: pd.DataFrame, row: str, axis: axes_charts.Axis
) -> Callable[[float], alt.TopLevelMixin]:
    steps = study.ask("steps", models=list(study.scope.models))
    ends = table[["low", "high", "q1", "q3"]].to_numpy(float)
    low, high = shared_range(
        steps, axis.field
    )  # a mean's interval may reach beyond what is measured
    limits = min(low, float(np.nanmin(ends))), max(high, float(np.nanmax(ends)))
    rows = table[row].nunique()
    several = len(study.models) > 1

    def draw(width: float) -> alt.TopLevelMixin:
        chart = paper.still(
            rows_charts.emergence(table, study.models, row, limits=limits, axis=axis)
        )
        height = max(18, 8 * len(study.models) + 6) * rows
        panel = without_legends(chart).properties(width=width, height=height)
        return stack(
            [*([paper.key(study.models, width, 8, mark="point")] if several else []), panel]
        )

    return draw


def _emergence_table(table: pd.DataFrame, row: str) -> pd.DataFrame:
    """The emergence steps as they are printed, model by model."""
    ranked = table.sort_values("model_id", kind="stable")
    limits = zip(ranked["low"], ranked["high"], strict=True)
    return pd.DataFrame(
        {
            "Model": ranked["model"],
            row.capitalize(): ranked[row],
            "Rank": ranked["rank"],
            "Restricted mean": [f"{v:.1f}" for v in ranked["mean"]],
            "95 % interval": [interval_text(low, high, 1) for low, high in limits],
            "From the start": [f"{v:.0%}" for v in ranked["start_share"]],
            "Later": [f"{v:.0%}" for v in ranked["emerges_share"]],
            "Never": [f"{v:.0%}" for v in ranked["never_share"]],
            "n": [f"{v:d}" for v in ranked["n"]],
        }
    )
