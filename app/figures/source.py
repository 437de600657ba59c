"""What a figure is made from: a snapshot, the author's choice, and what was asked of the database."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from app.analysis import shipped, slices, trajectories
from app.analysis.measures import Measure, chosen_score
from app.analysis.reading import StudyView, chosen_scope, default_axis, with_unique_labels
from app.charts.axes import thin
from app.database import snapshots, statements
from app.database.notebook import ReviewError, store_of
from app.database.snapshots import Scope, Snapshot
from app.figures.typeset import Draw

# What another scorer would have other numbers of, as SQL names it.
SCORED = re.compile(r"\b(clip_score|trajectory|contrast|rollup_\w+|cell_\w+|correlation_\w+)\b")


LAYOUTS = ("steps-across", "steps-down")
SCALES = ("row", "map", "figure")
BARS = ("none", "below")
AXIS_NAMES = {"log-snr": "log_snr", "step": "step", "progress": "progress"}


class FigureError(Exception):
    """A figure that cannot be made: what is wrong, which value, what is allowed."""


class NotMeasured(FigureError):
    """The study lacks what a figure shows.

    Attributes:
        what: the missing measure.
        advice: what to add to the study file.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what} {advice}")
        self.what, self.advice = what, advice


@dataclass(frozen=True)
class Choice:
    """What the author chose; nothing chosen means all, or what the figure takes by itself.

    Attributes:
        models: labels or names.
        families: of concepts.
        categories: of prompts.
        seeds: sampled seeds.
        concepts: names.
        prompts: prompt_id or prompt_key.
        methods: of explanation.
        steps: denoising steps to show.
        baseline: label or name of the model that others are compared with.
        score: clip, structure or inception, of insertion and deletion.
        source: attention or relevance, of word values.
        rows: how many rows (prompts, concepts) at most.
        slice: of the prompts, as `slices.tokens` writes it.
        scorer: name of the scorer whose similarities and scores are shown; the primary one where none is.
        metric: name of the score of final images that another program computed; the CLIP score where none is.
        axis: what models are compared along: log-snr, step or progress; '' = log-SNR where several are shown, else steps.
        pairs: named or all: prompts that count for a concept; '' = those that name it.
        layout: of strips, one of LAYOUTS; '' = the steps across the page.
        scale: of maps, one of SCALES: what one colour scale covers; '' = a row.
        bar: of maps, one of BARS: where the colour bar stands; '' = none.
        distance: name of a distance to a reference entry; '' = the study's first.
        threshold: of that distance, from which two images count as different; 0 = that of its kind.
    """

    models: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    concepts: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    baseline: str = ""
    score: str = ""
    source: str = ""
    rows: int = 0
    slice: tuple[str, ...] = ()
    scorer: str = ""
    metric: str = ""
    axis: str = ""
    pairs: str = ""
    layout: str = ""
    scale: str = ""
    bar: str = ""
    distance: str = ""
    threshold: float = 0.0

    def arguments(self) -> list[str]:
        """The choice as command-line arguments."""
        out: list[str] = []
        for each in fields(self):
            value = getattr(self, each.name)
            if value:
                values = value if isinstance(value, tuple) else (value,)
                out += [f"--{each.name}", *(str(v) for v in values)]
        return out


