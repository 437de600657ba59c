"""What a figure is made from: a snapshot, the author's choice, and what was asked of the database."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import charts
import pandas as pd
import slices
import snapshots
from snapshots import Scope, Snapshot
from typeset import Draw

# What another scorer would have other numbers of, as SQL names it.
SCORED = re.compile(r"\b(clip_score|trajectory|rollup_\w+|cell_\w+|correlation_\w+)\b")


class FigureError(Exception):
    """A figure that can't be made: what is wrong, which value, what is allowed."""


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
        score: clip, structure or fid, of insertion and deletion.
        source: attention or relevance, of word values.
        rows: how many rows (prompts, concepts) at most.
        slice: of the prompts, as `slices.tokens` writes it.
        scorer: name of the scorer whose similarities and scores are shown; the primary one where none is.
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

    def arguments(self) -> list[str]:
        """The choice as command-line arguments."""
        out: list[str] = []
        for each in fields(self):
            value = getattr(self, each.name)
            if value:
                values = value if isinstance(value, tuple) else (value,)
                out += [f"--{each.name}", *(str(v) for v in values)]
        return out


@dataclass
class FigureStudy:
    """A snapshot and a choice; it remembers every question, for the manifest.

    Attributes:
        place: as the author gave it.
        snapshot: the database.
        asker: answers (name, **parameters) with rows.
        choice: what the author chose.
        asked: (SQL file, parameters) in the order asked.
    """

    place: str
    snapshot: Snapshot
    asker: Callable[..., pd.DataFrame]
    choice: Choice
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.row = self.ask("study").iloc[0]
        self.every_model = _unique_labels(self.ask("models"))
        every_concept = self.ask("concepts")
        self.concept_names = dict(
            zip(every_concept["concept_id"].astype(int), every_concept["name"], strict=True)
        )
        self.every_concept = every_concept[every_concept["concept_id"] > 0]
        self.categories = self.ask("categories")["category"].tolist()
        self.scope = self._scope()
        self.models = self.every_model[self.every_model["model_id"].isin(self.scope.models)]
        self.concepts = self.every_concept[
            self.every_concept["concept_id"].isin(self.scope.concepts)
        ]

    def ask(self, name: str, **parameters: Any) -> pd.DataFrame:
        """The rows of `app/sql/<name>.sql`."""
        _, wanted = snapshots.statement(name)
        self.asked.append((name, {k: v for k, v in parameters.items() if k in wanted}))
        return _settled(self.asker(name, **parameters))

    def ask_scope(self, name: str, scope: Scope | None = None, **parameters: Any) -> pd.DataFrame:
        """The same, with the filters as parameters."""
        own = scope or self.scope
        return self.ask(snapshots.source(name, own), **{**own.parameters(), **parameters})

    def _scope(self) -> Scope:
        models = self.every_model
        if self.choice.models:
            ids = [self.model_id(given) for given in self.choice.models]
            models = models[models["model_id"].isin(ids)]
        concepts = self.every_concept
        families = list(dict.fromkeys(concepts["family"]))
        chosen = _chosen("families", self.choice.families, families)
        seeds = [int(seed) for seed in self.row["seeds"]]
        scope = Scope(
            tuple(int(i) for i in models["model_id"]),
            tuple(int(i) for i in concepts[concepts["family"].isin(chosen)]["concept_id"]),
            tuple(_chosen("categories", self.choice.categories, self.categories)),
            tuple(_chosen("seeds", self.choice.seeds, seeds)),
            len(self.categories),
            len(seeds),
        )
        return replace(scope, prompts=self._slice(scope))

    def _slice_sentence(self) -> str:
        asked = slices.question(slices.parsed(self.choice.slice))
        return "" if asked is None else f"Prompts: {slices.sentence(asked)}. "

    def _slice(self, scope: Scope) -> tuple[int, ...] | None:
        try:
            asked = slices.question(slices.parsed(self.choice.slice))
        except ValueError as error:
            raise FigureError(f"--slice: {error}") from error
        if asked is None:
            return None
        found = self.ask_scope("slice_prompts", scope, **asked)
        if found.empty:
            raise FigureError(f"--slice: no prompt of this study: {slices.sentence(asked)}.")
        return tuple(int(each) for each in found["prompt_id"])

    def model_id(self, given: str) -> int:
        """The model with this label or name.

        Raises:
            FigureError: there is none.
        """
        own = self.every_model[
            (self.every_model["label"] == given) | (self.every_model["name"] == given)
        ]
        if own.empty:
            known = ", ".join(self.every_model["label"])
            raise FigureError(f"--models: no model {given!r}. Allowed: {known}.")
        return int(own["model_id"].iloc[0])

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

    @property
    def named(self) -> bool:
        """Whether any prompt names a concept, so that only such prompts count for it."""
        pairs = self.ask_scope("named_pairs")["pairs"].iloc[0]
        return bool(pairs)

    def labelled(self, data: pd.DataFrame) -> pd.DataFrame:
        """The rows with their model's label as `model`."""
        return data.merge(self.every_model[["model_id", "label"]], on="model_id").rename(
            columns={"label": "model"}
        )

    def label(self, model_id: int) -> str:
        """A model's label."""
        return str(self.every_model.set_index("model_id")["label"][model_id])

    def of(self, *model_ids: int) -> pd.DataFrame:
        """The rows of some models, in the study's order."""
        return self.every_model[self.every_model["model_id"].isin(model_ids)]

    def curves(self, concepts: Sequence[int], *, named: bool = False) -> pd.DataFrame:
        """Mean similarity per (model, concept, step) with its interval."""
        return snapshots.curves(self.ask_scope, self.scope, concepts, named=named)

    def paired_grid(self, baseline: int, candidates: Sequence[int]) -> pd.DataFrame:
        """What `snapshots.paired_grid` gives."""
        complete = bool(self.row["done_samples"] == self.row["planned_samples"])
        return snapshots.paired_grid(
            self.ask_scope, self.scope, baseline, candidates, complete=complete
        )

    def pick_prompts(self, prompts: pd.DataFrame, most: int) -> pd.DataFrame:
        """The prompts that the author named, else the first ones.

        Args:
            prompts: prompt_id, prompt_key, text: those that have what the figure shows.
            most: rows at most, unless the author said.

        Raises:
            FigureError: a prompt that is not among them.
        """
        own = prompts.drop_duplicates("prompt_id")
        if self.choice.prompts:
            kept = own[
                own["prompt_id"].astype(str).isin(self.choice.prompts)
                | own["prompt_key"].isin(self.choice.prompts)
            ]
            if len(kept) < len(set(self.choice.prompts)):
                some = ", ".join(str(i) for i in own["prompt_id"].head(12))
                raise FigureError(
                    f"--prompts: not all of {', '.join(self.choice.prompts)} have what this figure "
                    f"shows. Prompts that have it: {some}{' …' if len(own) > 12 else ''}."
                )
            return kept
        return own.head(self.choice.rows or most)

    def pick_steps(self, steps: Sequence[int], most: int) -> list[int]:
        """The steps that the author named, else some that are evenly spread.

        Raises:
            FigureError: a step without what the figure shows.
        """
        known = sorted({int(step) for step in steps})
        if self.choice.steps:
            return [int(s) for s in _chosen("steps", self.choice.steps, known)]
        return charts.thin(known, most)

    @property
    def scorer(self) -> str:
        """The scorer's name where it is not the primary one and any number asked for depends on it, else ''."""
        texts = (snapshots.statement(name)[0] for name, _ in self.asked)
        scored = any(SCORED.search(re.sub("--.*", "", text)) for text in texts)
        return self.choice.scorer if scored and self.snapshot.scorer > 1 else ""

    def source_line(self) -> str:
        """Where the numbers come from, for a caption."""
        scorer = f"Scored by {self.scorer}. " if self.scorer else ""
        return (
            f"{self._slice_sentence()}{scorer}Study “{self.row['name']}”, snapshot {int(self.row['snapshot'])} "
            f"(sha256 {str(self.row['content_hash'])[:12]})."
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


def open_study(place: str, choice: Choice) -> FigureStudy:
    """The study at a results folder or database file, checked.

    Raises:
        SnapshotError: it can't be shown.
        FigureError: the choice names something that the study does not have.
    """
    snapshot = snapshots.locate(Path(place))
    # One thread: several add up floats in another order each time.
    connection = snapshots.connect(snapshot.path, threads="1")

    def asker(name: str, **parameters: Any) -> pd.DataFrame:
        return snapshots.answer(connection, name, parameters, snapshot.scorer)

    snapshots.check(snapshot, asker)
    snapshot = replace(snapshot, scorer=_scorer(choice, snapshots.scorers(asker)))
    return FigureStudy(place, snapshot, asker, choice)


def _scorer(choice: Choice, known: Mapping[str, int]) -> int:
    """The number of the scorer that the author named. Raises FigureError where there is none of that name."""
    if not choice.scorer:
        return 1
    if not known:
        raise FigureError(
            f"--scorer: {choice.scorer!r} can't be chosen: this study has one scorer. Leave it out."
        )
    return known[_chosen("scorer", (choice.scorer,), list(known))[0]]


def spec_of(study: FigureStudy) -> dict[str, Any]:
    """The study file's values."""
    found = json.loads(study.row["spec"])
    return found if isinstance(found, dict) else {}


def _settled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with floats to nine digits, which does not depend on the order of a sum."""
    floats = [c for c in rows.columns if pd.api.types.is_float_dtype(rows[c])]
    return rows.assign(**{c: [_nine(v) for v in rows[c]] for c in floats})


def _nine(value: float) -> float:
    return float(f"{value:.9g}")


def _chosen(option: str, given: Sequence[Any], known: Sequence[Any]) -> list[Any]:
    unknown = [value for value in given if value not in known]
    if unknown:
        some = ", ".join(str(v) or "''" for v in list(known)[:12]) or "none"
        raise FigureError(
            f"--{option}: {str(unknown[0])!r} is not in this study. Allowed: {some}"
            f"{' …' if len(known) > 12 else ''}."
        )
    return [value for value in known if value in given] if given else list(known)


def _unique_labels(models: pd.DataFrame) -> pd.DataFrame:
    shared = models["label"].duplicated(keep=False)
    return models.assign(
        label=models["label"].where(~shared, models["label"] + " (" + models["name"] + ")")
    )
