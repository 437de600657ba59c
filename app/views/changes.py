"""Changes: what is different in this snapshot from an older one of the same study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import changes, uncertainty
from app.analysis.measures import Measure
from app.ui import cards, queries, text
from app.ui.page import BIND, Page, current, header
from app.ui.queries import Snapshot, SnapshotError

HELP = (
    "Difference of the score, this snapshot minus the older one, over the samples that both have; "
    f"{uncertainty.PAIRED}, paired t test, p corrected by Holm over the models. Adding prompts or seeds does not change "
    "shared samples: a difference means that they were sampled again with another model, scheduler or environment."
)


def show(page: Page) -> None:
    """The whole view."""
    header("Changes", "What differs from an older snapshot of this study.")
    older_ones = changes.others(page.path, Path(page.snapshot.path))
    if not older_ones:
        cards.empty(
            "This study has no other snapshot.",
            "Each publish adds one; gc removes old ones. This page needs two.",
            icon=":material/history:",
        )
        return
    older = choose(page, older_ones)
    if older is None:
        return
    study, before = page.study, queries.ask(older, "study").iloc[0]
    facts(study, before)
    metric = page.scope.metric
    then, now = (
        queries.ask(each, "change_scores", metric=metric) for each in (older, page.snapshot)
    )
    added_and_removed(changes.names(then, now))
    models(changes.by_model(then, now), page.score)
    concepts(
        changes.by_concept(
            *(queries.ask(each, "change_concepts") for each in (older, page.snapshot))
        )
    )


def choose(page: Page, snapshots: list[Path]) -> Snapshot | None:
    """The older snapshot to compare with; None, with a message, where it cannot be read or lacks the scorer."""
    names = [path.stem for path in snapshots]
    name = st.selectbox("Compare with", names, key="since", bind=BIND)
    older = queries.locate(snapshots[names.index(name)] if name in names else snapshots[0])
    try:
        queries.check(older)
    except SnapshotError as error:
        cards.empty(error.title, error.detail, icon=":material/database_off:")
        return None
    scorers: dict[str, int] = queries.scorers(older) if page.scorer else {"": 1}
    if page.scorer not in scorers:
        cards.empty(
            "That snapshot has no numbers of this scorer.",
            f"It was published without {text.plain(page.scorer)}. Choose another scorer in the sidebar.",
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


def added_and_removed(changed: changes.Changed) -> None:
    """Models, prompts and seeds that are in one of the two."""
    lines = []
    for sign, models_, prompts, seeds in (
        ("Added", changed.more_models, changed.more_prompts, changed.more_seeds),
        ("Removed", changed.fewer_models, changed.fewer_prompts, changed.fewer_seeds),
    ):
        parts = [text.plain(", ".join(models_))] if models_ else []
        parts += [text.count(prompts, "prompt")] if prompts else []
        parts += [f"seed {', '.join(map(str, seeds))}"] if seeds else []
        if parts:
            lines.append(f"**{sign}:** {'; '.join(parts)}")
    if lines:
        st.markdown("  \n".join(lines))


def models(table: pd.DataFrame, score: Measure) -> None:
    """Per model: samples then and now, and the scores of shared prompts."""
    title = text.plain(score.title)
    with cards.card("By model", key="changes_models", data=table, help=HELP):
        if table["score_then"].isna().all():
            st.caption(f"The older snapshot has no {title}: differences need it in both.")
        number = st.column_config.NumberColumn
        st.dataframe(
            table.drop(columns="p").assign(q=table["q"].map(uncertainty.p_cell)),
            hide_index=True,
            alt="What changed by model",
            column_config={
                "model": st.column_config.TextColumn("Model", pinned=True),
                "done_then": "Done, then",
                "done_now": "now",
                "failed_then": "Failed, then",
                "failed_now": "now ",
                "score_then": number(f"{title}, then", format="%.4f"),
                "score_now": number("now  ", format="%.4f"),
                "shared": "Shared prompts",
                "altered": "of them altered",
                "verdict": "Verdict",
                "q": "p (Holm)",
                "difference": number("Difference", format="%+.4f"),
                "low": number("95 % from", format="%+.4f"),
                "high": number("to", format="%+.4f"),
            },
        )
        altered = int(table["altered"].sum())
        st.caption(
            "The scores of shared prompts are the same in both snapshots."
            if not altered
            else f"{altered:,} scores of shared prompts differ: these samples were sampled again."
        )


def concepts(table: pd.DataFrame) -> None:
    """Per model and concept, the largest change first."""
    if table.empty:
        return
    with cards.card("By concept", key="changes_concepts", data=table):
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
                "emergence_now": number("Emergence step, restricted mean", format="%.1f"),
                "emergence_change": number("change  ", format="%+.1f"),
            },
        )
        st.caption(
            "Means over all prompts of each snapshot; the largest change of the final similarity first."
        )


show(current())
