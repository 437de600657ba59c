"""Timesteps: which concept appears when, and what the image looks like then."""

from __future__ import annotations

import streamlit as st

from app.analysis import shipped
from app.charts import axes as axes_charts
from app.charts.axes import Axis
from app.ui import cards, choices, concept_panels, emergence_panels, queries, step_pictures
from app.ui.page import BIND, Page, current, header
from app.ui.text import count, shorten

SECTIONS = {
    "images": "Images",
    "curves": "Curves",
    "emerged": "Families",
    "heat": "Heat map",
    "ranking": "Which first",
    "predict": "Settled",
}
"""The parts of the page that its first line leads to: anchor -> what a reader sees."""


def show(page: Page) -> None:
    """The whole view."""
    header("Timesteps", "Which concept appears when, and what the image looks like then.")
    if queries.ask_scope(page.snapshot, "any_trajectory", page.scope).empty:
        cards.empty(
            "No trajectory within these filters.",
            "Clear a filter. If all samples failed, there is none: the Overview shows why.",
        )
        return
    st.markdown(" · ".join(f"[{title}](#{anchor})" for anchor, title in SECTIONS.items()))
    images(page)
    axis, only_named = options(page)
    concept_panels.concept_curves(page, axis, only_named)
    concept_panels.score_curves(page, axis)
    concept_panels.emerged(page, axis, only_named)
    concept_panels.heat_map(page, axis, only_named)
    emergence_panels.ranking(page, axis, only_named)
    emergence_panels.predictability(page, axis, only_named)


def options(page: Page) -> tuple[Axis, bool]:
    """What the horizontal axis shows, and which prompts count."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        axis = choices.choose_axis(page, ("Log-SNR", "Step", "Progress", "Timestep"))
        return axis, choices.choose_pairs(page)


def images(page: Page) -> None:
    """Predicted clean images: many prompts at the chosen step, or one prompt over all steps."""
    prompts = queries.ask_scope(page.snapshot, "prompt_options", page.scope)
    texts = {
        int(i): f"{i}: {shorten(t, 70)}"
        for i, t in zip(prompts["prompt_id"], prompts["text"], strict=True)
    }
    with cards.card(
        "Predicted clean images",
        key="frames",
        anchor="images",
        help="The predicted clean image x0 at a step: the model's current estimate of the final image.",
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            mode = st.segmented_control(
                "Show",
                ["At the step", "Over the steps"],
                default="At the step",
                required=True,
                key="mode",
                bind=BIND,
            )
            seed = choices.choose_seed(page)
            chosen = st.multiselect(
                "Prompts",
                list(texts),
                format_func=lambda i: texts[i],
                key="shown",
                bind=BIND,
                placeholder=f"{min(8, len(texts))} spread over the set",
                max_selections=12,
            )
        ids = [int(i) for i in chosen] or _spread_over(
            page, list(texts), 8 if mode == "At the step" else 1
        )
        if mode == "At the step":
            _at_the_step(page, ids, texts, seed)
        else:
            for prompt_id in ids[:4]:
                _over_the_steps(page, prompt_id, texts[prompt_id], seed)


def _spread_over(page: Page, prompts: list[int], number: int) -> list[int]:
    """Some prompts spread over the set; of a shipped study, over those whose frames are there."""
    last = shipped.pictured(str(page.study["environment"]))
    framed = [prompt for prompt in prompts if last is None or prompt <= last] or prompts
    return [framed[i] for i in _spread(len(framed), number)]


def _spread(total: int, number: int) -> list[int]:
    return axes_charts.thin(range(total), number) if number > 1 else [0] * (total > 0)


def _at_the_step(page: Page, ids: list[int], texts: dict[int, str], seed: int) -> None:
    frames = queries.ask_scope(page.snapshot, "frames_over", page.scope, prompts=ids, seed=seed)
    if frames.empty:
        cards.empty(
            "No frames of these prompts and this seed.",
            shipped.left_out(str(page.study["environment"]))
            or "Choose other prompts, or record frames in the study's measures.",
        )
        return
    step_pictures.prompts_sheet(page, frames, {i: texts[i] for i in ids}, "sheet")
    st.caption(
        f"{cards.step_text(page)}. {count(len(ids), 'prompt')}, seed {seed}. "
        "Move the step at the bottom of the page; click an image to open its prompt."
    )


def _over_the_steps(page: Page, prompt_id: int, text: str, seed: int) -> None:
    frames = queries.ask_scope(
        page.snapshot, "prompt_frames", page.scope, prompt=prompt_id, seed=seed
    )
    st.text(text)
    if frames.empty:
        st.caption(
            "No frames of this prompt and seed: its samples failed, or the study records none."
        )
        return
    step_pictures.strip(page, frames, f"strip_{prompt_id}")


show(current())
