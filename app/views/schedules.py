"""Schedules: what changes when the same model is sampled at other timesteps."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from app.analysis import comparison, schedules, slices, uncertainty, words
from app.charts import curves as curve_charts
from app.charts import words as word_charts
from app.charts.axes import AXES as ALL_AXES
from app.charts.axes import Axis
from app.charts.rows import forest
from app.charts.schedules import schedule_ticks
from app.ui import cards, choices, drawing, queries, role_panels, step_pictures, text
from app.ui.page import BIND, Page, current, header

AXES = ("Log-SNR", "Timestep", "Step")
SCHEDULE_HELP = (
    "Uniform: evenly spaced timesteps. Early: exponentially dense near the noise, where the layout forms. Late: "
    "dense near the image, where detail forms (Park et al. 2024). The timesteps are those that the scheduler used."
)
SIMILARITY_HELP = (
    "Cosine between the CLIP embeddings of the predicted clean image and of the concept's phrasings, -1 to 1. "
    "Higher means that the concept is seen more."
)
MOST_PROMPTS = 8


def show(page: Page) -> None:
    """The whole view."""
    header(
        "Schedules",
        "What does a timestep stand for? The same model under several timestep schedules.",
    )
    groups = schedules.comparable(page.models)
    if not groups:
        cards.empty(
            "No model was sampled under two schedules within these filters.",
            'Give the study a second entry of the same model with schedule = "early" or "late" (or another '
            "scheduler); data/studies/demo.toml shows how.",
            icon=":material/schedule:",
        )
        return
    every, (page, axis) = page, choose(page, groups)
    timesteps(page, axis)
    pictures(page)
    roles(page, axis)
    concepts(page, axis)
    scores(page, every)


def choose(page: Page, groups: dict[str, list[int]]) -> tuple[Page, Axis]:
    """The page, narrowed to the entries of one model, and the horizontal axis."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = next(iter(groups))
        if len(groups) > 1:
            name = st.selectbox("Model", list(groups), key="scheduled", bind=BIND, width=240)
        axis = st.segmented_control(
            "Horizontal axis",
            AXES,
            default=AXES[0],
            required=True,
            key="schedule_axis",
            bind=BIND,
            help="At the same timestep (or log-SNR) all schedules have the same amount of noise.",
        )
    ids = groups.get(str(name)) or next(iter(groups.values()))
    scope = replace(page.scope, models=tuple(ids))
    narrowed = replace(
        page,
        steps=page.steps[page.steps["model_id"].isin(ids)],
        scope=scope,
    )
    return narrowed, ALL_AXES[axis or AXES[0]]


def timesteps(page: Page, axis: Axis) -> None:
    """Where the steps of each schedule stand on the noise scale."""
    data = page.steps.merge(
        page.models[["model_id", "label", "scheduler", "schedule", "gamma"]], on="model_id"
    ).rename(columns={"label": "model"})
    ways = [
        f"{text.plain(row.label)}: {text.plain(row.scheduler)}, {text.plain(row.schedule)}"
        + (f" (gamma {row.gamma:g})" if pd.notna(row.gamma) else "")
        + _last_timestep(page, int(row.model_id))
        for row in page.models.itertuples()
    ]
    cards.figure(
        "Timesteps of each schedule",
        schedule_ticks(data, page.models, axis, look=page.look),
        data,
        f"One tick per denoiser call. {'; '.join(ways)}. A schedule whose last call is above t = 0 removes the noise of that "
        f"timestep in one last step. {drawing.STEP_CLICK}",
        key="timesteps",
        on_click=drawing.to_step(page),
        help=SCHEDULE_HELP,
    )


def _last_timestep(page: Page, model_id: int) -> str:
    """Where a schedule's last denoiser call stands: early and late sampling never reach t = 0."""
    steps = page.steps.loc[page.steps["model_id"] == model_id, "timestep"]
    return f", last call at t = {steps.iloc[-1]:.0f}" if len(steps) else ""


