"""Overview: the study, its progress and its main results."""

from __future__ import annotations

import json

import pandas as pd
import streamlit as st

from app.analysis import comparison, emergence, shipped
from app.analysis.reading import default_axis, shared_range
from app.charts.axes import by_field
from app.charts.rows import bars
from app.charts.rows import emergence as emergence_chart
from app.ui import (
    answer_panels,
    cards,
    choices,
    drawing,
    queries,
    settings_panel,
    step_pictures,
    tables,
    watch_panel,
)
from app.ui import text as text_
from app.ui.page import Page, current

EMERGENCE_HELP = (
    "A concept is present at a step where its similarity exceeds that of prompts that do not name it by more than 95 % of "
    "such prompts do. It emerges at the first step from which it stays present; earlier is further left. Point: restricted "
    "mean over prompts; thick bar: its 95 % interval; thin line: quartiles over samples."
)


def show(page: Page) -> None:
    """The whole view."""
    study = page.study
    st.title(text_.plain(str(study["title"]) or str(study["name"])), anchor=False)
    scores = comparison.scores(page)
    answer_panels.answer(page)
    watch_panel.follow(page.path, finished=False)
    watch_panel.offer(page.path, "take_snapshot_here")  # the sidebar's is below the fold
    if scores.empty:
        cards.empty(
            "No sample is done within these filters.",
            "Clear a filter, or read the failures below.",
        )
    else:
        answer_panels.ranked(page, scores)
        answer_panels.others(page)
        order_of_emergence(page)
        gallery(page)
    about(page)
    coverage(page)
    models_and_settings(page)
    failures(page)


def about(page: Page) -> None:
    """What the study says of itself, and its size."""
    with st.container(key="about"):
        if page.study["description"]:
            st.text(str(page.study["description"]))
        if origin := shipped.sentence(str(page.study["environment"])):
            st.caption(f":material/inventory_2: {text_.plain(origin)}")
        facts(page)


def facts(page: Page) -> None:
    """One line of badges: the study's size."""
    study = page.study
    prompts = int(queries.ask(page.snapshot, "categories")["prompts"].sum())
    missing = int(study["planned_samples"] - study["done_samples"] - study["failed_samples"])
    with st.container(horizontal=True, gap="xsmall"):
        st.badge(
            text_.count(len(page.every_model), "model"),
            icon=":material/neurology:",
            color="gray",
        )
        st.badge(text_.count(prompts, "prompt"), icon=":material/notes:", color="gray")
        st.badge(text_.count(len(study["seeds"]), "seed"), icon=":material/casino:", color="gray")
        st.badge(f"{int(study['done_samples']):,} done", icon=":material/check:", color="green")
        if study["failed_samples"]:
            st.badge(
                f"{int(study['failed_samples']):,} failed", icon=":material/error:", color="red"
            )
        if missing:
            st.badge(f"{missing:,} missing", icon=":material/pending:", color="orange")


def order_of_emergence(page: Page) -> None:
    """The headline of a study: in which order kinds of concepts appear."""
    named, axis = page.names_concepts, by_field(default_axis(page.models))
    table = emergence.table(page, emergence.FAMILY, named=named, axis=axis.field)
    if table.empty:
        with cards.card("In what order concepts emerge", key="emergence"):
            st.caption(emergence.NOT_ENOUGH)
        return
    which = "concepts that the prompt names" if named else "all concepts (no prompt names one)"
    cards.figure(
        "In what order concepts emerge",
        emergence_chart(
            table,
            page.models,
            "family",
            limits=shared_range(page.steps, axis.field),
            axis=axis,
            look=page.look,
            row_height=52,
        ),
        table,
        f"Families of {which}, earliest on top; {text_.count(int(table['n'].max()), 'prompt')} × "
        f"{text_.count(len(page.scope.seeds), 'seed')}. {emergence.RESTRICTED}; 95 % t interval over prompts. "
        f"{choices.axis_text(page, axis)} {_shares(table)} Click a family to show only it, again to show all.",
        key="emergence",
        help=EMERGENCE_HELP,
        on_click=drawing.to_filter("families", "family"),
        models=page.models,
    )


def _shares(table: pd.DataFrame) -> str:
    """The outcomes over families and models, in a sentence."""
    start, never = table["start_share"], table["never_share"]
    return (
        f"There from the start: {start.min():.0%} to {start.max():.0%}; never: {never.min():.0%} to {never.max():.0%} "
        "(tooltips)."
    )


def gallery(page: Page) -> None:
    """A few final images, the same prompts for every model; a click opens the prompt."""
    seed = page.scope.seeds[0]
    images = queries.ask_scope(page.snapshot, "gallery", page.scope, seed=seed, number=8)
    if images.empty:
        return
    images = page.labelled(images.drop(columns="model"))
    images["text"] = [text_.shorten(text) for text in images["text"]]
    with cards.card("Final images", key="gallery", data=images):
        step_pictures.finals_sheet(page, images, "gallery_sheet")
        st.caption(
            f"The same prompts and seed ({seed}) for every model, spread over the set. Click an image to open its prompt."
        )


def models_and_settings(page: Page) -> None:
    """The models and their settings, the scorer and the environment."""
    with cards.card(
        "Models and settings", key="studied", data=page.models, help=settings_panel.TRIAL
    ):
        settings_panel.show(page)
        versions = environment(str(page.study["environment"]))
        st.caption(text_.plain(f"Scored by {page.study['scorer']}. {versions}"))


def environment(text: str) -> str:
    """The versions and device, on one line."""
    try:
        known = json.loads(text)
    except ValueError:
        return ""
    return (
        ", ".join(f"{key} {value}" for key, value in known.items() if isinstance(value, str | int))
        if isinstance(known, dict)
        else ""
    )


def coverage(page: Page) -> None:
    """Planned, done, failed and missing samples per model."""
    table = queries.ask_scope(page.snapshot, "coverage", page.scope)
    long = page.labelled(table).melt(
        id_vars=["model"],
        value_vars=["done", "failed", "missing"],
        var_name="state",
        value_name="samples",
    )
    long["place"] = long["state"].map({"done": 0, "failed": 1, "missing": 2})
    seconds = table["seconds_per_sample"].dropna()
    pace = f" {seconds.mean():.2f} s per sample on average." if len(seconds) else ""
    cards.figure(
        "Coverage",
        bars(long, page.models),
        table,
        f"{text_.count(int(table['planned'].iloc[0]) if len(table) else 0, 'sample')} "
        f"planned per model within the filters.{pace} Click a model to show only it, again to show all.",
        key="coverage",
        on_click=drawing.to_filter("models", "model"),
    )


def failures(page: Page) -> None:
    """What failed and why, and the notices of the other samples."""
    failed = queries.ask_scope(page.snapshot, "failures", page.scope)
    notices = queries.ask_scope(page.snapshot, "notices", page.scope)
    if len(failed):
        with cards.card("Failures", key="failures", data=failed):
            tables.show(
                failed,
                alt="Failed samples by reason",
                column_config={
                    "model": "Model",
                    "stage": "Stage",
                    "error": "Reason",
                    "samples": "Samples",
                    "tries": "Tries",
                    "first_prompt": "First prompt",
                },
            )
            st.caption("Run the study again to retry them; finished samples are kept.")
    if len(notices):
        with cards.card("Notices", key="notices", data=notices):
            tables.show(
                notices,
                alt="Notices",
                column_config={"notice": "Notice", "samples": "Samples", "prompts": "Prompts"},
            )


show(current())
