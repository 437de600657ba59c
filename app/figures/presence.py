"""Which figures a study has data for, by one question in place of making every figure: a page of all of them opens at once."""

from __future__ import annotations

from collections import Counter

from app.analysis import schedules, training
from app.figures.kinds import KINDS
from app.figures.source import FigureStudy


def missing(study: FigureStudy) -> dict[str, str]:
    """The figures that cannot be made within the filters: name -> key of `kinds.NEEDS`.

    Made figures may still lack data that their author names, such as a tool; `Kind.build` says that.
    """
    parts = Counter(study.ask_scope("figure_presence", baseline=study.baseline())["part"])
    there = _there(study, parts)
    return {name: kind.needs for name, kind in KINDS.items() if not there[kind.needs]}


def _there(study: FigureStudy, parts: Counter[str]) -> dict[str, bool]:
    """Whether each need is met."""
    several, concepts = len(study.models) > 1, not study.concepts.empty
    games = _named(parts, "game: ")
    sources = _named(parts, "words of one: ") & _named(parts, "word map of one: ")
    return {
        "scores": bool(parts["score"]),
        "concepts": concepts and bool(parts["trajectory"]),
        "concepts-of-one": concepts and bool(parts["trajectory of one"]),
        "emergence": bool(parts["outcome"]),
        "two-scored": several and parts["scored model"] > 1,
        "two-sampled": parts["sampled model"] > 1,
        "two-concepts": several and concepts and bool(parts["trajectory of one"]),
        "spectra": bool(parts["spectrum"]),
        "paths": bool(parts["path"]),
        "frames": bool(parts["frame"] and parts["image"]),
        "maps": bool(parts["map of one"]),
        "word-maps": any(part.startswith("word map of one: ") for part in parts),
        "roles": bool(parts["role"]),
        "information": bool(parts["information"]),
        "games": bool(games),
        "two-baselines": parts["baseline of one"] > 1,
        "agreement": bool(parts["agreement"]),
        "concept-attention": bool(parts["concept attention"]),
        "switches": bool(parts["switch"]),
        "localisation": bool(parts["localisation"]),
        "lime": "lime" in games and len(games) > 1,
        "rise-games": bool(_rise(games) & _rise(_named(parts, "map of one: "))),
        "rise": bool(parts["map of one: df-rise"]),
        "cam": bool(parts["map of one: df-cam"]),
        "peaks": bool(sources),
        **_of_models(study, bool(parts["image"]), bool(parts["words"])),
    }  # fmt: skip


def _named(parts: Counter[str], prefix: str) -> set[str]:
    """What follows a prefix in the names of the parts."""
    return {part.removeprefix(prefix) for part in parts if part.startswith(prefix)}


def _rise(methods: set[str]) -> set[str]:
    return {method for method in methods if method.startswith("df-rise")}


def _of_models(study: FigureStudy, images: bool, worded: bool) -> dict[str, bool]:
    """The needs that the study's entries decide: schedules and training runs."""
    under_schedules = len(schedules.one_per_kind(study.models)) > 1
    gammas = schedules.entries(study.models)
    gammas = gammas[gammas["gamma"].notna() & gammas["kind"].isin(["early", "late"])]
    varied = not gammas.empty and gammas.groupby("kind")["gamma"].nunique().max() > 1
    return {
        "schedules": images and under_schedules,
        "gammas": images and bool(varied),
        "words-by-schedule": worded and under_schedules,
        "training": images and bool(training.runs(study.models)),
    }
