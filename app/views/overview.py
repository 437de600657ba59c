"""Overview: what was studied, how much of it is there, and what came out."""

from __future__ import annotations

import itertools
import json
from typing import Any

import charts
import controls
import numpy as np
import pandas as pd
import queries
import streamlit as st
import uncertainty
import watch_panel
from controls import Page

SCORE_HELP = (
    "CLIP score: cosine between the CLIP embeddings of the final image and of its "
    "prompt, -1 to 1. Higher is better. "
    "Seeds are averaged within a prompt first; the interval is over prompts."
)
CARDS = 4  # of models, at most, in a row
MOST_TICKS = 4000  # a chart of a tick for each of 100,000 scores was 10 MB for the browser
EMERGENCE_HELP = (
    "A concept emerges at the first step after which its similarity stays above half "
    "of its total rise. Earlier is "
    "further left. Point: mean over prompts; thick bar: its 95 % interval; thin line: "
    "quartiles over samples."
)


def show(page: Page) -> None:
    """The whole view."""
    study = page.study
    controls.header(
        str(study["title"]) or str(study["name"]),
        "What was studied, how much of it is there, and what came out.",
    )
    if study["description"]:
        st.text(str(study["description"]))
    scores = queries.ask_scope(page.snapshot, "scores", page.scope)
    facts(page)
    watch_panel.follow(page.place, finished=False)
    watch_panel.offer(page.place, "take_snapshot_here")  # the sidebar's is below the fold
    if scores.empty:
        controls.empty(
            "No sample is done within these filters.",
            "Clear a filter, or look at the failures below: they say why nothing came out.",
        )
    else:
        score_cards(page, scores)
        left, right = st.columns([1, 1])
        with left:
            verdict(page, scores)
        with right:
            order_of_emergence(page)
        gallery(page)
    left, right = st.columns([3, 2])
    with left:
        what_was_studied(page)
    with right:
        coverage(page)
    failures(page)


def facts(page: Page) -> None:
    """One line of badges: the study's size."""
    study = page.study
    prompts = int(queries.ask(page.snapshot, "categories")["prompts"].sum())
    missing = int(study["planned_samples"] - study["done_samples"] - study["failed_samples"])
    with st.container(horizontal=True, gap="xsmall"):
        st.badge(
            controls.count(len(page.every_model), "model"),
            icon=":material/neurology:",
            color="gray",
        )
        st.badge(controls.count(prompts, "prompt"), icon=":material/notes:", color="gray")
        st.badge(
            controls.count(len(study["seeds"]), "seed"), icon=":material/casino:", color="gray"
        )
        st.badge(f"{int(study['done_samples']):,} done", icon=":material/check:", color="green")
        if study["failed_samples"]:
            st.badge(
                f"{int(study['failed_samples']):,} failed", icon=":material/error:", color="red"
            )
        if missing:
            st.badge(f"{missing:,} missing", icon=":material/pending:", color="orange")