@dataclass(frozen=True)
class FigureStudy(StudyView):
    """A study as its author filters it; it remembers every question, for the manifest.

    Attributes:
        path: as the author gave it.
        asker: answers (name, **parameters) with rows.
        choice: what the author chose.
        asked: (SQL file, parameters) in the order asked.
    """

    path: str
    asker: Callable[..., pd.DataFrame]
    choice: Choice
    asked: list[tuple[str, dict[str, Any]]]

    def ask(self, name: str, **parameters: Any) -> pd.DataFrame:
        """The rows of `app/database/sql/<name>.sql`, noted."""
        return _noted(self.asker, self.asked, name, **parameters)

    def basis(self) -> tuple[bool, str]:
        """Whether a concept counts only in prompts that name it, and the column of the axis that models are compared along."""
        axis = _chosen("axis", (self.choice.axis,) if self.choice.axis else (), AXIS_NAMES)[0]
        pairs = _chosen(
            "pairs", (self.choice.pairs,) if self.choice.pairs else (), ("named", "all")
        )[0]
        field = AXIS_NAMES[axis] if self.choice.axis else default_axis(self.models)
        return self.counts_named(pairs == "named"), field

    @cached_property
    def score(self) -> Measure:
        """The score by which images are compared: the CLIP score, or the one that the author named."""
        return chosen_score(self)

    @property
    def slice_sentence(self) -> str:
        """The slice in a sentence of a caption; '' where there is none."""
        asked = slices.question(slices.parsed(self.choice.slice))
        return "" if asked is None else f"Prompts: {slices.sentence(asked)}. "

    def model_id(self, name: str) -> int:
        """The model with this label or name.

        Raises:
            FigureError: there is none.
        """
        return _model_id(self.every_model, name)

    def concept_ids(self) -> list[int]:
        """The concepts that the author named.

        Raises:
            FigureError: a name that the bank does not have.
        """
        known = dict(zip(self.every_concept["name"], self.every_concept["concept_id"], strict=True))
        return [int(known[n]) for n in _chosen("concepts", self.choice.concepts, list(known))]

    def baseline(self) -> int:
        """The model that others are compared with: the one named, or the first shown."""
        if self.choice.baseline:
            return self.model_id(self.choice.baseline)
        return int(self.models["model_id"].iloc[0])

    def curves(self, concepts: Sequence[int], *, named: bool = False) -> pd.DataFrame:
        """Mean similarity per (model, concept, step) with its interval."""
        return trajectories.curves(self.ask_scope, self.scope, concepts, named=named)

    def pick_prompts(self, prompts: pd.DataFrame, most: int) -> pd.DataFrame:
        """The prompts that the author named, else the first ones.

        Args:
            prompts: prompt_id, prompt_key, text: those that have what the figure shows.
            most: rows at most, unless the author said.

        Raises:
            FigureError: a prompt that is not among them.
        """
        known = prompts.drop_duplicates("prompt_id")
        if not self.choice.prompts:
            return known.head(self.choice.rows or most)
        kept = known[
            known["prompt_id"].astype(str).isin(self.choice.prompts)
            | known["prompt_key"].isin(self.choice.prompts)
        ]
        if len(kept) < len(set(self.choice.prompts)):
            some = ", ".join(str(i) for i in known["prompt_id"].head(12))
            raise FigureError(
                f"--prompts: not all of {', '.join(self.choice.prompts)} have what this figure "
                f"shows. Prompts that have it: {some}{' …' if len(known) > 12 else ''}."
            )
        return kept

    def pick_steps(self, steps: Sequence[int], most: int) -> list[int]:
        """The steps that the author named, else some that are evenly spread.

        Raises:
            FigureError: a step without what the figure shows.
        """
        known = sorted({int(step) for step in steps})
        if self.choice.steps:
            return [int(s) for s in _chosen("steps", self.choice.steps, known)]
        return thin(known, most)

    @property
    def credited_scorer(self) -> str:
        """The scorer's name where it is not the primary one and any number asked for depends on it, else ''."""
        files = {each for name, _ in self.asked for each in (name, *statements.macros(name))}
        texts = (statements.statement(each)[0] for each in files)
        scored = any(SCORED.search(re.sub("--.*", "", text)) for text in texts)
        return self.scorer if scored else ""

    def source_line(self) -> str:
        """Where the numbers come from, for a caption."""
        scorer = f"Scored by {self.credited_scorer}. " if self.credited_scorer else ""
        return (
            f"{self.slice_sentence}{scorer}Study “{self.study['name']}”, snapshot {int(self.study['snapshot'])} "
            f"(sha256 {str(self.study['content_hash'])[:12]})."
        )


@dataclass(frozen=True)
class Figure:
    """A figure before it is typeset.

    Attributes:
        draw: makes the chart with its panels so many points wide.
        panels: panels side by side.
        data: the rows shown.
        caption: what is seen, n, seeds, interval and method.
        table: the same as a printed table, where it is one.
    """

    draw: Draw
    data: pd.DataFrame
    caption: str
    panels: int = 1
    table: pd.DataFrame | None = None


def open_study(path: str, choice: Choice, tagged: Sequence[str] | None = None) -> FigureStudy:
    """The study at a results folder or database file, checked.

    Args:
        path: of the folder or file.
        choice: what the author chose.
        tagged: prompt_key of the prompts that have the tags of the slice; None = as the reviews beside the study say.

    Raises:
        SnapshotError: it cannot be shown.
        FigureError: the choice names something that the study does not have.
    """
    snapshot = snapshots.locate(Path(path))
    connection = snapshots.connect(snapshot.path, **snapshots.ONE_THREAD)
    snapshots.check(snapshot, asker_of(connection))
    return study_on(connection, path, snapshot, choice, tagged)


def asker_of(connection: duckdb.DuckDBPyConnection, scorer: int = 1) -> Callable[..., pd.DataFrame]:
    """Answers (name, **parameters) with the rows of app/database/sql/<name>.sql, by a scorer's numbers."""

    def asker(name: str, **parameters: Any) -> pd.DataFrame:
        return snapshots.answer(connection, name, parameters, scorer)

    return asker


def study_on(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    snapshot: Snapshot,
    choice: Choice,
    tagged: Sequence[str] | None = None,
) -> FigureStudy:
    """The study of a checked snapshot that is open, by the author's choice, its scorer among it.

    Raises:
        FigureError: the choice names something that the study does not have.
    """
    scorer = _scorer(choice, snapshots.scorers(asker_of(connection)))
    asker = asker_of(connection, scorer)
    return study_of(path, replace(snapshot, scorer=scorer), asker, choice, tagged)


