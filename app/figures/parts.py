"""What several figures share: keys, sample sizes, printed numbers."""

from __future__ import annotations

from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd

from app.charts import paper
from app.figures.source import FigureError, FigureStudy, NotMeasured
from app.figures.typeset import stack

SEEDS_FIRST = "Seeds are averaged within a prompt; the prompt is the unit."


def span(values: pd.Series) -> str:
    """'12' or '3 to 12'."""
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"


def sizes(study: FigureStudy, prompts: pd.Series) -> str:
    """'n = 3 to 12 prompts × 2 seeds (0, 1).'"""
    seeds = ", ".join(str(s) for s in study.scope.seeds[:8])
    noun = "seed" if len(study.scope.seeds) == 1 else "seeds"
    return f"n = {span(prompts)} prompts × {len(study.scope.seeds)} {noun} ({seeds})."


def which_pairs(named: bool) -> str:
    """Which prompts count for a concept, for a caption."""
    return "over the prompts that name the concept" if named else "over all prompts"


def keyed(models: pd.DataFrame, parts: list[Any], columns: int, *, mark: str = "line") -> Any:
    """Draws panels below one key; returns a function of the panels' width."""

    def draw(width: float) -> alt.TopLevelMixin:
        drawn = [part(width) for part in parts]
        grid = paper.panels(drawn, columns) if len(drawn) > 1 else drawn[0]
        if len(models) < 2:
            return cast(alt.TopLevelMixin, grid)
        return stack([paper.key(models, width * columns + 24 * (columns - 1), 8, mark=mark), grid])

    return draw


def interval_text(low: float, high: float, digits: int, sign: str = "") -> str:
    """An interval as it is printed: '[0.12, 0.34]', a dash where a limit is unknown."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "–"
    return f"[{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def of_methods(study: FigureStudy, data: pd.DataFrame) -> pd.DataFrame:
    """The rows of the methods that the author named; all where none was.

    Raises:
        FigureError: a method that the study does not have.
    """
    known = list(dict.fromkeys(data["method"]))
    for method in study.choice.methods:
        if method not in known:
            raise FigureError(
                f"--methods: {method!r} is not measured. Allowed: {', '.join(known)}."
            )
    return data[data["method"].isin(study.choice.methods)] if study.choice.methods else data


def methods_frame(methods: list[str]) -> pd.DataFrame:
    """Methods in the place of models, for colours, dashes and shapes."""
    return pd.DataFrame({"model_id": range(1, len(methods) + 1), "label": methods})


def number_text(value: float) -> str:
    """A number as it is printed, to three digits; a dash where it is unknown."""
    return f"{value:.3f}" if np.isfinite(value) else "–"


def no_trajectories() -> NotMeasured:
    """The error of a figure without a trajectory to show."""
    return NotMeasured(
        "There is no finished sample within these filters.",
        "Leave a filter out, or run the study: python -m pipeline run STUDY.toml",
    )


def without_legends(chart: Any) -> Any:
    """A layered chart without the legends of its colours and shapes, which a key above the panels replaces."""
    for layer in chart.layer:
        for channel in ("color", "shape"):
            each: Any = getattr(layer.encoding, channel, alt.Undefined)
            if each is not alt.Undefined and not isinstance(each, str):
                each.legend = None
    return chart