def pictures(page: Page) -> None:
    """The same prompts and seed under each schedule: final images, or those at the chosen step."""
    with cards.card(
        "The same prompts under each schedule",
        key="schedule_images",
        help="Same prompt, same initial noise, different timesteps.",
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            mode = st.segmented_control(
                "Show",
                ["Final image", "At the step"],
                default="Final image",
                required=True,
                key="schedule_mode",
                bind=BIND,
            )
            seed = choices.choose_seed(page)
        final = mode != "At the step"
        images = _images(page, seed, final=final)
        if images.empty:
            st.caption("No prompt is finished under every schedule, or no frames were recorded.")
            return
        if final:
            step_pictures.finals_sheet(page, images, "schedule_sheet")
        else:
            texts = dict(zip(images["prompt_id"], images["text"], strict=True))
            step_pictures.prompts_sheet(page, images, texts, "schedule_sheet")
        where = "Final images" if final else cards.step_text(page)
        st.caption(f"{where}, seed {seed}. Click an image to open its prompt.")


def _images(page: Page, seed: int, *, final: bool) -> pd.DataFrame:
    """The images of some prompts that every schedule has finished: the final ones, or those at the chosen step."""
    images = page.ask_scope("gallery", seed=seed, number=MOST_PROMPTS)
    if final or images.empty:
        return page.labelled(images)
    texts = dict(zip(images["prompt_id"], images["text"], strict=True))
    frames = page.ask_scope("frames_over", prompts=list(texts), seed=seed)
    return page.labelled(frames.assign(text=frames["prompt_id"].map(texts)))


def roles(page: Page, axis: Axis) -> None:
    """Word values per role, over the steps and averaged over them."""
    recorded = words.sources(page.ask_scope)
    if recorded.empty or role_panels.said_unknown(recorded["source"]):
        return
    source = words.default_source(recorded["source"])
    group = str(recorded.loc[recorded["source"] == source, "layer_group"].iloc[0])
    data = words.role_curves(page.ask_scope, source, group, total=True)
    if data.empty:
        return
    table = page.placed(page.labelled(data))
    what = "Word relevance" if source == "relevance" else "Attention"
    with cards.card(
        f"{what} per role under each schedule", key="schedule_roles", data=table, help=ROLE_HELP
    ):
        text.legend(page.models)
        role_panels.role_grid(page, table, source, axis)
        st.caption(
            f"Sum over a role's words within a prompt; mean over {text.count(int(table['prompts'].max()), 'prompt')}, "
            f"seeds averaged; band: 95 % t interval over prompts. {drawing.STEP_CLICK}"
        )
    bars = page.labelled(words.role_sums(page.ask_scope, source, group))
    cards.figure(
        f"{what} per role, mean over the steps",
        word_charts.role_bars(bars, page.models, f"{what}, mean over steps  ↑", look=page.look),
        bars,
        "Sum over a role's words within a prompt, mean over the measured steps (Park et al. 2024 sum over the steps; the "
        "mean does not depend on their number); 95 % t interval over prompts. Click a role to keep only prompts that "
        "have it, again for all.",
        key="role_sums",
        on_click=drawing.to_filter("slice_roles", "role", {role: role for role in slices.ROLES}),
        help=ROLE_HELP,
        models=page.models,
    )


ROLE_HELP = (
    "Words have roles: subject, relation, object, attribute; all others count as other. Relevance: attention "
    "weighted by its gradient (Chefer et al. 2021), scaled to 0..1 over the prompt's words within a step. Higher "
    "means that the role's words act more at that step."
)


def concepts(page: Page, axis: Axis) -> None:
    """Concept similarity over the noise scale under each schedule, a chart per family."""
    whole = queries.curves(page.snapshot, page.scope, [0]).assign(family=WHOLE)
    named = schedules.family_curves(
        page.ask_scope, page.scope.concepts, every_seed=page.scope.every_seed
    )
    data = pd.concat([whole[list(named)], named]) if len(named) else whole
    if data.empty:
        return
    table = page.placed(page.labelled(data))
    order = [WHOLE, *dict.fromkeys(page.concepts["family"])]
    families = [family for family in order if family in set(table["family"])][:MOST_FAMILIES]
    with cards.card(
        "Concept similarity under each schedule",
        key="schedule_concepts",
        data=table,
        help=SIMILARITY_HELP,
    ):
        text.legend(page.models)
        grid = st.grid(3, min_column_width=230)
        for number, family in enumerate(families):
            with grid.cell():
                st.markdown(f"**{text.plain(family.capitalize())}**")
                _family_chart(page, table[table["family"] == family], axis, number)
        st.caption(
            "Whole prompt: mean over all prompts. A family: mean over the prompts that name one of its concepts; the "
            "concepts that a prompt names, and its seeds, are averaged within it first. Band: 95 % t interval over "
            f"prompts. {drawing.STEP_CLICK}"
        )
        cards.clip_note(rows for family, rows in table.groupby("family") if family in families)


WHOLE = "whole prompt"
MOST_FAMILIES = 6


def _family_chart(page: Page, rows: pd.DataFrame, axis: Axis, number: int) -> None:
    drawing.draw(
        curve_charts.curves(
            rows,
            page.models,
            axis,
            "Similarity  ↑",
            marker=page.marker(axis),
            look=page.look,
            height=210,
        ),
        key=f"schedule_family{number}",
        on_click=drawing.to_step(page),
        alt=f"Similarity to the family {rows['family'].iloc[0]} under each schedule",
    )


def scores(page: Page, every: Page) -> None:
    """The chosen score of each schedule's final images, paired with the first schedule's.

    Args:
        page: narrowed to the entries of one model.
        every: with all models of the filters, which are the family of the tests.
    """
    first = int(page.models["model_id"].iloc[0])
    tests = comparison.score_tests(comparison.scores(every), first, page.score)
    table = page.labelled(tests[tests["model_id"].isin(page.scope.models)])
    if table.empty:
        return
    candidates = page.models[page.models["label"].isin(table["model"])]
    verdicts = "; ".join(
        f"{text.plain(r.model)}: {r.said}, {r.difference:+.3f} ({uncertainty.p_text(r.q)})"
        for r in table.itertuples()
    )
    drawn = table.assign(
        mean=table["difference"], significant=table["verdict"] == uncertainty.SEPARABLE
    )
    cards.figure(
        f"{text.plain(page.score.title)} of each schedule against {text.plain(page.label(first))}",
        forest(
            drawn,
            candidates,
            "measure",
            f"Difference in {page.score.title}  ({page.score.better} is better)",
            look=page.look,
            row_height=40,
        ),
        table,
        f"{verdicts}. Paired over {text.count(int(table['prompts'].max()), 'prompt')}; {uncertainty.PAIRED}. "
        f"{uncertainty.RULE} Paired t test, Holm over all pairs of models; hollow: not separable.",
        key="schedule_scores",
        models=candidates,
        help=text.plain(page.score.definition),
    )


show(current())
