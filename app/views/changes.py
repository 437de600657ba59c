"""Changes: which prompts became worse since an older snapshot of the study, by how much, and how certain that is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app.analysis import changes
from app.analysis.definitions import definitions_of, redefined
from app.ui import cards, change_choice, change_panels, queries, text
from app.ui.change_choice import CONCEPT_MEASURES, Compared
from app.ui.page import Page, current, header
from app.ui.queries import Snapshot

Rows = tuple[pd.DataFrame, pd.DataFrame]


def show(page: Page) -> None:
    """The whole view."""
    header(
        "Changes", "Which prompts became worse since an older snapshot, and how certain is that?"
    )
    older = changes.others(page.path, Path(page.snapshot.path))
    if not older:
        cards.empty(
            "This study has no earlier snapshot.",
            "Each publish adds one; gc removes old ones. This page needs two.",
            icon=":material/history:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        before = change_choice.snapshot(page, older)
        if before is None:
            return
        then, now = (definitions_of(partial(queries.ask, each)) for each in (before, page.snapshot))
        labels = dict(zip(page.every_model["name"], page.every_model["label"], strict=True))
        changed = redefined(then, now, labels)
        compared = change_choice.measure(page, before, changed)
        threshold = change_choice.threshold()
    if compared is None:
        change_panels.not_compared(changed)
        return
    counts = scores(page, before, compared)
    concepts = ([], []) if changed.scorer else change_choice.concept_rows(page, before, changed)
    answer(page, before, compared, (counts, concepts), threshold)
    if not changed.scorer:
        concept_changes(page, concepts)
    change_panels.not_compared(changed)
    facts(page.study, then.study)


def scores(page: Page, before: Snapshot, compared: Compared) -> Rows:
    """The rows of change_scores.sql of both snapshots within the filters, with the chosen score."""
    metric = compared.measure.metric if not compared.family else ""
    then, now = (
        change_choice.within(page, queries.ask(each, "change_scores", metric=metric))
        for each in (before, page.snapshot)
    )
    return then, now


def answer(
    page: Page, before: Snapshot, compared: Compared, rows: tuple[Rows, Rows], threshold: float
) -> None:
    """A sentence for each model, the prompts that changed most, and the models' table."""
    (then, now), concepts = rows
    values = (then, now)
    if compared.family:
        values = changes.family_rows(*concepts, compared.measure.column, compared.family)
        values = _with_counts(then, values[0]), _with_counts(now, values[1])
    table = changes.by_model(*values, compared.measure, threshold)
    change_panels.findings(page, table, compared)
    added_and_removed(page, changes.names(then, now))
    change_panels.worst(
        page, before, changes.prompts(*values, compared.measure, threshold), compared
    )
    change_panels.models(page, table, compared)


def _with_counts(counts: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """The samples with a measure of a family in place of their score."""
    return counts.drop(columns="score").merge(values, on=changes.PAIR, how="left")


def concept_changes(page: Page, rows: Rows) -> None:
    """The table of concepts: every measure of every concept that both snapshots measure alike."""
    table = changes.by_concept(*rows, CONCEPT_MEASURES)
    change_panels.concepts(page, table)


def facts(study: pd.Series, before: pd.Series) -> None:
    """Both snapshots' dates and sizes, and whether their contents are the same."""
    same = study["content_hash"] == before["content_hash"]
    sizes = [
        f"snapshot {int(each['snapshot'])} of {each['published_at']:%d %b %Y %H:%M} UTC "
        f"({int(each['done_samples']):,} of {int(each['planned_samples']):,} samples, {int(each['failed_samples']):,} failed)"
        for each in (before, study)
    ]
    st.caption(
        f"From {sizes[0]} to {sizes[1]}. "
        + (
            "Their content hashes are equal: every sample is the same."
            if same
            else "Their content hashes differ."
        )
    )


def added_and_removed(page: Page, changed: changes.Changed) -> None:
    """Models, prompts and seeds that are in one of the two."""
    lines = []
    for sign, models, prompts, seeds in (
        ("Added", changed.more_models, changed.more_prompts, changed.more_seeds),
        ("Removed", changed.fewer_models, changed.fewer_prompts, changed.fewer_seeds),
    ):
        parts = (
            [", ".join(text.plain(change_panels.label_of(page, name)) for name in models)]
            if models
            else []
        )
        parts += [text.count(prompts, "prompt")] if prompts else []
        parts += [f"seed {', '.join(map(str, seeds))}"] if seeds else []
        if parts:
            lines.append(f"{sign}, and not compared: {'; '.join(parts)}.")
    if lines:
        st.caption(" ".join(lines))


show(current())
