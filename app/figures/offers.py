"""What an author can choose of a figure: the options of its controls that its study has data for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from app.analysis import faithfulness, parting, trust, words
from app.figures.kinds import Kind
from app.figures.source import AXIS_NAMES, BARS, LAYOUTS, SCALES, FigureStudy

MAPPED = {"paper-7": "df-rise", "paper-8": "df-cam"}
MOST_PROMPTS = 300
GAMES = ("games", "lime", "two-baselines")


def offers(study: FigureStudy, kind: Kind) -> dict[str, list[Any]]:
    """The options of a figure's controls, by the field of `Choice`; one with fewer than two is left out.

    Args:
        study: by the author's filters and baseline; the rest of its choice is not looked at.
        kind: the figure.

    Returns:
        models: labels; methods, source, score, axis, pairs, layout, scale, bar: as `Choice` has them; steps; prompts:
        prompt_id and text; concepts: names; baseline: labels; rows: how many at most; distance: names; threshold: 0 and the number
        that it stands for.
    """
    known: dict[str, Callable[[], list[Any]]] = {
        "baseline": lambda: list(study.models["label"]),
        "methods": lambda: _methods(study, kind),
        "steps": lambda: _steps(study, kind),
        "prompts": lambda: _prompts(study, kind),
        "concepts": lambda: list(study.concepts["name"]),
        "score": lambda: faithfulness.scores(study.ask_scope),
        "source": lambda: _sources(study),
        "axis": lambda: list(AXIS_NAMES),
        "pairs": lambda: ["named", "all"] if study.names_concepts and not study.named_only else [],
        "layout": lambda: list(LAYOUTS),
        "scale": lambda: list(SCALES),
        "bar": lambda: list(BARS),
        "rows": lambda: list(range(13)),
        "distance": lambda: [each.measure.metric for each in parting.distances(study)],
        "threshold": lambda: _thresholds(study),
    }
    out = {name: known[name]() for name in kind.controls}
    if kind.several:
        out = {"models": list(study.every_model["label"]), **out}
    return {name: options for name, options in out.items() if len(options) > 1}


def _explained(study: FigureStudy, kind: Kind) -> pd.DataFrame:
    """The maps that a figure can show, of the model that it shows."""
    rows = study.ask_scope("figure_explained")
    rows = rows[rows["model_id"] == study.baseline()]
    if kind.name in ("word-heat-maps", "paper-9"):
        return rows[rows["words"] > 0]
    if kind.name == "paper-5":
        return rows[rows["method"].str.startswith("df-rise") & (rows["whole"] > 0)]
    wanted = MAPPED.get(kind.name)
    return rows[(rows["whole"] > 0) & ((rows["method"] == wanted) | (wanted is None))]


def _methods(study: FigureStudy, kind: Kind) -> list[str]:
    if kind.needs == "localisation":
        return list(dict.fromkeys(trust.scene_gains(study.ask_scope)["method"]))
    if kind.needs in GAMES:
        parts = study.ask_scope("figure_presence", baseline=study.baseline())["part"]
        return [p.removeprefix("game: ") for p in parts if p.startswith("game: ")]
    return list(dict.fromkeys(_explained(study, kind)["method"]))


def _steps(study: FigureStudy, kind: Kind) -> list[int]:
    if kind.name == "film-strip":
        return [int(step) for step in study.ask_scope("figure_frame_steps")["step"]]
    if kind.name == "spectra":
        steps = study.ask("steps", models=list(study.scope.models))["step"]
        return sorted({int(step) for step in steps})
    return sorted({int(step) for step in _explained(study, kind)["step"]})


def _prompts(study: FigureStudy, kind: Kind) -> list[tuple[int, str]]:
    """The prompts with what the figure shows: the first 300."""
    mapped = kind.one_model or kind.name in MAPPED
    rows = _explained(study, kind) if mapped else study.ask_scope("figure_prompts")
    rows = rows.drop_duplicates("prompt_id").head(MOST_PROMPTS)
    return list(zip(rows["prompt_id"].astype(int), rows["text"].astype(str), strict=True))


def _thresholds(study: FigureStudy) -> list[float]:
    """The one that the figure takes, 0, and the one that it stands for, where entries can be seen to part."""
    chosen = parting.by_name(study, study.choice.distance)
    return [0.0, chosen.threshold] if chosen and chosen.of_steps else []


def _sources(study: FigureStudy) -> list[str]:
    return list(words.known_sources(study.ask_scope("figure_word_sources")["source"]))