def score_cards(page: Page, scores: pd.DataFrame) -> None:
    """A metric card per model: CLIP score with its interval, and how it grows over the steps."""
    whole = queries.curves(page.snapshot, page.scope, [0])
    models = list(zip(page.models["model_id"].tolist(), page.models["label"], strict=True))
    rows = -(-len(models) // CARDS)
    for row in np.array_split(np.arange(len(models)), max(1, rows)):  # rows of like length
        with st.container(horizontal=True):
            for model_id, label in (models[index] for index in row):
                path = whole[whole["model_id"] == model_id]["mean"].round(4).tolist()
                _score_card(label, model_id, scores[scores["model_id"] == model_id]["score"], path)


def _score_card(label: str, model_id: int, scores: pd.Series, path: list[float]) -> None:
    interval = uncertainty.t_interval(scores)
    half = (interval.high - interval.low) / 2
    count = controls.count(interval.n, "prompt")
    st.metric(
        f"{controls.model_mark(model_id)} {controls.plain(label)}",
        f"{interval.estimate:.3f}" if interval.n else "n/a",
        f"± {half:.3f} (95 %), {count}" if interval.n > 1 else count,
        delta_color=controls.model_hue(model_id),
        delta_arrow="off",
        border=True,
        chart_data=path or None,
        chart_type="area",
        help=controls.with_definition(
            SCORE_HELP + " The line is the similarity to the prompt over the denoising steps.",
            "verdict",
        ),
    )


def verdict(page: Page, scores: pd.DataFrame) -> None:
    """Which model follows its prompts better, and whether that can be told apart from chance."""
    rows = [_mean_row(page, int(m), scores) for m in page.models["model_id"]]
    means = pd.DataFrame([row for row in rows if row["prompts"]])
    drawn = scores if len(scores) <= MOST_TICKS else scores.sample(MOST_TICKS, random_state=0)
    chart = charts.score_strip(
        page.labelled(drawn),
        means,
        page.models,
        "CLIP score  (higher is better →)",
    )
    with controls.card(
        "Which model follows its prompts better",
        key="verdict",
        data=page.labelled(scores),
        help=SCORE_HELP,
    ):
        for sentence in sentences(page, scores):
            st.markdown(sentence)
        event = controls.draw(
            chart,
            key="verdict",
            on_select="rerun",
            alt="CLIP score per prompt and its mean per model",
        )
        controls.open_prompt(event)
        st.caption(
            "One tick per prompt "
            f"({controls.count(int(scores['prompt_id'].nunique()), 'prompt')}, seeds "
            f"averaged{'' if len(drawn) == len(scores) else f'; {len(drawn):,} of {len(scores):,} ticks drawn'}); bar: 95 % t interval of the "
            "mean. Pairs: mean paired difference, "
            f"{uncertainty.PAIRED}, Wilcoxon signed-rank, Holm-corrected. Click a tick to open its prompt."
        )


def _mean_row(page: Page, model_id: int, scores: pd.DataFrame) -> dict[str, Any]:
    interval = uncertainty.t_interval(scores[scores["model_id"] == model_id]["score"])
    return {
        "model": page.label(model_id),
        "mean": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "prompts": interval.n,
    }


def sentences(page: Page, scores: pd.DataFrame) -> list[str]:
    """One sentence per pair of models, the clearest first; at most four."""
    wide = scores.pivot(index="prompt_id", columns="model_id", values="score")
    pairs = list(itertools.combinations(wide.columns, 2))
    if not pairs:
        return ["Only one model is shown: there is nothing to compare it with."]
    results = [controls.compare(wide[a], wide[b]) for a, b in pairs]
    corrected = uncertainty.holm([result.p for result in results])
    told = sorted(zip(pairs, results, corrected, strict=True), key=lambda row: -abs(row[1].d_z))
    return [_sentence(page, pair, result, float(p)) for pair, result, p in told[:4]]


def _sentence(page: Page, pair: tuple[int, int], result: uncertainty.Paired, p: float) -> str:
    better, worse = pair[::-1] if result.difference.estimate > 0 else pair
    names = controls.plain(page.label(int(better))), controls.plain(page.label(int(worse)))
    gap = sorted((abs(result.difference.low), abs(result.difference.high)))
    if result.difference.excludes_zero and p < 0.05:
        wins = max(result.win_rate, 1 - result.win_rate)
        return (
            f"{controls.model_mark(int(better))} **{names[0]}** beats **{names[1]}** by "
            f"{abs(result.difference.estimate):.3f} "
            f"[{gap[0]:.3f}, {gap[1]:.3f}], on {wins:.0%} of prompts ({uncertainty.p_text(p)})"
        )
    return (
        f":gray[○] **{names[0]}** and **{names[1]}** can't be told apart: "
        f"{result.difference.estimate:+.3f} "
        f"[{result.difference.low:+.3f}, {result.difference.high:+.3f}] ({uncertainty.p_text(p)})"
    )


def order_of_emergence(page: Page) -> None:
    """The headline of a study: in which order kinds of concepts appear."""
    named = bool(queries.ask_scope(page.snapshot, "named_pairs", page.scope)["pairs"].iloc[0])
    data = queries.ask_scope(page.snapshot, "emergence_family", page.scope, named=named)
    data = data[data["n"] > 0]
    if data.empty:
        with controls.card("In what order concepts emerge", key="emergence"):
            st.caption(
                "No concept emerges within these filters: no similarity rises by more "
                "than the noise between seeds."
            )
        return
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["n"])
    table = page.labelled(data.assign(low=low, high=high))
    order = table.groupby("family")["mean"].mean().sort_values().index.tolist()
    table["family"] = pd.Categorical(table["family"], order)
    table = table.sort_values(["family", "model_id"]).astype({"family": str})
    chart = charts.emergence(
        table, page.models, "family", last_step=page.last_step, look=page.look, row_height=52
    )
    which = "concepts that the prompt names" if named else "all concepts (no prompt names one)"
    controls.figure(
        "In what order concepts emerge",
        chart,
        table,
        f"Families of {which}, earliest on top; "
        f"{controls.count(int(data['prompts'].max()), 'prompt')} × "
        f"{controls.count(len(page.scope.seeds), 'seed')}. 95 % t interval over prompts. "
        "Click a family to show only it, again to show all.",
        key="emergence",
        help=EMERGENCE_HELP,
        on_click=controls.to_filter("families", "family"),
        models=page.models,
    )


