"""Figures of embedding paths and power spectra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from app.analysis import paths as analysis
from app.charts import paper
from app.figures.parts import SEEDS_FIRST, keyed, methods_frame, sizes
from app.figures.source import Figure, FigureStudy, NotMeasured


def spectra(study: FigureStudy) -> Figure:
    """Power of the predicted clean image by spatial frequency at a few steps, a panel per model."""
    data = analysis.spectrum(study.ask_scope)
    if data.empty:
        raise NotMeasured(
            "This study has no power spectra within these filters.",
            "Add spectrum = true under [measures], then run it again: finished work is kept.",
        )
    steps = study.pick_steps(data["step"].unique().tolist(), 4)
    table = study.labelled(data[data["step"].isin(steps)]).rename(columns={"model": "entry"})
    table = table.assign(model="Step " + table["step"].astype(str))
    lines = methods_frame([f"Step {s}" for s in steps])
    shown = list(dict.fromkeys(table["entry"]))[: study.choice.rows or 3]
    table = table[table["entry"].isin(shown)]
    domain = paper.limits(table)
    panels = [table[table["entry"] == entry] for entry in shown]
    parts = [
        _spectrum_panel(panel, lines, entry, i == 0, domain)
        for i, (entry, panel) in enumerate(zip(shown, panels, strict=True))
    ]
    caption = (
        "Radial power spectrum of the predicted clean image at several denoising steps: mean over "
        f"prompts of log10 power per band, with 95 % t intervals. {SEEDS_FIRST} "
        f"{sizes(study, table['prompts'])} {study.source_line()}"
    )
    kept = table[["entry", "step", "frequency", "mean", "low", "high", "prompts"]]
    return Figure(
        keyed(lines, parts, len(parts)),
        kept.rename(columns={"entry": "model"}),
        caption,
        len(parts),
    )


def _spectrum_panel(
    panel: pd.DataFrame, lines: pd.DataFrame, title: str, first: bool, domain: tuple[float, float]
) -> Callable[[float], Any]:
    y = "Power (log10)" if first else None
    return lambda width: paper.line_panel(
        panel,
        lines,
        "frequency",
        "mean",
        title,
        "Cycles per pixel",
        y,
        width,
        min(width * 0.7, 110),
        domain=domain,
    )


def paths(study: FigureStudy) -> Figure:
    """Mean path of the images' CLIP embeddings in the plane of two principal components."""
    data = analysis.means(study.ask_scope)
    if data.empty:
        raise NotMeasured(
            "This study has no embedding paths within these filters.",
            "Add embeddings = true under [measures], then run it again: finished work is kept.",
        )
    shares = analysis.explained(study.ask_scope)
    first, second = (
        f"Component {i + 1}" + (f" ({shares[i]:.0%} of variance)" if i < len(shares) else "")
        for i in range(2)
    )
    table = study.labelled(data)

    def part(width: float) -> Any:
        return paper.trails(table, study.models, (first, second), width)

    caption = (
        "Path of the predicted clean image's CLIP embedding over the denoising steps, from noise "
        "(hollow) to image (filled), on the study's two principal components; mean over prompts. "
        f"{SEEDS_FIRST} {sizes(study, table['prompts'])} {study.source_line()}"
    )
    kept = table[["model", "step", "x", "y", "x_sd", "y_sd", "prompts"]]
    return Figure(keyed(study.models, [part], 1, mark="both"), kept, caption)
