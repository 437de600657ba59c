"""Changes: what is different in this snapshot from an older one of the same study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import controls
import pandas as pd
import queries
import snapshot_changes as changes
import streamlit as st
import uncertainty
from controls import Page
from queries import Snapshot, SnapshotError

HELP = (
    "Difference of the CLIP score, this snapshot minus the older one, over the samples that both have; "
    f"{uncertainty.PAIRED}. Running on with more prompts or seeds leaves shared prompts as they were: a change there means "
    "that samples were made anew with another model, scheduler or environment."
)


def show(page: Page) -> None:
    """The whole view."""
    controls.header("Changes", "What is different from an older snapshot of this study.")
    found = changes.others(page.place, Path(page.snapshot.path))
    if not found:
        controls.empty(
            "This study has no other snapshot.",
            "Each publish makes one, gc removes old ones. Come back after the next run.",
            icon=":material/history:",
        )
        return
    older = choose(page, found)
    if older is None:
        return
    study, before = page.study, queries.ask(older, "study").iloc[0]
    facts(study, before)
    then, now = (queries.ask(each, "change_scores") for each in (older, page.snapshot))
    came_and_went(changes.names(then, now))
    models(changes.by_model(then, now))
    concepts(
        changes.by_concept(
            *(queries.ask(each, "change_concepts") for each in (older, page.snapshot))
        )
    )


def choose(page: Page, found: list[Path]) -> Snapshot | None:
    """The older snapshot to compare with, or None where it can't be read or lacks the scorer, which is said."""
    names = [path.stem for path in found]
    name = st.selectbox("Compare with", names, key="since", bind=controls.BIND)
    older = queries.locate(found[names.index(name)] if name in names else found[0])
    try:
        queries.check(older)
    except SnapshotError as error:
        controls.empty(error.title, error.detail, icon=":material/database_off:")
        return None
    scorers: dict[str, int] = queries.scorers(older) if page.scorer else {"": 1}
    if page.scorer not in scorers:
        controls.empty(
            "That snapshot has no numbers of this scorer.",
            f"It was published without {controls.plain(page.scorer)}. Choose another scorer in the sidebar.",
            icon=":material/straighten:",
        )
        return None
    return replace(older, scorer=scorers[page.scorer])


def facts(study: pd.Series, before: pd.Series) -> None:
    """Both snapshots' sizes, and whether their contents are the same."""
    with st.container(horizontal=True):
        for title, key in (
            ("Samples done", "done_samples"),
            ("Failed", "failed_samples"),
            ("Planned", "planned_samples"),
        ):
            change = int(study[key]) - int(before[key])
            better: Any = "inverse" if key == "failed_samples" else "normal"
            st.metric(
                title,
                f"{study[key]:,}",
                f"{change:+,}" if change else "as before",
                delta_color=better if change else "off",
                delta_arrow="auto" if change else "off",
                border=True,
            )
    same = study["content_hash"] == before["content_hash"]
    st.caption(
        f"Snapshot {int(before['snapshot'])}, {before['published_at']:%d %b %Y %H:%M} UTC, against snapshot "
        f"{int(study['snapshot'])}, {study['published_at']:%d %b %Y %H:%M} UTC. "
        + (
            "Their content hashes are equal: every sample is the same."
            if same
            else "Their content hashes differ."
        )
    )


def came_and_went(found: changes.Changed) -> None:
    """Models, prompts and seeds that are in one of the two."""
    lines = []
    for sign, models_, prompts, seeds in (
        ("New", found.more_models, found.more_prompts, found.more_seeds),
        ("Gone", found.fewer_models, found.fewer_prompts, found.fewer_seeds),
    ):
        parts = [controls.plain(", ".join(models_))] if models_ else []
        parts += [controls.count(prompts, "prompt")] if prompts else []
        parts += [f"seed {', '.join(map(str, seeds))}"] if seeds else []
        if parts:
            lines.append(f"**{sign}:** {'; '.join(parts)}")
    if lines:
        st.markdown("  \n".join(lines))


def models(table: pd.DataFrame) -> None:
    """Per model: samples then and now, and the scores of shared prompts."""
    with controls.card("By model", key="changes_models", data=table, help=HELP):
        number = st.column_config.NumberColumn
        st.dataframe(
            table,
            hide_index=True,
            alt="What changed by model",
            column_config={
                "model": st.column_config.TextColumn("Model", pinned=True),
                "done_then": "Done, then",
                "done_now": "now",
                "failed_then": "Failed, then",
                "failed_now": "now ",
                "score_then": number("CLIP score, then", format="%.4f"),
                "score_now": number("now  ", format="%.4f"),
                "shared": "Shared prompts",
                "altered": "of them altered",
                "difference": number("Difference", format="%+.4f"),
                "low": number("95 % from", format="%+.4f"),
                "high": number("to", format="%+.4f"),
            },
        )
        altered = int(table["altered"].sum())
        st.caption(
            "No shared prompt has another score than before."
            if not altered
            else f"{altered:,} scores of shared prompts are different: samples were made anew."
        )


def concepts(table: pd.DataFrame) -> None:
    """Per model and concept, the largest change first."""
    if table.empty:
        return
    with controls.card("By concept", key="changes_concepts", data=table):
        number = st.column_config.NumberColumn
        shown = ["model", "concept", "family", "prompts_then", "prompts_now"]
        shown += [f"{name}_{when}" for name in changes.MEASURES for when in ("now", "change")]
        st.dataframe(
            table[shown].head(500),
            hide_index=True,
            alt="What changed by concept",
            column_config={
                "model": st.column_config.TextColumn("Model", pinned=True),
                "concept": "Concept",
                "family": "Family",
                "prompts_then": "Prompts, then",
                "prompts_now": "now",
                "final_now": number("Final similarity", format="%.4f"),
                "final_change": number("change", format="%+.4f"),
                "auc_now": number("Area under the curve", format="%.3f"),
                "auc_change": number("change ", format="%+.3f"),
                "emergence_now": number("Emergence step, median", format="%.1f"),
                "emergence_change": number("change  ", format="%+.1f"),
            },
        )
        st.caption(
            "Means over all prompts of each snapshot; the largest change of the final similarity first."
        )


show(controls.current())
