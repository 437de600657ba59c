"""The tables of a study, out of the rows that `app.analysis` computes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from app.analysis import comparison, trajectories
from app.figures.source import FigureStudy
from stepscope.errors import StudyError
from stepscope.filters import Names

CURVE = ["model_id", "model", "concept_id", "concept", "family", "step", "timestep", "log_snr", "progress",
         "mean", "low", "high", "sd", "rise", "r_final", "prompts", "samples"]  # fmt: skip
GRID = ["concept", "family", "step", "mean", "low", "high", "d_z", "p", "q", "significant", "prompts"]  # fmt: skip


def first_columns(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with some columns in front."""
    return table[[*columns, *(name for name in table.columns if name not in columns)]]


def by_id(concepts: pd.DataFrame, name: str) -> dict[int, str]:
    """A column of concepts by their concept_id."""
    return dict(zip(concepts["concept_id"].astype(int), concepts[name].astype(str), strict=True))


def concept_ids(view: FigureStudy, concepts: Names | None) -> list[int]:
    """Ids of the concepts named, the whole prompt (0) among them; None = it and all within the filters."""
    if concepts is None:
        return [0, *view.scope.concepts]
    names = [concepts] if isinstance(concepts, str) else list(concepts)
    ids = {comparison.WHOLE: 0, **{n: i for i, n in by_id(view.every_concept, "name").items()}}
    for name in names:
        if name not in ids:
            some = ", ".join(list(ids)[:12])
            raise StudyError(f"concepts: {name!r} is not in this study. Allowed: {some}{' …' if len(ids) > 12 else ''}.")  # fmt: skip
    return [ids[name] for name in names]


def measures(view: FigureStudy, baseline: int, candidate: int) -> pd.DataFrame:
    """One row per measure of `Study.compare`; the corrections are over all models of the view."""
    named, axis = view.basis()
    table = comparison.what_differs(view, baseline, named=named, axis=axis)
    return table[table["model_id"] == candidate].drop(columns=["model_id", "model"])


def grid(view: FigureStudy, baseline: int, candidate: int) -> pd.DataFrame:
    """One row per concept and step of `Study.compare`, the whole prompt first."""
    named, axis = view.basis()
    cells = comparison.difference_grid(view, baseline, [candidate], named=named, axis=axis)
    return comparison.with_whole_prompt(cells, comparison.of_concepts(view, cells))[GRID]


def curves(view: FigureStudy, concepts: Names | None) -> pd.DataFrame:
    """See `Study.curves`; no row where no sample is finished."""
    rows = view.curves(concept_ids(view, concepts), named=view.basis()[0])
    names = {0: comparison.WHOLE, **by_id(view.every_concept, "name")}
    families = {0: "", **by_id(view.every_concept, "family")}
    table = view.labelled(trajectories.with_rise(rows))
    table = table.assign(concept=table["concept_id"].map(names), family=table["concept_id"].map(families))  # fmt: skip
    steps = view.ask("steps", models=list(view.scope.models))
    keys = ["model_id", "step"]
    return table.merge(steps[[*keys, "timestep", "log_snr", "progress"]], on=keys)[CURVE]
