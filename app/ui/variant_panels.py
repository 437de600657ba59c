"""The card of what each entry costs: speed, memory and quality, the distance to a reference entry, and where they part from it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import parting, uncertainty, variants
from app.charts import variants as variant_charts
from app.charts.axes import Axis
from app.ui import cards, choices, drawing, links, tables
from app.ui.page import BIND, Page
from app.ui.text import legend, plain

TITLE = "Speed, memory and quality"
THRESHOLD_HELP = "From which distance on two images count as different, in the distance's own unit."
UNITS = {"log_snr": "log-SNR", "step": "step", "progress": "share"}
HELP = (
    "What an entry takes and what it gives: seconds and peak memory against the chosen score and, where the study compares entries with a "
    "reference entry, how far its images are from the reference's, and from which step on. Front: separably better than each other entry by "
    "speed or score, or smaller. Dominated: another is at least as good by every estimate and separably better by one. Undecided: neither."
)
NOT_RECORDED = (
    "peak memory was not recorded by the version that ran the entry, and is once it runs anew"
)
RANK_HELP = "1 = parts last; = where no paired test separates (Holm over all pairs)."
DISTANCE = "distance"
SHARES = {
    "start_share": "From the start",
    "later_share": "At a later step",
    "never_share": "Never",
}


def show(page: Page, axis: Axis) -> None:
    """The card, where at least two of the models shown were sampled.

    Args:
        page: the page.
        axis: on which it says where entries part.
    """
    if (page.models["family"] != variants.IMAGES).sum() < 2:
        return
    known = parting.distances(page)
    with cards.card(TITLE, key="costs", data=lambda: table.drop(columns="model_id"), help=HELP):
        upper, lower = st.container(), st.container()
        with lower, st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            chosen = _choose_distance(known)
            threshold = _choose_threshold(chosen)
        name = chosen.measure.metric if chosen else ""
        table = page.once(variants.costs, distance=name, threshold=threshold, axis=axis.field)
        with upper:
            _chart(page, table)
            _costs(page, table)
        if chosen is not None and table["distance"].notna().any():
            with lower:
                _reference(page, table, chosen, threshold, axis)


def _choose_distance(known: list[parting.Distance]) -> parting.Distance | None:
    """One of the distances to a reference entry; no choice where there is one, or none."""
    if len(known) < 2:
        return known[0] if known else None
    titles = {each.measure.metric: each.measure.title for each in known}
    if st.session_state.get(DISTANCE) not in titles:
        st.session_state.pop(DISTANCE, None)
    name = st.selectbox(
        "Distance to the reference entry",
        list(titles),
        format_func=lambda each: titles[each],
        key=DISTANCE,
        bind=BIND,
        width=260,
    )
    return next((each for each in known if each.measure.metric == name), known[0])


def _choose_threshold(chosen: parting.Distance | None) -> float:
    """From which distance on images differ; 0 where no distance has steps."""
    if chosen is None or not chosen.of_steps:
        return 0.0
    key = f"parts_at_{chosen.kind}"
    value = st.number_input(
        f"Images differ {chosen.beyond}",
        0.0,
        1e6,
        chosen.threshold,
        step=0.01 if chosen.threshold < 1 else 1.0,
        format="%.3f",
        key=key,
        bind=links.bound(key),
        width=170,
        help=THRESHOLD_HELP,
    )
    return float(value)


def _chart(page: Page, table: pd.DataFrame) -> None:
    """Seconds against the score; nothing where no entry has both."""
    drawn = variants.judged(table)
    if drawn.empty:
        return
    models = page.of(*drawn["model_id"])
    legend(models)
    title = f"{page.score.title}  {'↓' if page.score.lower_is_better else '↑'}"
    chart = variant_charts.trade_off(
        drawn, models, title, memory=variants.compares_memory(table), height=260
    )
    drawing.draw(chart, key="costs", alt=f"Seconds per image and {page.score.title} of each entry")


def _costs(page: Page, table: pd.DataFrame) -> None:
    """Seconds, memory and score of each entry, an estimate and its interval in one column."""
    text, number = st.column_config.TextColumn, st.column_config.NumberColumn
    columns: dict[str, Any] = {
        "model": text("Entry", width=200),
        "verdict": text("Pareto front", width=92),
        "seconds": text("s per image, 95 %", width=144),
        "memory_gb": number("Peak, GB", format="%.2f", width=72),
        "score": text(f"{plain(page.score.title)}, 95 %", width=170),
        "dominated_by": text("Dominated by", width=130),
    }
    texts = {name: variants.interval_texts(table, name) for name in ("seconds", "score")}
    tables.show(
        table.assign(**texts)[list(columns)],
        why=NOT_RECORDED,
        alt="Speed, peak memory and quality of each entry",
        column_config=columns,
    )
    memory = variants.memory_text(table)
    area = " Area of a point: peak memory." if variants.compares_memory(table) else ""
    unscored = " Entries without the score are not judged." if table["score"].isna().any() else ""
    st.caption(
        f"Seconds: an image's share of its batch's time, with all that the study records; 95 % t interval over batches."
        f"{f' Peak: {memory}.' if memory else ''} {plain(page.score.title)}: {page.score.better} is better; 95 % t interval over prompts. "
        f"Points filled: front; pale: undecided; hollow: dominated.{area} {variants.front_text(table)}{unscored}"
    )


def _reference(
    page: Page, table: pd.DataFrame, chosen: parting.Distance, threshold: float, axis: Axis
) -> None:
    """How far each entry is from the reference entry, and where it parts from it."""
    text, number = st.column_config.TextColumn, st.column_config.NumberColumn
    rows = table[table["distance"].notna()]
    reference, steps = plain(page.label(chosen.reference)), rows["parts"].notna().any()
    columns: dict[str, Any] = {
        "model": text("Entry", width=180),
        "distance": text("Distance, 95 %", width=160),
    }
    if steps:
        columns |= {
            "parts": text(f"Parts at ({UNITS[axis.field]})", width=140),
            **{
                name: number(title, format="percent", width=62 if title == "Never" else 98)
                for name, title in SHARES.items()
            },
            "rank": text("Rank", width=64, help=RANK_HELP),
        }
    shown = rows.assign(
        distance=variants.interval_texts(rows, "distance"), parts=variants.parts_texts(rows)
    )
    alt = f"Distance of each entry to {page.label(chosen.reference)}, and where it parts from it"
    tables.show(shown[list(columns)], alt=alt, column_config=columns)
    what = f"Distance to {reference}: {plain(chosen.measure.source)}, of {'the last step' if chosen.of_steps else 'final images'}; {chosen.measure.better} is closer."  # fmt: skip
    limit = uncertainty.significant(threshold or chosen.threshold, 4)
    parts = (
        f" Parts at: from where on it stays {chosen.beyond} {limit} to the end; restricted mean, from the start counts at the first step, "
        f"never at the last, with its 95 % t interval. Shares of prompts, seeds averaged. {choices.axis_text(page, axis)}"
    )
    few = (
        f" Fewer than {uncertainty.LEAST_PROMPTS} prompts have no rank."
        if (rows["rank"] == "").any()
        else ""
    )
    st.caption(f"{what}{parts if steps else ''}{few if steps else ''}")
