"""Words: how much each word of the prompt acts at each step, and each role over the prompt set."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.analysis import words as analysis
from app.charts import grids
from app.charts import words as word_charts
from app.charts.axes import AXES
from app.ui import (
    cards,
    choices,
    concept_share_panels,
    drawing,
    information_panels,
    queries,
    role_panels,
    text,
)
from app.ui.page import BIND, Page, current, header

SOURCES = {
    "attention": "Attention",
    "relevance": "Relevance",
}
SOURCE_HELP = (
    "Attention: share of the softmax attention that image positions give to a word, among the prompt's words, "
    "0 to 1. Relevance: attention weighted by its gradient and propagated through the layers (Chefer et al. 2021), "
    "min-max scaled over the prompt's words within a step, 0 to 1. Higher means that the word acts more."
)
ROLE_HELP = (
    "Words have roles: subject, relation, object, attribute; all others count as other. Sum: what the words of a "
    "role get in total, as in Park et al. 2024. Per word: their mean, which does not depend on their number."
)
MOST_LINES = 8


def show(page: Page) -> None:
    """The whole view."""
    header("Words", "How much does each word of the prompt act at each step?")
    sources, informed = analysis.sources(page.ask_scope), information_panels.measured(page)
    if len(sources):
        followed(page, sources)
    shared = concept_share_panels.shown(page)
    if informed:
        information_panels.show(page)
    if sources.empty and not informed and not shared:
        cards.empty(
            "No word values within these filters.",
            "Add attention, relevance, information or concept-attention to the measures of the study file and run it again. Models "
            "without a text prompt have no words.",
        )


def followed(page: Page, sources: pd.DataFrame) -> None:
    """Attention and relevance: each role over the prompt set, and each word of one prompt."""
    if role_panels.said_unknown(sources["source"]):
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        source, group = choose_source(sources)
        how = st.segmented_control(
            "A role's value",
            ["Per word", "Sum"],
            default="Per word",
            required=True,
            key="role_value",
            bind=BIND,
            help=ROLE_HELP,
        )
    roles(page, source, group, how or "Per word")
    one_prompt(page, source, group)


def choose_source(sources: pd.DataFrame) -> tuple[str, str]:
    """Attention or relevance, and the group of layers."""
    known = analysis.known_sources(sources["source"])
    source = st.segmented_control(
        "Measure",
        known,
        format_func=SOURCES.__getitem__,
        default=analysis.default_source(known),
        required=True,
        key="source",
        bind=BIND,
        help=SOURCE_HELP,
    )
    source = source or analysis.default_source(known)
    groups = sources.loc[sources["source"] == source, "layer_group"].tolist()
    if len(groups) < 2:
        return source, groups[0]
    group = st.selectbox(
        "Layers",
        groups,
        key="layers",
        bind=BIND,
        width=200,
        help="all = the mean over every layer, brought to one grid.",
    )
    return source, group if group in groups else groups[0]


def one_prompt(page: Page, source: str, group: str) -> None:
    """A prompt's words over the steps: a heat map and a line per word."""
    prompts = queries.ask_scope(page.snapshot, "worded_prompts", page.scope, source=source)
    if prompts.empty:
        cards.empty("No prompt with word values within these filters.", "Clear a filter.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        prompt = choices.choose_prompt(prompts)
        model = choices.choose_model(page, "words_model")
    data = analysis.of_prompts(page.ask_scope, [prompt], source, group)
    data = data[data["model_id"] == model]
    rows = data[data["role"] != "special"]
    if rows.empty:
        cards.empty(
            "No word values of this model for this prompt.",
            "Choose another model or prompt; a tool can be limited to a part of the study.",
            icon=":material/notes:",
        )
        return
    spread = _choose_spread() if rows["entropy"].notna().any() else False
    title = "Entropy of the word's map (0..1)" if spread else VALUES[analysis.value_column(source)]
    if spread:
        rows = rows.assign(value=rows["entropy"])
    _heat(page, rows, title)
    _lines(page, rows, title, data[data["role"] == "special"])


VALUES = {
    "scaled": "Relevance, scaled within a step (0..1)  ↑",
    "mass": "Share of attention among the words  ↑",
}


def _choose_spread() -> bool:
    """Whether the entropy of the words' maps is shown in place of their value."""
    values = ["Value", "Spread over the image"]
    chosen = st.segmented_control(
        "Show",
        values,
        default=values[0],
        required=True,
        key="word_value",
        bind=BIND,
        help="Spread: entropy of the word's map over the image, 0 (one spot) to 1 (everywhere).",
    )
    return chosen == values[1]


def _in_order(rows: pd.DataFrame) -> list[str]:
    return rows.drop_duplicates("word").sort_values("word_index")["word"].tolist()


def _heat(page: Page, rows: pd.DataFrame, title: str) -> None:
    table = rows.rename(columns={"word": "concept", "role": "family", "seeds": "prompts"})
    order = _in_order(rows)
    steps = sorted(rows["step"].unique())
    model = int(rows["model_id"].iloc[0])
    nearest = min(steps, key=lambda s: abs(s - page.progress * page.last_of(model)))
    cards.figure(
        "Every word at every step",
        grids.heat(
            table,
            title,
            order=order,
            marker=int(nearest),
            look=page.look,
            row_height=24,
        ),
        rows,
        f"One prompt, mean of {text.count(int(rows['seeds'].max()), 'seed')} (no interval: it is one prompt). "
        "Rows in the order of the prompt; the frame marks the recorded step nearest to the chosen one. Click a cell to "
        "go to its step.",
        key="word_heat",
        on_click=drawing.to_step(page, model),
        help=SOURCE_HELP,
    )


def _lines(page: Page, rows: pd.DataFrame, title: str, special: pd.DataFrame) -> None:
    order = _in_order(rows)
    words = analysis.telling(order, MOST_LINES)
    kept = rows[rows["word"].isin(words)]
    model = int(rows["model_id"].iloc[0])
    rest = ""
    if len(special):
        rest = f" Special tokens (start, end, padding) get {special['mass'].mean():.0%} of all attention in addition."
    cards.figure(
        "Words over the steps",
        word_charts.word_lines(
            kept, words, title, marker=round(page.progress * page.last_of(model)), look=page.look
        ),
        kept,
        f"{'Articles and prepositions are left out. ' if len(words) < len(order) else ''}"
        f"Mean of {text.count(int(rows['seeds'].max()), 'seed')}.{rest} {drawing.STEP_CLICK}",
        key="word_lines",
        on_click=drawing.to_step(page, model),
        help=SOURCE_HELP,
    )


def roles(page: Page, source: str, group: str, how: str) -> None:
    """The value of each role over the steps, mean over the prompt set."""
    data = analysis.role_curves(page.ask_scope, source, group, total=how == "Sum")
    if data.empty:
        return
    table = page.placed(page.labelled(data))
    with cards.card("Value of each role over the steps", key="roles", data=table, help=ROLE_HELP):
        text.legend(page.models)
        role_panels.role_grid(page, table, source, AXES["Step"])
        st.caption(
            f"Mean over {text.count(int(table['prompts'].max()), 'prompt')} (those that have the role), seeds "
            f"averaged; band: 95 % t interval over prompts. {drawing.STEP_CLICK}"
        )


show(current())
