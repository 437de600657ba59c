"""Cards about when concepts emerge, and from which step on the outcome is settled."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from app.analysis import emergence, trajectories
from app.analysis.reading import shared_range
from app.charts import curves as curves_charts
from app.charts import rows as rows_charts
from app.charts.axes import Axis
from app.ui import cards, choices, drawing, tables
from app.ui.concept_panels import MOST_CURVES, PREDICT_HELP, concept_ids, every_curve
from app.ui.page import BIND, Page
from app.ui.text import count, legend, plain

MOST_RANKED = 16


def ranking(page: Page, axis: Axis, named: bool) -> None:
    """Which concept emerges first, per model."""
    table = page.once(emergence.ranked, row=emergence.CONCEPT, named=named, axis=axis.field)
    if table.empty:
        with cards.card("Which concept emerges first", key="ranking"):
            st.caption(emergence.NOT_ENOUGH)
        return
    order = emergence.order_of(table, emergence.CONCEPT)
    with cards.card(
        "Which concept emerges first",
        key="ranking",
        anchor="ranking",
        data=table,
        help="Earlier is further left. Point: restricted mean; thick bar: its 95 % interval over prompts; thin line: "
        "quartiles over samples.",
    ):
        legend(page.models)
        drawn, limits = table[table["place"] < MOST_RANKED], shared_range(page.steps, axis.field)
        drawing.draw(
            _ranking_chart(page, drawn, axis, limits),
            key="ranking",
            on_click=drawing.to_filter("concepts", "concept", concept_ids(page), MOST_CURVES),
            alt="Emergence per concept and model",
        )
        cards.clip_note([drawn], domain=limits)
        first = f"The first {MOST_RANKED} of " if len(order) > MOST_RANKED else ""
        st.caption(
            f"{first}{count(len(order), 'concept')}, {choices.pairs_text(named)}. {emergence.RESTRICTED}; 95 % t interval over "
            f"prompts. {choices.axis_text(page, axis)} {unknown_text(page, table)}All ranks are in the table and the CSV. "
            "Click a concept to show its curve above, again to remove it."
        )
        _rank_table(table, axis)


def _ranking_chart(
    page: Page, drawn: pd.DataFrame, axis: Axis, limits: tuple[float, float]
) -> alt.LayerChart:
    marker = page.marker(axis)
    return rows_charts.emergence(
        drawn, page.models, "concept", limits=limits, axis=axis, look=page.look, marker=marker, row_height=28
    )  # fmt: skip


def unknown_text(page: Page, table: pd.DataFrame) -> str:
    """How many of the concepts shown cannot be judged, with a space after it; nothing where all can."""
    unknown = emergence.unknown_concepts(page, table)
    return f"{count(unknown, 'concept')} left out: {emergence.FEW_UNNAMED}. " if unknown else ""


def _rank_table(table: pd.DataFrame, axis: Axis) -> None:
    columns = ["model", "rank", "concept", "family", "mean", "low", "high"]
    shares = {
        "start_share": "From the start",
        "emerges_share": "Emerges later",
        "never_share": "Never",
    }
    number = st.column_config.NumberColumn
    titles = {"mean": "Restricted mean", "low": "95 % low", "high": "95 % high", "median": "Median", "q1": "Q1", "q3": "Q3"}  # fmt: skip
    with st.expander("Ranks, with ties where no test separates", icon=":material/leaderboard:"):
        tables.show(
            table.sort_values(["model_id", "mean"])[[*columns, *shares, "median", "q1", "q3", "n"]],
            alt="Emergence ranks",
            column_config={
                "model": "Model",
                "rank": st.column_config.TextColumn("Rank", help=emergence.RANKS),
                "concept": "Concept",
                "family": "Family",
                **{
                    name: number(title, format="percent" if axis.field == "progress" else "%.1f")
                    for name, title in titles.items()
                },
                **{name: number(title, format="percent") for name, title in shares.items()},
                "n": "Prompts",
            },
        )


def predictability(page: Page, axis: Axis, named: bool) -> None:
    """From which step on the final similarity to the prompt is known: over prompts, and over seeds within a prompt."""
    over = {
        "Over prompts": trajectories.predictability(page, every_curve(page, named)),
        "Over seeds": trajectories.seed_predictability(page),
    }
    with cards.card(
        "When the outcome is settled",
        key="predict",
        anchor="predict",
        data=over["Over prompts"],
        help=PREDICT_HELP,
    ):
        which = st.segmented_control(
            "Correlation",
            list(over),
            default="Over prompts",
            required=True,
            key="predict_over",
            bind=BIND,
        )
        table = over.get(str(which), over["Over prompts"])
        if table.empty:
            st.caption(trajectories.NEEDS[which or "Over prompts"])
            return
        _predictability_chart(page, page.placed(table), axis, str(which))


def _predictability_chart(page: Page, table: pd.DataFrame, axis: Axis, which: str) -> None:
    settled = [
        f"{plain(page.label(int(m)))}: {_settled(rows)}" for m, rows in table.groupby("model_id")
    ]
    legend(page.models)
    drawing.draw(
        curves_charts.predictability(
            table, page.models, axis, marker=page.marker(axis), look=page.look
        ),
        key="predict",
        on_click=drawing.to_step(page),
        alt="Correlation with the final similarity to the prompt, per step",
    )
    most = count(int(table["prompts"].max()), "prompt")
    over = (
        "Over the seeds of a prompt, prompt means removed"
        if which == "Over seeds"
        else f"Over {most} (seeds averaged): mostly what tells prompts apart"
    )
    st.caption(
        f"{over}; similarity to the whole prompt; band: 95 % interval (Fisher z). First step from which r stays at 0.9 or "
        f"more: {'; '.join(settled)}. {drawing.STEP_CLICK}"
    )


def _settled(rows: pd.DataFrame) -> str:
    first = trajectories.settled_from(rows)
    return "never" if first is None else f"step {first}"
