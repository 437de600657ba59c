"""Figure of ConceptAttention: what the concepts that a prompt names get of the image over the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from app.analysis import concept_shares
from app.charts import paper
from app.figures.parts import SEEDS_FIRST, interval_text, keyed, sizes
from app.figures.source import Figure, FigureStudy, NotMeasured


def named_concepts(study: FigureStudy) -> Figure:
    """The share of named concepts less that of unnamed ones of the family, a panel per family."""
    data = concept_shares.by_family(study.ask_scope)
    if data.empty:
        raise NotMeasured(
            "This study has no ConceptAttention of concepts that a prompt names, within these filters.",
            "Add [measures.concept-attention] to the study file (docs/studies.md), then run it again: finished work is kept.",
        )
    table = study.labelled(data)
    models = study.models[study.models["label"].isin(table["model"])]
    families = list(dict.fromkeys(table["family"]))[: study.choice.rows or 6]
    shown = table[table["family"].isin(families)]
    domain, columns = paper.limits(shown), min(len(families), 3)
    parts = [
        _part(shown[shown["family"] == family], models, family, domain, first=i % columns == 0)
        for i, family in enumerate(families)
    ]
    caption = (
        "ConceptAttention (Helbling et al. 2025): share of the image whose attention outputs are those of a concept (softmax over the concepts "
        "of the family, mean over layers and positions), for the concepts that a prompt names less those that it does not name; higher means "
        "that the image shows what the prompt names. Lines: mean over prompts that name a concept of the family; bands: 95 % t interval. "
        f"Table: at the last step measured. {SEEDS_FIRST} {sizes(study, shown['prompts'])} "
        f"{study.source_line()}"
    )
    kept = ["model", "family", "step", "named", "unnamed", "mean", "low", "high", "prompts"]
    return Figure(keyed(models, parts, columns), shown[kept], caption, columns, _printed(shown))


def _part(
    rows: pd.DataFrame,
    models: pd.DataFrame,
    family: str,
    domain: tuple[float, float],
    *,
    first: bool,
) -> Callable[[float], Any]:
    title = "Named less unnamed" if first else None
    return lambda width: paper.line_panel(
        rows,
        models,
        "step",
        "mean",
        family,
        "Step",
        title,
        width,
        min(width * 0.75, 100),
        domain=domain,
    )


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    last = table[table["step"] == table.groupby(["model_id", "family"])["step"].transform("max")]
    limits = zip(last["low"], last["high"], strict=True)
    return pd.DataFrame(
        {
            "Model": last["model"],
            "Family": last["family"],
            "Step": [f"{step:d}" for step in last["step"]],
            "Named": [f"{value:.3f}" for value in last["named"]],
            "Unnamed": [f"{value:.3f}" for value in last["unnamed"]],
            "Difference": [f"{value:+.3f}" for value in last["mean"]],
            "95 % interval": [interval_text(low, high, 3, "+") for low, high in limits],
            "n": [f"{n:d}" for n in last["prompts"]],
        }
    )
