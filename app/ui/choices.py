"""Choosing a prompt, a seed or a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from app.analysis import comparison
from app.analysis.reading import default_axis
from app.charts.axes import AXES, Axis
from app.ui.page import BIND, Page
from app.ui.text import plain, shorten


def choose_prompt(prompts: pd.DataFrame, key: str = "of") -> int:
    """One of the prompts (prompt_id, text), the same one on every page; its id.

    Args:
        key: of a second choice on a page.
    """
    texts = {
        int(i): f"{i}: {shorten(text, 80)}"
        for i, text in zip(prompts["prompt_id"], prompts["text"], strict=True)
    }
    if st.session_state.get(key) not in texts:
        st.session_state.pop(key, None)
    chosen = st.selectbox(
        "Prompt", list(texts), format_func=lambda i: texts[i], key=key, bind=BIND, width=520
    )
    return int(chosen) if chosen in texts else next(iter(texts))


def choose_seed(page: Page) -> int:
    """One of the seeds shown."""
    seeds = page.scope.seeds
    if len(seeds) < 2:
        return seeds[0]
    chosen = st.segmented_control(
        "Seed", seeds, default=seeds[0], required=True, key="seed", bind=BIND
    )
    return int(chosen if chosen is not None else seeds[0])


def choose_model(page: Page, key: str) -> int:
    """One of the models shown."""
    labels = dict(zip(page.models["label"], page.models["model_id"].astype(int), strict=True))
    if len(labels) == 1:
        return next(iter(labels.values()))
    chosen = st.selectbox("Model", list(labels), key=key, bind=BIND, width=240)
    return labels.get(chosen, next(iter(labels.values())))


def choose_one(
    label: str, options: Sequence[str], titles: Mapping[str, str], key: str, help: str
) -> str:
    """One of some options, the first by default; no choice where there is one."""
    if len(options) < 2:
        return options[0]
    chosen = st.segmented_control(
        label,
        options,
        format_func=lambda each: titles.get(each) or plain(each),
        default=options[0],
        required=True,
        key=key,
        bind=BIND,
        help=help,
    )
    return str(chosen or options[0])


NAMING = "Naming the concept"


def choose_axis(page: Page, options: tuple[str, ...] = ("Log-SNR", "Step", "Progress")) -> Axis:
    """What models are compared along; log-SNR to begin with where several are shown."""
    wanted = default_axis(page.models)
    default = next(name for name in options if AXES[name].field == wanted)
    chosen = st.segmented_control(
        "Horizontal axis",
        options,
        default=default,
        required=True,
        key="axis",
        bind=BIND,
        help=comparison.WHY_LOG_SNR,
    )
    return AXES[chosen or default]


def choose_pairs(page: Page) -> bool:
    """Whether a concept counts only in prompts that name it; no choice where none does, or no other pair is there."""
    if page.named_only or not page.names_concepts:
        return page.counts_named(True)
    chosen = st.segmented_control(
        "Prompts included",
        [NAMING, "All"],
        default=NAMING,
        required=True,
        key="which",
        bind=BIND,
        help="Prompts that name the concept, or all prompts: over all prompts the mean includes images that were not "
        "asked for the concept.",
    )
    return chosen != "All"


def pairs_text(named: bool) -> str:
    """Which prompts count for a concept, for a caption."""
    return "over the prompts that name the concept" if named else "over all prompts"


def axis_text(page: Page, axis: Axis) -> str:
    """What the axis compares, for a caption; with several timetables, why steps differ."""
    if axis.field == "log_snr":
        return "Compared at the same log-SNR."
    levels = page.steps.groupby("model_id")["log_snr"].agg(lambda levels: tuple(levels.round(6)))
    if levels.nunique() < 2:
        return ""
    return f"Compared by {axis.field}. {comparison.WHY_LOG_SNR}"
