"""Cards that compare models: verdicts, measures, ranks, agreement of scorers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import comparison, scorer_agreement, uncertainty
from app.analysis.measures import every_score
from app.charts.axes import Axis
from app.ui import cards, choices, tables
from app.ui.page import Page
from app.ui.text import model_mark, plain

FAMILY_OF_SCORES = "p corrected by Holm over all pairs of the models shown"
AGREEMENT = {
    scorer_agreement.AGREE: ":material/check_circle:",
    scorer_agreement.CONTRADICT: ":material/warning:",
    scorer_agreement.UNDECIDED: ":material/help:",
}


def verdicts(page: Page, tests: pd.DataFrame, baseline: int) -> None:
    """A card per candidate: paired difference of the chosen score, and whether it is separable.

    Args:
        page: the page.
        tests: rows of `comparison.what_differs` of the candidates to show.
        baseline: model_id.
    """
    results = tests[tests["measure"] == page.score.title].to_dict("records")
    if not results:
        return
    grid = st.grid(min(len(results), 3), min_column_width=300)
    for result in results:
        _verdict_card(grid, page, result, baseline)


def _verdict_card(grid: Any, page: Page, result: dict[Any, Any], baseline: int) -> None:
    gap, separable = result["difference"], result["verdict"] == uncertainty.SEPARABLE
    number, _, interval = uncertainty.interval_text(
        gap, result["low"], result["high"], signed=True
    ).partition(" ")
    grid.metric(
        f"{model_mark(result['model_id'])} {plain(result['model'])} vs {plain(page.label(baseline))}",
        number,
        f"{result['said']} {interval}",
        delta_color=("green" if page.score.sign * gap > 0 else "red") if separable else "gray",
        delta_arrow=("up" if gap > 0 else "down") if separable else "off",
        delta_description=f"{result['win_rate']:.0%} wins, {uncertainty.p_text(result['q'])}",
        border=True,
        help=cards.with_definition(
            f"{plain(page.score.definition)} Mean paired difference over shared prompts, {uncertainty.PAIRED}; paired t test, "
            f"{FAMILY_OF_SCORES}. {uncertainty.RULE}",
            "measures",
        ),
    )


def measures(page: Page, tests: pd.DataFrame, baseline: int, axis: Axis, named: bool) -> None:
    """Every headline measure, candidate by candidate, with its test."""
    scores = every_score(page)
    with cards.card(
        "What differs",
        key="measures",
        data=tests,
        help="Paired over shared prompts, seeds averaged within a prompt. d_z: mean "
        "difference over its standard deviation. Cliff's delta: probability that a "
        "candidate's value is the higher of two drawn at random, minus the probability that it is the "
        "lower. Wins: share of prompts on which the candidate is better. Prompts needed: how many would separate a "
        "difference of this size with a power of 80 %.",
    ):
        shown = with_p_text(tests).assign(interval=tables.intervals(tests, "difference"))
        tables.show(
            shown[list(MEASURE_COLUMNS)],
            alt="Paired differences per measure",
            column_config=MEASURE_COLUMNS,
        )
        with st.expander("Other tests and effect sizes", icon=":material/functions:"):
            tables.show(
                shown[list(EFFECT_COLUMNS)],
                alt="Other tests and effect sizes per measure",
                column_config=EFFECT_COLUMNS,
            )
        st.caption(
            f"Candidate minus {plain(page.label(baseline))}; {plain(page.score.title)} also within each "
            "category of prompts. Similarity is the mean over a family's concepts, emergence their restricted mean (lower is "
            f"earlier), {choices.pairs_text(named)}. {choices.axis_text(page, axis)} {uncertainty.PAIRED}, paired t test; {'scores' if len(scores) > 1 else 'CLIP score'}: {FAMILY_OF_SCORES}; all other measures: over "
            f"measures and models. {uncertainty.RULE} {' '.join(plain(score.credit) for score in scores)}"
        )


NAMES: dict[str, Any] = {
    "model": st.column_config.TextColumn("Candidate", pinned=True, width=112),
    "measure": st.column_config.TextColumn("Measure", width=186),
}
MEASURE_COLUMNS: dict[str, Any] = {
    **NAMES,
    "said": st.column_config.TextColumn("Verdict", width=112),
    "interval": st.column_config.TextColumn("Difference, 95 %", width=204),
    "q": st.column_config.TextColumn("p (Holm)", width=64),
    "win_rate": st.column_config.NumberColumn("Wins", format="percent", width=58),
    "prompts": st.column_config.NumberColumn("Prompts", width=60),
}
EFFECT_COLUMNS: dict[str, Any] = {
    **NAMES,
    "better": st.column_config.TextColumn("Better", width=60),
    "d_z": st.column_config.NumberColumn("d_z", format="%+.2f", width=60),
    "cliffs_delta": st.column_config.NumberColumn("Cliff's delta", format="%+.2f", width=85),
    "wilcoxon": st.column_config.TextColumn("p (Wilcoxon, uncorrected)", width=160),
    "needed": st.column_config.NumberColumn("Prompts needed", format="%d", width=110),
}


def ranks(page: Page) -> None:
    """The models by the chosen score; those that no test separates share a rank."""
    table = page.once(comparison.ranking)
    with cards.card(
        "Ranking",
        key="ranks",
        data=table,
        help=plain(page.score.definition)
        + " A rank is one plus the number of models that are separably better; = marks a tie.",
    ):
        number = st.column_config.NumberColumn
        tables.show(
            table.drop(columns=["model_id", "sd"]),
            alt=f"Models by {page.score.title}, tied where no paired test separates them",
            column_config={
                "rank": "Rank",
                "model": st.column_config.TextColumn("Model", width="medium"),
                "mean": number(plain(page.score.title), format="%.4f"),
                "low": number("95 % low", format="%.4f"),
                "high": number("95 % high", format="%.4f"),
                "prompts": "Prompts",
            },
        )
        st.caption(
            "Each model over its own prompts, seeds averaged; 95 % t interval over prompts. Ranks come from paired t "
            f"tests over shared prompts ({FAMILY_OF_SCORES}), so models whose intervals overlap may still differ in rank. "
            f"{page.score.better.capitalize()} is better. {plain(page.score.credit)}"
        )


def scorers_agree(page: Page, baseline: int, candidates: Sequence[int]) -> None:
    """Whether the study's scorers agree: on which model is better, and on which prompts come out well."""
    scores = {
        name: comparison.scores(_by_scorer(page, number), _with(page, baseline), metric="")
        for name, number in page.scorers.items()
    }
    table = page.labelled(scorer_agreement.verdicts(scores, baseline, candidates))
    shown = [baseline, *candidates]
    shown_scores = {name: rows[rows["model_id"].isin(shown)] for name, rows in scores.items()}
    correlations = page.labelled(scorer_agreement.rank_correlations(shown_scores))
    with cards.card(
        "Agreement of the scorers",
        key="scorers",
        data=table,
        help="Each scorer's own verdict on the same images, whichever is chosen under Filters. Where scorers contradict "
        "each other, the result depends on what the scorers were trained on.",
    ):
        against = plain(page.label(baseline))
        for candidate, word in scorer_agreement.summary(table).items():
            one = table.loc[table["model_id"] == candidate, "verdict"].iloc[0]
            what = f": {one}" if word == scorer_agreement.AGREE else ""
            st.markdown(
                f"{AGREEMENT[word]} {plain(page.label(candidate))} vs {against}: "
                f"the scorers **{word}**{what}."
            )
        _agreement_table(table, "Mean differences per scorer", "difference", "Difference")
        _agreement_table(correlations, "Rank correlation of the scorers", "spearman", "Spearman")
        first = plain(next(iter(page.scorers)))
        st.caption(
            f"Above: CLIP score, candidate minus {against}; {uncertainty.PAIRED}, paired t test, {FAMILY_OF_SCORES}. "
            "Scales differ between scorers: compare verdicts, not sizes. Below: Spearman's "
            f"correlation with {first} over a model's prompts, seeds averaged; 95 % by Fisher's z."
        )


def _by_scorer(page: Page, number: int) -> Page:
    return replace(page, snapshot=replace(page.snapshot, scorer=number))


def _with(page: Page, baseline: int) -> list[int]:
    return list(dict.fromkeys([*page.scope.models, baseline]))


def _agreement_table(table: pd.DataFrame, alt: str, measure: str, title: str) -> None:
    order = ["model", "scorer", "verdict", "interval", "q", "prompts"]
    shown = table.assign(interval=tables.intervals(table, measure))
    tables.show(
        with_p_text(shown[[name for name in order if name in shown]]),
        alt=alt,
        column_config={
            "model": st.column_config.TextColumn("Model", pinned=True, width=110),
            "scorer": "Scorer",
            "verdict": "Verdict",
            "interval": st.column_config.TextColumn(f"{title}, 95 %", width=180),
            "q": "p (Holm)",
            "prompts": "Prompts",
        },
    )


def with_p_text(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with p values as texts: 0.00000155 filled its column and told no more than < 0.001."""
    names = [name for name in ("q", "wilcoxon") if name in table]
    return table.assign(**{name: table[name].map(uncertainty.p_cell) for name in names})
