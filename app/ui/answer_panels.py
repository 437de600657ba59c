"""The overview's answer: the findings as sentences that lead to their pages, and the ranked table of models."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import comparison
from app.analysis.findings import findings
from app.charts.rows import score_strip
from app.ui import cards, drawing, links, queries, sides, tables
from app.ui.page import Page
from app.ui.text import count, plain

SEEDS_FIRST = " Seeds are averaged within a prompt first; the interval is over prompts."
MOST_TICKS = 4000  # a chart of a tick for each of 100,000 scores was 10 MB for the browser
ICONS = {
    "best": ":material/trophy:",
    "tie": ":material/balance:",
    "worse": ":material/trending_down:",
    "where": ":material/troubleshoot:",
    "emerges": ":material/timeline:",
    "decided": ":material/fork_right:",
    "failed": ":material/error:",
    "missing": ":material/pending:",
}


def answer(page: Page) -> None:
    """The first finding: which model is best, or which ones tie. It is the page's first sentence."""
    row = page.once(findings).iloc[0].to_dict()
    with st.container(key="answer", gap="xxsmall"):
        st.subheader(
            plain(row["sentence"]),
            anchor=False,
            help=cards.with_definition(cards.RULED, "findings"),
        )
        _go(row, 0)


def others(page: Page) -> None:
    """The other findings, the strongest first; each leads to the page that shows it."""
    table = page.once(findings)
    if len(table) < 2:
        return
    with (
        cards.card(
            "Findings", key="findings", data=table.drop(columns="filters"), help=cards.RULED
        ),
        st.container(gap="xxsmall"),
    ):
        for number, row in enumerate(table.iloc[1:].to_dict("records"), 1):
            _line({str(key): value for key, value in row.items()}, number)


def _line(row: dict[str, Any], number: int) -> None:
    """A sentence that is a button: it leads to its page."""
    label = f"{ICONS.get(row['kind'], ':material/arrow_forward:')} {plain(row['sentence'])}"
    if st.button(label, key=f"finding_{number}", type="tertiary", wrap=True, help=_where(row)):
        links.switch_page(f"views/{row['view']}.py", row["filters"])


def _go(row: dict[str, Any], number: int) -> None:
    """The button below the answer."""
    label, icon = _where(row), ":material/arrow_forward:"
    if st.button(label, key=f"finding_{number}", type="tertiary", icon=icon, icon_position="right"):
        links.switch_page(f"views/{row['view']}.py", row["filters"])


def _where(row: dict[str, Any]) -> str:
    """Where a sentence leads, in words."""
    kept = {key: value for key, value in row["filters"].items() if key != "sort"}
    names = [
        ", ".join(map(str, each)) if isinstance(each, list) else str(each) for each in kept.values()
    ]
    filtered = f": {plain(', '.join(names))}" if names else ""
    return f"Show on the page {row['view'].capitalize()}{filtered}"


def ranked(page: Page, scores: pd.DataFrame) -> None:
    """The models by the chosen score on one scale; a row leads to its comparison with the first."""
    table = page.once(comparison.ranking)
    with cards.card(
        "Which model follows its prompts better",
        key="verdict",
        data=table,
        help=f"{plain(page.score.definition)}{SEEDS_FIRST} {cards.RULED}",
    ):
        left, right = st.columns([3, 2], gap="small")
        with left:
            _table(page, table)
        with right:
            _strip(page, scores, table)
        st.caption(_caption(scores, table))


def _table(page: Page, table: pd.DataFrame) -> None:
    curves = queries.curves(page.snapshot, page.scope, [0])
    paths = {int(i): rows["mean"].round(4).tolist() for i, rows in curves.groupby("model_id")}
    shown = table.assign(
        path=[paths.get(int(i), []) for i in table["model_id"]],
        interval=[f"{low:.3f} to {high:.3f}" if pd.notna(low) else None for low, high in zip(table["low"], table["high"], strict=True)],
    )  # fmt: skip
    number, ends = st.column_config.NumberColumn, curves["mean"]
    event: Any = tables.show(
        shown[["rank", "model", "mean", "interval", "path"]],
        on_select="rerun",
        selection_mode="single-cell",
        key=f"ranked_{st.session_state.get('_ranked', 0)}",
        alt=f"Models by {page.score.title}, tied where no paired test separates them",
        column_config={
            "rank": st.column_config.TextColumn("Rank", width=46),
            "model": st.column_config.TextColumn("Model", width=150),
            "mean": number("Score", format="%.3f", width=58),
            "interval": st.column_config.TextColumn("95 % interval", width=106),
            "path": st.column_config.LineChartColumn(
                "Over the steps",
                width=108,
                help="Similarity to the prompt over the denoising steps, all models on one scale.",
                y_min=float(ends.min()) if len(ends) else None,
                y_max=float(ends.max()) if len(ends) else None,
            ),
        },
    )
    _open(event, table)


def _open(event: Any, table: pd.DataFrame) -> None:
    """Leads to the comparison of the model whose row was clicked with the first one."""
    cells = event.selection.cells if event else []
    if not cells or cells[0][0] >= len(table):
        return
    st.session_state["_ranked"] = (
        st.session_state.get("_ranked", 0) + 1
    )  # nothing is selected on the way back
    first, clicked = table["model"].iloc[0], table["model"].iloc[cells[0][0]]
    if len(table) < 2:
        links.switch_page("views/timesteps.py", {"models": [clicked]})
    candidate = sides.ALL if clicked == first else clicked
    links.switch_page("views/models.py", {"baseline": first, "candidate": candidate})


def _strip(page: Page, scores: pd.DataFrame, table: pd.DataFrame) -> None:
    """Every prompt as a tick and each model's mean with its interval, in the order of the table."""
    drawn = _drawn(scores)
    by_rank = page.models.set_index("label").loc[table["model"]].reset_index()
    chart = score_strip(
        page.labelled(drawn),
        table,
        by_rank,
        f"{page.score.title}  ({page.score.better} is better{'' if page.score.lower_is_better else ' →'})",
        page.score.title,
    )
    event = drawing.draw(
        chart,
        key="verdict",
        on_select="rerun",
        alt=f"{page.score.title} per prompt and its mean per model",
    )
    drawing.open_prompt(event)


def _drawn(scores: pd.DataFrame) -> pd.DataFrame:
    return scores if len(scores) <= MOST_TICKS else scores.sample(MOST_TICKS, random_state=0)


def _caption(scores: pd.DataFrame, table: pd.DataFrame) -> str:
    drawn = _drawn(scores)
    part = f"; {len(drawn):,} of {len(scores):,} ticks drawn" if len(drawn) < len(scores) else ""
    ranks = (
        "Rank: one plus the number of models that are separably better, = where several tie. "
        if len(table) > 1
        else ""
    )
    return (
        f"{ranks}One tick per prompt ({count(int(scores['prompt_id'].nunique()), 'prompt')}, seeds averaged{part}); bar: 95 % t "
        "interval of the mean. Click a row to compare its model with the first, a tick to open its prompt."
    )
