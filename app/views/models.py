"""Models: is a candidate better than the baseline, where, and how certain is that?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.analysis import comparison
from app.charts.axes import Axis
from app.ui import (
    cards,
    choices,
    comparison_panels,
    difference_panels,
    image_set_panel,
    texts,
    variant_panels,
)
from app.ui.page import Page, current, header


def show(page: Page) -> None:
    """The whole view."""
    header("Models", "Is a candidate better than the baseline, where, and how certain is that?")
    if len(page.models) < 2:
        _needs_two(page)
        image_set_panel.show(page)
        return
    rated = _rated(page)
    if len(rated) < 2:
        cards.empty(
            "A comparison needs two models with this score.",
            "Choose another score under Filters, or clear a filter.",
        )
        return
    baseline, candidates = sides(page, rated)
    pairs = page.labelled(comparison.score_pairs(comparison.scores(page), baseline))
    pairs = pairs[pairs["model_id"].isin(candidates)]
    if pairs.empty:
        cards.empty(
            "These models share no finished prompt.",
            "A paired comparison needs prompts that both models have finished. Clear a filter, or "
            "run the rest of the study.",
        )
        return
    shown = page.of(*candidates)
    axis, named = _basis(page)
    tests = page.once(comparison.what_differs, baseline=baseline, named=named, axis=axis.field)
    tests = tests[tests["model_id"].isin(candidates)]
    comparison_panels.verdicts(page, tests, baseline)
    comparison_panels.measures(page, tests, baseline, axis, named)
    _each_model(page, axis)
    if page.scorers:
        comparison_panels.scorers_agree(page, baseline, candidates)
    _grid(page, shown, difference_panels.Basis(baseline, axis, named))
    left, right = st.columns(2)
    with left:
        difference_panels.per_prompt(page, pairs, shown, baseline)
    with right:
        difference_panels.most_different(page, pairs, shown, baseline)


def _each_model(page: Page, axis: Axis) -> None:
    """What each model is, rather than how it differs from the baseline: rank, cost, measures of all its images."""
    comparison_panels.ranks(page)
    variant_panels.show(page, axis)
    image_set_panel.show(page)


def _grid(page: Page, shown: pd.DataFrame, basis: difference_panels.Basis) -> None:
    """Where the candidates differ from the baseline, by concept and step."""
    grid = page.once(
        comparison.difference_grid,
        baseline=basis.baseline,
        candidates=tuple(int(i) for i in shown["model_id"]),
        named=basis.named,
        axis=basis.axis.field,
    )
    cells = comparison.of_concepts(page, grid)
    if cells.empty:
        return
    difference_panels.heat_map(page, grid, cells, shown, basis)
    left, right = st.columns(2)
    with left:
        difference_panels.at_the_step(page, cells, shown, basis)
    with right:
        height = difference_panels.height_beside(shown, cells["concept"].nunique())
        difference_panels.over_the_steps(page, grid, shown, basis, height)


def _basis(page: Page) -> tuple[Axis, bool]:
    """What models are compared along, and which prompts count for a concept."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        return choices.choose_axis(page), choices.choose_pairs(page)


def _needs_two(page: Page) -> None:
    if len(page.every_model) < 2:
        cards.empty(
            "A comparison needs two models.",
            "This study has one model. Add another \\[\\[model\\]\\] to the study file (another "
            "checkpoint, scheduler, schedule or guidance counts) and run it again: finished samples are kept.",
            icon=":material/compare_arrows:",
        )
    else:
        cards.empty(
            "A comparison needs two models.",
            "The filter shows one model. Clear it under Filters.",
            icon=":material/compare_arrows:",
        )


def _rated(page: Page) -> pd.DataFrame:
    """The models that have the chosen score; names the others, such as the entry that a distance is measured from."""
    if not page.score.metric:
        return page.models
    known = page.models["model_id"].isin(comparison.scores(page)["model_id"])
    if not known.all():
        labels = ", ".join(map(texts.plain, page.models.loc[~known, "label"]))
        st.caption(f":material/grade: Without {texts.plain(page.score.title)}: {labels}.")
    return page.models[known]


def sides(page: Page, rated: pd.DataFrame) -> tuple[int, list[int]]:
    """The baseline and its candidates, of the models that have the score; the first stands in for a baseline without it."""
    ids = [int(i) for i in rated["model_id"]]
    baseline = page.baseline if page.baseline in ids else ids[0]
    if baseline != page.baseline:
        st.caption(
            f":material/info: Compared with {texts.plain(page.label(baseline))}: {texts.plain(page.label(page.baseline))} "
            "has no such score."
        )
    others = [i for i in ids if i != baseline]
    return baseline, [i for i in others if i in page.candidates] or others


show(current())