def study_of(
    path: str,
    snapshot: Snapshot,
    asker: Callable[..., pd.DataFrame],
    choice: Choice,
    tagged: Sequence[str] | None = None,
) -> FigureStudy:
    """The study of a checked snapshot, by the author's choice.

    Args:
        path: as the author gave it.
        snapshot: the database; its scorer is the one that the choice names.
        asker: answers (name, **parameters) with the rows of app/database/sql/<name>.sql.
        choice: what the author chose.
        tagged: as of `open_study`.

    Raises:
        FigureError: the choice names something that the study does not have.
    """
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(name: str, **parameters: Any) -> pd.DataFrame:
        return _noted(asker, asked, name, **parameters)

    row = ask("study").iloc[0]
    if choice.pairs == "all" and shipped.named_only(str(row["environment"])):
        raise FigureError("--pairs: all: this study was shipped with the similarities of named concepts alone. Leave --pairs out.")  # fmt: skip
    models = with_unique_labels(ask("models"))
    concepts = ask("concepts").query("concept_id > 0")
    seeds = [int(seed) for seed in row["seeds"]]
    scope = _scope(choice, models, concepts, ask("categories")["category"].tolist(), seeds)
    metric = _metric(choice, ask)
    scope = replace(scope, prompts=_slice(path, choice, scope, ask, tagged), metric=metric)
    known = snapshots.scorers(asker)
    return FigureStudy(snapshot, row, models, concepts, scope, known, path, asker, choice, asked)


def _noted(
    asker: Callable[..., pd.DataFrame],
    asked: list[tuple[str, dict[str, Any]]],
    name: str,
    **parameters: Any,
) -> pd.DataFrame:
    _, wanted = statements.statement(name)
    asked.append((name, {k: v for k, v in parameters.items() if k in wanted}))
    return _settled(asker(name, **parameters))


def _scope(
    choice: Choice,
    models: pd.DataFrame,
    concepts: pd.DataFrame,
    categories: list[str],
    seeds: list[int],
) -> Scope:
    """The filters that an author chose, without the slice."""
    if choice.models:
        ids = [_model_id(models, name) for name in choice.models]
        models = models[models["model_id"].isin(ids)]
    families = list(dict.fromkeys(concepts["family"]))
    return chosen_scope(
        [int(i) for i in models["model_id"]],
        concepts,
        _chosen("families", choice.families, families),
        (_chosen("categories", choice.categories, categories), categories),
        (_chosen("seeds", choice.seeds, seeds), seeds),
    )


def _model_id(models: pd.DataFrame, name: str) -> int:
    rows = models[(models["label"] == name) | (models["name"] == name)]
    if rows.empty:
        known = ", ".join(models["label"])
        raise FigureError(f"--models: no model {name!r}. Allowed: {known}.")
    return int(rows["model_id"].iloc[0])


def _slice(
    path: str,
    choice: Choice,
    scope: Scope,
    ask: Callable[..., pd.DataFrame],
    tagged: Sequence[str] | None,
) -> tuple[int, ...] | None:
    """The prompts of the author's slice; None where there is none."""
    try:
        asked = slices.question(slices.parsed(choice.slice))
    except ValueError as error:
        raise FigureError(f"--slice: {error}") from error
    if asked is None:
        return None
    try:
        asked = slices.parameters(asked, store_of(Path(path)) if tagged is None else tagged)
    except ReviewError as error:
        raise FigureError(f"--slice: {error}") from error
    rows = ask(snapshots.source("slice_prompts", scope), **{**scope.parameters(), **asked})
    if rows.empty:
        raise FigureError(f"--slice: no prompt of this study: {slices.sentence(asked)}.")
    return tuple(int(each) for each in rows["prompt_id"])


def _scorer(choice: Choice, known: Mapping[str, int]) -> int:
    """The number of the scorer that the author named. Raises FigureError where there is none of that name."""
    if not choice.scorer:
        return 1
    if not known:
        raise FigureError(
            f"--scorer: {choice.scorer!r} is not available: this study has one scorer. Leave --scorer out."
        )
    return known[_chosen("scorer", (choice.scorer,), list(known))[0]]


def _metric(choice: Choice, ask: Callable[..., pd.DataFrame]) -> str:
    """The score that the author named, '' = the CLIP score. Raises FigureError where there is none of that name."""
    if not choice.metric:
        return ""
    return str(_chosen("metric", (choice.metric,), list(ask("metrics")["name"]))[0])


def spec_of(study: FigureStudy) -> dict[str, Any]:
    """The study file's values."""
    spec = json.loads(study.study["spec"])
    return spec if isinstance(spec, dict) else {}


def _settled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with floats to nine digits, which does not depend on the order of a sum."""
    floats = [c for c in rows.columns if pd.api.types.is_float_dtype(rows[c])]
    return rows.assign(**{c: [_nine(v) for v in rows[c]] for c in floats})


def _nine(value: float) -> float:
    return float(f"{value:.9g}")


def _chosen(option: str, chosen: Sequence[Any], known: Iterable[Any]) -> list[Any]:
    known = list(known)
    unknown = [value for value in chosen if value not in known]
    if unknown:
        some = ", ".join(str(v) or "''" for v in list(known)[:12]) or "none"
        raise FigureError(
            f"--{option}: {str(unknown[0])!r} is not in this study. Allowed: {some}"
            f"{' …' if len(known) > 12 else ''}."
        )
    return [value for value in known if value in chosen] if chosen else list(known)
