"""The bar at the top of every page: study, baseline and candidate, filters, slice, *Copy link*; below it the filters in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import measures
from app.analysis.reading import NO_CATEGORY, chosen_scope
from app.ui import chips, copy_link, queries, sides, slice_panel
from app.ui.queries import Scope, Snapshot

BIND: Any = "query-params"


@dataclass(frozen=True)
class Bar:
    """Where each control stands, whichever is drawn first: what filters offer depends on the scorer."""

    pair: Any
    filters: Any
    slice: Any
    copy: Any
    chips: Any


def make() -> Bar:
    """The bar, still empty."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="top_bar"):
        pair = st.container(horizontal=True, gap="small", width="content")
        filters = st.popover(
            "Filters", icon=":material/tune:", key="filters",
            help="Models, concept families, categories of prompts and seeds that every page counts; scorer and score.",
        )  # fmt: skip
        slice_of_prompts, copy = st.container(width="content"), st.container(width="content")
    return Bar(pair, filters, slice_of_prompts, copy, st.container())


def choose_scorer(bar: Bar, scorers: Mapping[str, int]) -> int:
    """The scorer whose numbers are shown; no choice where there is only one."""
    if not scorers:
        return 1
    with bar.filters:
        chosen = st.selectbox(
            "Scorer",
            list(scorers),
            key="scorer",
            bind=BIND,
            icon=":material/straighten:",
            help="The scorer whose similarities and scores are shown, and every result computed from them. Maps, "
            "insertion and deletion, and paths always use the first scorer.",
        )
    return scorers.get(str(chosen), 1)


def choose_score(bar: Bar, snapshot: Snapshot) -> tuple[str, str]:
    """The name of the score by which images are compared, and the title of the default; no choice where only the CLIP score is there."""
    added = measures.of_metrics(queries.ask(snapshot, "metrics"))
    if not added:
        return "", ""
    names = {measures.CLIP.title: "", **{score.title: score.metric for score in added}}
    with bar.filters:
        chosen = st.selectbox(
            "Score",
            list(names),
            key="metric",
            bind=BIND,
            icon=":material/grade:",
            help="The score of final images by which models and prompts are compared: the CLIP score, a distance to a reference "
            "entry, or one that another program computed and `python -m pipeline scores add` added. Curves over the steps stay "
            "those of the scorer.",
        )
    return names.get(str(chosen), ""), measures.CLIP.title


def choose_scope(
    bar: Bar, snapshot: Snapshot, path: Path, models: pd.DataFrame, concepts: pd.DataFrame
) -> Scope:
    """What the filters and the slice leave."""
    categories = queries.ask(snapshot, "categories")["category"].tolist()
    seeds = [int(seed) for seed in queries.ask(snapshot, "study")["seeds"].iloc[0]]
    families = list(dict.fromkeys(concepts["family"]))
    named = {category or NO_CATEGORY: category for category in categories}
    with bar.filters:
        left, right = st.columns(2)
        chosen_models = _pick(
            left, "Models", models["label"].tolist(), "models", ":material/neurology:"
        )
        chosen_families = _pick(
            right, "Concept families", families, "families", ":material/category:"
        )
        chosen_categories = _pick(
            left, "Prompt categories", list(named), "categories", ":material/sell:"
        )
        chosen_seeds = _pick(right, "Seeds", seeds, "seeds", ":material/casino:")
    ids = [int(i) for i in models[models["label"].isin(chosen_models)]["model_id"]]
    kept = [named[name] for name in chosen_categories]
    scope = chosen_scope(ids, concepts, chosen_families, (kept, categories), (chosen_seeds, seeds))
    with bar.slice:
        prompts = slice_panel.choose(snapshot, path, scope, list(named))
    return replace(scope, prompts=prompts)


def _pick(column: Any, label: str, options: Sequence[Any], key: str, icon: str) -> Sequence[Any]:
    """A filter in which nothing chosen means all; hidden where there is nothing to choose."""
    if len(options) < 2:
        return options
    chosen = column.multiselect(
        f"{icon} {label}", options, key=key, placeholder=f"All {len(options)}", bind=BIND
    )
    return [option for option in options if option in chosen] if chosen else options


def choose_sides(bar: Bar, scope: Scope, every_model: pd.DataFrame) -> tuple[int, tuple[int, ...]]:
    """Baseline and candidates, as `sides.choose`."""
    shown = every_model[every_model["model_id"].isin(scope.models)]
    with bar.pair:
        return sides.choose(shown, every_model)


def finish(
    bar: Bar, path: Path, snapshot: Snapshot, first: Mapping[str, str], scope: Scope
) -> None:
    """*Copy link* and the chips, once every filter is known.

    Args:
        bar: the bar.
        path: the study.
        snapshot: the one shown.
        first: the default of scorer and score, where there is a choice.
        scope: what the filters leave.
    """
    with bar.copy:
        copy_link.button(path, snapshot, chips.in_link(first))
    with bar.chips:
        chips.draw(path, first, None if scope.prompts is None else len(scope.prompts))