def gallery(page: Page) -> None:
    """A few final images, the same prompts for every model; a click opens the prompt."""
    seed = page.scope.seeds[0]
    images = queries.ask_scope(page.snapshot, "gallery", page.scope, seed=seed, number=8)
    if images.empty:
        return
    images = page.labelled(images.drop(columns="model"))
    images["text"] = [controls.shorten(text) for text in images["text"]]
    event = controls.figure(
        "Final images",
        charts.contact_sheet(images, page.models, fewer=True, look=page.look),
        images,
        f"The same prompts and seed ({seed}) for every model, spread over the set. "
        "Click an image to open its prompt.",
        key="gallery",
        on_select="rerun",
    )
    controls.open_prompt(event)


def what_was_studied(page: Page) -> None:
    """The models and their settings, the scorer and the environment."""
    columns = [
        "label",
        "pipeline",
        "scheduler",
        "schedule",
        "steps",
        "guidance",
        "prediction_type",
        "dtype",
        "parameters",
        "source",
        "revision",
    ]
    table = page.models[columns].assign(parameters=page.models["parameters"] / 1e6)
    with controls.card("What was studied", key="studied", data=page.models):
        st.dataframe(
            table,
            hide_index=True,
            alt="Models and their settings",
            column_config={
                "label": st.column_config.TextColumn("Model", pinned=True),
                "pipeline": "Pipeline",
                "scheduler": "Scheduler",
                "schedule": "Schedule",
                "steps": "Steps",
                "guidance": st.column_config.NumberColumn("Guidance", format="%.1f"),
                "prediction_type": "Prediction",
                "dtype": "Precision",
                "parameters": st.column_config.NumberColumn("Denoiser", format="%.1f M"),
                "source": "Source",
                "revision": "Revision",
            },
        )
        made = environment(str(page.study["environment"]))
        st.caption(controls.plain(f"Scored by {page.study['scorer']}. {made}"))


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
    controls.figure(
        "Coverage",
        charts.bars(long, page.models),
        table,
        f"{controls.count(int(table['planned'].iloc[0]) if len(table) else 0, 'sample')} "
        f"planned per model within the filters.{pace} Click a model to show only it, again to show all.",
        key="coverage",
        on_click=controls.to_filter("models", "model"),
    )


def failures(page: Page) -> None:
    """What failed and why; what was odd about the rest."""
    failed = queries.ask_scope(page.snapshot, "failures", page.scope)
    notices = queries.ask_scope(page.snapshot, "notices", page.scope)
    if len(failed):
        with controls.card("Failures", key="failures", data=failed):
            st.dataframe(
                failed,
                hide_index=True,
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
            st.caption("Running the study again retries them; what is done is kept.")
    if len(notices):
        with controls.card("Notices", key="notices", data=notices):
            st.dataframe(
                notices,
                hide_index=True,
                alt="Notices",
                column_config={"notice": "Notice", "samples": "Samples", "prompts": "Prompts"},
            )


show(controls.current())
