"""What the page Changes compares: an older snapshot by its date, a measure that both have, and what counts as altered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app.analysis import changes, comparison, measures
from app.analysis.definitions import Redefined
from app.analysis.measures import Measure
from app.database import snapshots
from app.ui import cards, links, queries, text
from app.ui.page import BIND, Page
from app.ui.queries import Snapshot, SnapshotError

CONCEPT_MEASURES = (comparison.FINAL, comparison.AREA, comparison.EMERGENCE["step"])


@dataclass(frozen=True)
class Compared:
    """A measure that both snapshots have.

    Attributes:
        title: what a reader sees.
        measure: with its direction; of a score, `metric` says which.
        family: of concepts, for a measure of concepts; '' = a score of images.
    """

    title: str
    measure: Measure
    family: str = ""


def snapshot(page: Page, older: Sequence[Path]) -> Snapshot | None:
    """The older snapshot to compare with; None, with a message, where it cannot be read or lacks the scorer."""
    labels = {_label(str(path), path.stat().st_mtime_ns): path for path in older}
    by_name = {path.stem: label for label, path in labels.items()}
    if st.query_params.get("since") in by_name:  # links of earlier versions named the file
        st.query_params["since"] = by_name[st.query_params["since"]]
    if st.session_state.get("since") not in labels:
        st.session_state.pop("since", None)
    chosen = st.selectbox("Compare with", list(labels), key="since", bind=BIND, width=360)
    before = queries.locate(labels.get(str(chosen), older[0]))
    try:
        queries.check(before)
    except SnapshotError as error:
        cards.empty(error.title, error.detail, icon=":material/database_off:")
        return None
    scorers: dict[str, int] = queries.scorers(before) if page.scorer else {"": 1}
    if page.scorer not in scorers:
        cards.empty(
            "That snapshot has no numbers of this scorer.",
            f"It was published without {text.plain(page.scorer)}. Choose another scorer under Filters.",
            icon=":material/straighten:",
        )
        return None
    return replace(before, scorer=scorers[page.scorer])


@st.cache_data(max_entries=512, show_spinner=False)
def _label(path: str, stamp: int) -> str:
    """A snapshot by its number, date and size: read once for each file, whose stamp is part of the key."""
    number = int(Path(path).stem.rpartition("-")[2])
    try:
        with snapshots.connect(path) as connection:
            row = snapshots.answer(connection, "study", {}).iloc[0]
        return f"Snapshot {number}, {row['published_at']:%d %b %Y %H:%M} UTC, {row['done_samples']:,} samples"
    except Exception:  # a file of any kind: choosing it says what is wrong with it
        return f"Snapshot {number}, which cannot be read"


def measure(page: Page, before: Snapshot, changed: Redefined) -> Compared | None:
    """The measure by which prompts are compared; None where the snapshots share none."""
    options = {each.title: each for each in _options(page, before, changed)}
    if not options:
        return None
    if st.session_state.get("change_measure") not in options:
        st.session_state.pop("change_measure", None)
    chosen = st.selectbox(
        "Measure",
        list(options),
        key="change_measure",
        bind=BIND,
        width=270,
        help="Scores and concept measures that both snapshots have under the same definition; the others are named below.",
    )
    return options.get(str(chosen), next(iter(options.values())))


def _options(page: Page, before: Snapshot, changed: Redefined) -> list[Compared]:
    """The chosen score first, then the other scores, then the families' measures."""
    ask = partial(queries.ask, before)
    there = {"", *(each.metric for each in measures.of_metrics(ask("metrics")))}
    if changed.scorer:
        there.discard("")
    scores = [s for s in measures.every_score(page) if s.metric in there - changed.metrics]
    scores.sort(key=lambda each: each.metric != page.scope.metric)
    options = [Compared(each.title, each) for each in scores]
    if changed.scorer:
        return options
    named = page.names_concepts
    return options + [
        Compared(comparison.family_title(each, family, named=named), each, family)
        for each in CONCEPT_MEASURES
        for family in page.families
    ]


def threshold() -> float:
    """From which difference on a sample counts as altered."""
    value = st.number_input(
        "Altered above",
        0.0,
        1e6,
        changes.THRESHOLD,
        step=0.001,
        format="%.4f",
        key="altered",
        bind=links.bound("altered"),
        width=150,
        help="A sample is altered, and a prompt worse or better, where its value differs by more than this, in the measure's "
        "own unit. Sampling on another machine moves a cosine by less than 0.0001.",
    )
    return float(value)


def within(page: Page, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows (model, prompt_key, seed) that the filters leave; prompts by the newer snapshot's categories and slice."""
    scope = page.scope
    kept = rows[rows["model"].isin(page.models["name"]) & rows["seed"].isin(scope.seeds)]
    if scope.prompts is None and len(scope.categories) == scope.total_categories:
        return kept
    return kept[
        kept["prompt_key"].isin(page.ask("scoped_keys", **scope.parameters())["prompt_key"])
    ]


def concept_rows(
    page: Page, before: Snapshot, changed: Redefined
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both snapshots' rows of change_concepts.sql within the filters; concepts and thresholds that differ are left out."""
    ids = queries.ask(before, "concepts").query("concept_id > 0")
    ids = ids[ids["family"].isin(page.families)]["concept_id"].tolist()
    every = queries.ask(before, "categories")["category"].tolist()
    asked = {"named": page.names_concepts, "slice": None}
    then = queries.ask(before, "change_concepts", categories=every, concepts=ids, **asked)
    now = page.ask("change_concepts", **{**page.scope.parameters(), "named": page.names_concepts})
    before_rows, now_rows = (_comparable(within(page, each), changed) for each in (then, now))
    return before_rows, now_rows


def _comparable(rows: pd.DataFrame, changed: Redefined) -> pd.DataFrame:
    """The rows without what is not measured alike in both snapshots."""
    names = pd.Series(
        list(zip(rows["family"], rows["concept"], strict=True)), index=rows.index, dtype=object
    )
    rows = rows[~names.isin(changed.concepts)]
    keys = pd.Series(
        list(zip(rows["model"], rows["family"], rows["concept"], strict=True)),
        index=rows.index,
        dtype=object,
    )
    return rows.assign(emergence=rows["emergence"].mask(keys.isin(changed.emergence)))
