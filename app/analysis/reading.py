"""What a reader looks at: a study, the part of it that the filters leave, its labels. No Streamlit.

Pages and figures both are such a view, and every function of `app.analysis` that needs more than a table takes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from app.analysis import shipped
from app.database import snapshots
from app.database.snapshots import Scope, Snapshot

NO_CATEGORY = "(no category)"
WHOLE = "(whole prompt)"


@dataclass(frozen=True)
class StudyView:
    """A study as its reader filters it.

    Attributes:
        snapshot: the database version shown, and whose scorer's numbers.
        study: the study's row.
        every_model: all models of the study; label is unique.
        every_concept: concept_id, name and family of all concepts, without the whole prompt.
        scope: the filters as ids, for queries.
        scorers: name -> number of the study's scorers, the primary one first; none where there is only one.
    """

    snapshot: Snapshot
    study: pd.Series
    every_model: pd.DataFrame
    every_concept: pd.DataFrame
    scope: Scope
    scorers: Mapping[str, int]

    def ask(self, name: str, **parameters: Any) -> pd.DataFrame:
        """The rows of `app/database/sql/<name>.sql`; pages cache them, figures note the question."""
        raise NotImplementedError

    def ask_scope(self, name: str, scope: Scope | None = None, **parameters: Any) -> pd.DataFrame:
        """The same, with the filters as parameters; `parameters` override them."""
        filters = scope or self.scope
        return self.ask(snapshots.source(name, filters), **{**filters.parameters(), **parameters})

    @cached_property
    def models(self) -> pd.DataFrame:
        """The models that the filters leave, in the study's order."""
        return self.every_model[self.every_model["model_id"].isin(self.scope.models)]

    @cached_property
    def concepts(self) -> pd.DataFrame:
        """The concepts that the filters leave."""
        return self.every_concept[self.every_concept["concept_id"].isin(self.scope.concepts)]

    @property
    def families(self) -> list[str]:
        """The concept families that the filters leave, in the bank's order."""
        return list(dict.fromkeys(self.concepts["family"]))

    @cached_property
    def named_only(self) -> bool:
        """Whether the study was shipped without the similarities of concepts that a prompt does not name."""
        return shipped.named_only(str(self.study["environment"]))

    def counts_named(self, asked: bool) -> bool:
        """Whether concepts count only in prompts that name them: where that is asked for, if any prompt does, or nothing else is there."""
        return self.named_only or (asked and self.names_concepts)

    @cached_property
    def names_concepts(self) -> bool:
        """Whether any prompt that the filters leave names a concept, or only such pairs are there; else results can only be over all prompts."""
        return self.named_only or bool(self.ask_scope("named_pairs")["pairs"].iloc[0])

    @property
    def complete(self) -> bool:
        """Whether no sample of the study is missing or failed."""
        return bool(self.study["done_samples"] == self.study["planned_samples"])

    @property
    def scorer(self) -> str:
        """The name of the scorer whose numbers are shown; '' for the primary one."""
        number = self.snapshot.scorer
        return next((n for n, each in self.scorers.items() if each == number > 1), "")

    @cached_property
    def labels(self) -> dict[int, str]:
        """Each model's label by its model_id: the Models page asks for 66, which took 0.45 ms each of pandas."""
        models = self.every_model
        return dict(zip(models["model_id"].astype(int), models["label"].astype(str), strict=True))

    def label(self, model_id: int) -> str:
        """The model's label."""
        return self.labels[model_id]

    def labelled(self, data: pd.DataFrame) -> pd.DataFrame:
        """The rows with their model's label as `model` (looked up in 0.5 ms, where a merge took 1.9)."""
        model = data["model_id"].map(self.labels)
        return data.assign(model=model)[model.notna()].reset_index(drop=True)

    def with_concepts(self, data: pd.DataFrame) -> pd.DataFrame:
        """The rows of known concepts with their name as `concept`, and their family (looked up in a third of the time of a merge)."""
        at = pd.Index(self.every_concept["concept_id"]).get_indexer(data["concept_id"])
        known = data[at >= 0].reset_index(drop=True)
        named = self.every_concept.iloc[at[at >= 0]]
        return known.assign(concept=named["name"].array, family=named["family"].array)

    def with_whole_prompt(self, data: pd.DataFrame) -> pd.DataFrame:
        """The rows of known concepts as `with_concepts` gives them, those of the whole prompt (concept_id 0) first."""
        whole = data[data["concept_id"] == 0].assign(concept=WHOLE, family="")
        return pd.concat([whole, self.with_concepts(data)], ignore_index=True)

    def of(self, *model_ids: int) -> pd.DataFrame:
        """The rows of some models, in the study's order."""
        return self.every_model[self.every_model["model_id"].isin(model_ids)]


View = TypeVar("View", bound=StudyView)
"""A view of any kind, page or figure, which a narrowed one keeps."""


def shared_range(steps: pd.DataFrame, field: str) -> tuple[float, float]:
    """What all models reach on an axis: noise levels where all are comparable, else from the first step to the last of any.

    Args:
        steps: model_id and the field, of the models shown.
        field: step, progress, timestep or log_snr.
    """
    ends = steps.groupby("model_id")[field].agg(["min", "max"])
    if field in ("step", "progress") or ends["min"].max() >= ends["max"].min():
        return float(ends["min"].min()), float(ends["max"].max())
    return float(ends["min"].max()), float(ends["max"].min())


def default_axis(models: pd.DataFrame) -> str:
    """The axis to begin with: log-SNR where several models are compared, whose steps are not the same noise levels."""
    return "log_snr" if len(models) > 1 else "step"


def with_unique_labels(models: pd.DataFrame) -> pd.DataFrame:
    """The models with labels that no two share: a shared one gets the model's name."""
    shared = models["label"].duplicated(keep=False)
    if not shared.any():
        return models
    return models.assign(
        label=models["label"].where(~shared, models["label"] + " (" + models["name"] + ")")
    )


def chosen_scope(
    models: Sequence[int],
    concepts: pd.DataFrame,
    families: Sequence[str],
    categories: tuple[Sequence[str], Sequence[str]],
    seeds: tuple[Sequence[int], Sequence[int]],
) -> Scope:
    """The scope of a choice, without a slice.

    Args:
        models: model_id of those chosen.
        concepts: concept_id and family of all concepts.
        families: those chosen.
        categories: those chosen, and all of the study.
        seeds: those chosen, and all of the study.
    """
    chosen = concepts[concepts["family"].isin(families)]
    return Scope(
        tuple(int(i) for i in models),
        tuple(int(i) for i in chosen["concept_id"]),
        tuple(categories[0]),
        tuple(int(seed) for seed in seeds[0]),
        len(categories[1]),
        len(seeds[1]),
    )
