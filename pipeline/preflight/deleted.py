"""Checkpoints that a trainer has deleted since they were sampled: their finished images stay in the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.study.plan import Plan, Revisions
from pipeline.study.spec import ModelSpec


def with_deleted(plan: Plan, results: Results) -> Plan:
    """The plan with the checkpoints of its training runs that a results folder has finished and whose folders are gone.

    Args:
        plan: of the study as it is now.
        results: where an earlier run of it is, if there was one.

    Raises:
        StoreError: the folder's record cannot be read.
    """
    runs = {model.run for model in plan.study.models if model.run}
    if not runs or not results.study.is_file():
        return plan
    before, names = load_plan(results), {model.name for model in plan.study.models}
    gone = [
        model
        for model in before.study.models
        if model.run in runs and model.name not in names and _is_gone(model)
    ]
    entries = results.read_ledger().entries
    wider = _with(plan, gone, before.revisions)
    finished = [
        model
        for model in gone
        if all((entry := entries.get(work_unit.unit_id)) and entry.status == "done" for work_unit in wider.of_model(model))
    ]  # fmt: skip
    return _with(plan, finished, before.revisions) if finished else plan


def _is_gone(model: ModelSpec) -> bool:
    """Whether the checkpoint's folder, or one of its adapters, is no longer there."""
    sources = [each.source for each in model.adapters or ()] or [model.source]
    return not all(Path(source).exists() for source in sources)


def _with(plan: Plan, gone: Sequence[ModelSpec], before: Revisions) -> Plan:
    """The plan with more models, those of a run by training step where its first one stands."""
    models = list(plan.study.models)
    for model in gone:
        at = next(i for i, each in enumerate(models) if each.run == model.run)
        later = (i for i, each in enumerate(models) if each.run == model.run and (each.training_step or 0) < (model.training_step or 0))  # fmt: skip
        models.insert(max((i + 1 for i in later), default=at), model)
    revisions = replace(
        plan.revisions,
        models={**_revisions(gone, before), **plan.revisions.models},
    )  # fmt: skip
    return Plan(
        replace(plan.study, models=tuple(models)), revisions, plan.prompts, plan.bank, plan.version, plan.duplicates, plan.definitions
    )  # fmt: skip


def _revisions(models: Sequence[ModelSpec], before: Revisions) -> dict[str, str]:
    """Those of models, and of what they are put together from ("NAME/steps_decoder")."""
    names = {model.name for model in models}
    return {key: value for key, value in before.models.items() if key.split("/")[0] in names}
