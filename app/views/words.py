"""Words: which word of the prompt acts at which step, and what each role gets over the prompt set."""

from __future__ import annotations

import charts
import charts_explain
import controls
import pandas as pd
import queries
import role_panels
import streamlit as st
from controls import BIND, Page

SOURCES = {
    "attention": "Attention",
    "relevance": "Relevance",
}
SOURCE_HELP = (
    "Attention: share of the softmax attention that image positions give to a word, among the prompt's words, "
    "0 to 1. Relevance: attention weighted by its gradient and followed through the layers (Chefer et al. 2021), "
    "min-max scaled over the prompt's words within a step, 0 to 1. Higher means that the word acts more."
)
ROLE_HELP = (
    "Words have roles: subject, relation, object, attribute; all others count as other. Sum: what the words of a "
    "role get together, as in Park et al. 2024. Per word: their mean, which does not grow with their number."
)
MOST_LINES = 8
SMALL = frozenset({"a", "an", "the", "of", "on", "in", "and", "with", "to", "at"})


def show(page: Page) -> None:
    """The whole view."""
    controls.header("Words", "Which word of the prompt acts at which step?")
    sources = queries.ask_scope(page.snapshot, "word_sources", page.scope)
    if sources.empty:
        controls.empty(
            "No word was followed within these filters.",
            "Add attention or relevance to the measures of the study file and run it again. Models "
            "without text have no words.",
        )
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
    found = [name for name in SOURCES if name in set(sources["source"])]
    source = st.segmented_control(
        "Measure",
        found,
        format_func=SOURCES.__getitem__,
        default=found[-1],
        required=True,
        key="source",
        bind=BIND,
        help=SOURCE_HELP,
    )
    source = source or found[-1]
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
        controls.empty("No prompt's words were followed within these filters.", "Clear a filter.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        prompt = controls.choose_prompt(prompts)
        model = controls.choose_model(page, "words_model")
    data = queries.ask_scope(
        page.snapshot, "prompt_words", page.scope, prompt=prompt, source=source, layer_group=group
    )
    own = data[(data["model_id"] == model) & (data["role"] != "special")].copy()
    if own.empty:
        controls.empty(
            "This model's words were not followed for this prompt.",
            "Choose another model or prompt; a tool can be limited to a part of the study.",
            icon=":material/notes:",
        )
        return
    own["word"] = _numbered(own)
    values = ["Value", "Spread over the image"] if own["entropy"].notna().any() else ["Value"]
    shown = "Value"
    if len(values) > 1:
        shown = (
            st.segmented_control(
                "Show",
                values,
                default="Value",
                required=True,
                key="word_value",
                bind=BIND,
                help="Spread: entropy of the word's map over the image, 0 (one spot) to 1 (everywhere).",
            )
            or "Value"
        )
    column, title = _column(own, source, shown)
    own["value"] = own[column]
    _heat(page, own, title)
    _lines(page, own, title, data[(data["model_id"] == model) & (data["role"] == "special")])


def _numbered(own: pd.DataFrame) -> list[str]:
    """A word that comes again is called `a (2)`."""
    first = own.drop_duplicates("word_index").sort_values("word_index")
    count = first.groupby("word").cumcount() + 1
    names = [w if n == 1 else f"{w} ({n})" for w, n in zip(first["word"], count, strict=True)]
    table = dict(zip(first["word_index"], names, strict=True))
    return [table[i] for i in own["word_index"]]


def _column(own: pd.DataFrame, source: str, shown: str) -> tuple[str, str]:
    if shown != "Value":
        return "entropy", "Entropy of the word's map (0..1)"
    if source == "relevance" and own["scaled"].notna().any():
        return "scaled", "Relevance, scaled within a step (0..1)  ↑"
    return "mass", "Share of attention among the words  ↑"


def _in_order(own: pd.DataFrame) -> list[str]:
    return own.drop_duplicates("word").sort_values("word_index")["word"].tolist()


def _heat(page: Page, own: pd.DataFrame, title: str) -> None:
    table = own.rename(columns={"word": "concept", "role": "family", "seeds": "prompts"})
    order = _in_order(own)
    steps = sorted(own["step"].unique())
    model = int(own["model_id"].iloc[0])
    nearest = min(steps, key=lambda s: abs(s - page.progress * page.last_of(model)))
    controls.figure(
        "Every word at every step",
        charts.heat(
            table,
            title,
            order=order,
            marker=int(nearest),
            look=page.look,
            row_height=24,
        ),
        own,
        f"One prompt, mean of {controls.count(int(own['seeds'].max()), 'seed')} (no interval: it is one prompt). "
        "Rows in the order of the prompt; the frame is the recorded step nearest to the chosen one. Click a cell to "
        "go to its step.",
        key="word_heat",
        on_click=controls.to_step(page, model),
        help=SOURCE_HELP,
    )


def _lines(page: Page, own: pd.DataFrame, title: str, special: pd.DataFrame) -> None:
    order = _in_order(own)
    telling = [w for w in order if w.split(" (")[0].lower() not in SMALL]
    default = (telling or order)[:MOST_LINES]
    kept = own[own["word"].isin(default)]
    nearest = round(page.progress * page.last_of(int(own["model_id"].iloc[0])))
    rest = ""
    if len(special):
        rest = f" Special tokens (start, end, padding) take {special['mass'].mean():.0%} of all attention beside."
    controls.figure(
        "Words over the steps",
        charts_explain.word_lines(kept, default, title, marker=nearest, look=page.look),
        kept,
        f"{'Articles and prepositions are left out. ' if len(default) < len(order) else ''}"
        f"Mean of {controls.count(int(own['seeds'].max()), 'seed')}.{rest} {controls.STEP_CLICK}",
        key="word_lines",
        on_click=controls.to_step(page, int(own["model_id"].iloc[0])),
        help=SOURCE_HELP,
    )


def roles(page: Page, source: str, group: str, how: str) -> None:
    """What the words of each role get over the steps, over the prompt set, and in all."""
    data = queries.ask_scope(
        page.snapshot, "role_curves", page.scope, source=source, layer_group=group
    )
    if data.empty:
        return
    column = "total" if how == "Sum" else "each"
    table = role_panels.role_table(page, data, column)
    with controls.card("What each role gets", key="roles", data=table, help=ROLE_HELP):
        controls.legend(page.models)
        role_panels.role_grid(page, table, source, charts.AXES["Step"])
        st.caption(
            f"Mean over {controls.count(int(table['prompts'].max()), 'prompt')} (those that have the role), seeds "
            f"averaged; band: 95 % t interval over prompts. {controls.STEP_CLICK}"
        )


show(controls.current())
