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
HELP = (
    "What an entry takes and what it gives: seconds and peak memory against the chosen score and, where the study compares entries with a "
    "reference entry, how far its images are from the reference's, and from which step on. Front: separably better than each other entry by "
    "speed or score, or smaller. Dominated: another is at least as good by every estimate and separably better by one. Undecided: neither."
)
THRESHOLD_HELP = "From which distance on two images count as different, in the distance's own unit."
UNITS = {"log_snr": "log-SNR", "step": "step", "progress": "share"}
NOT_RECORDED = (
    "peak memory was not recorded by the version that ran the entry, and is once it runs anew"
)
NO_DISTANCE = "the reference entry has no distance to itself"
NO_SCORE = "the entry has no such score"
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
    controls = st.container()
    with controls.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        chosen = _choose_distance(known)
        threshold = _choose_threshold(chosen)
    name = chosen.measure.metric if chosen else ""
    table = page.once(variants.costs, distance=name, threshold=threshold, axis=axis.field)
    with cards.card(TITLE, key="costs", data=table.drop(columns="model_id"), help=HELP):
        _chart(page, table)
        _table(page, table, axis)
        st.caption(_caption(page, table, chosen, threshold, axis))
        _when(table, axis)


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


def _table(page: Page, table: pd.DataFrame, axis: Axis) -> None:
    """One row per entry, an estimate and its interval in one column."""
    text, number = st.column_config.TextColumn, st.column_config.NumberColumn
    columns: dict[str, Any] = {
        "model": text("Entry", pinned=True, width=112),
        "verdict": text("Front", width=82, help=HELP),
        "speed": text("s per image, 95 %", width=134),
        "memory_gb": number("Peak, GB", format="%.2f", width=68),
        "quality": text(f"{plain(page.score.title)}, 95 %", width=150),
    }
    texts = {"speed": "seconds", "quality": "score", "far": "distance"}
    rows = table.assign(**{c: variants.interval_texts(table, name) for c, name in texts.items()}, position=variants.parts_texts(table))  # fmt: skip
    if rows["far"].notna().any():
        columns["far"] = text("Distance, 95 %", width=132)
    if table["parts"].notna().any():
        columns["position"] = text(f"Parts at ({UNITS[axis.field]})", width=132)
    shown = rows[list(columns)]
    alt = "Speed, peak memory and quality of each entry, and its distance to the reference entry"
    why = _why(rows, columns)
    tables.show(shown, why=why, alt=alt, column_config=columns)
    if (
        why and shown["memory_gb"].notna().all()
    ):  # a dash among texts, of which the table says nothing
        st.caption(f"{tables.DASH}: {why}.")


def _why(rows: pd.DataFrame, columns: dict[str, Any]) -> str:
    """Why numbers of the table are missing."""
    reference = rows["reference"]
    reasons = {
        NOT_RECORDED: rows["memory_gb"].isna().any(),
        NO_DISTANCE: "far" in columns and rows.loc[reference, "far"].isna().any(),
        NO_SCORE: rows["quality"].isna().any(),
        tables.OTHER: "far" in columns and rows.loc[~reference, "far"].isna().any(),
    }
    return "; ".join(reason for reason, applies in reasons.items() if applies)


def _caption(
    page: Page, table: pd.DataFrame, chosen: parting.Distance | None, threshold: float, axis: Axis
) -> str:
    memory = variants.memory_text(table)
    parts = [
        "Seconds: an image's share of its batch's time, with all that the study records; 95 % t interval over batches.",
        f"Peak: {memory}." if memory else "",
        f"{plain(page.score.title)}: {page.score.better} is better; 95 % t interval over prompts.",
        "Filled points: front; pale: undecided; hollow: dominated.",
        "Area of a point: peak memory." if variants.compares_memory(table) else "",
        variants.front_text(table),
    ]
    if chosen is not None and table["distance"].notna().any():
        parts.append(f"Distance: {plain(chosen.measure.title)} ({plain(chosen.measure.source)}), {chosen.measure.better} is closer.")  # fmt: skip
    if chosen is not None and table["parts"].notna().any():
        limit = uncertainty.significant(threshold or chosen.threshold, 4)
        parts.append(
            f"Parts at: where it stays {chosen.beyond} {limit} to the end, restricted mean (from the start counts at the first step, never "
            f"at the last). {choices.axis_text(page, axis)}"
        )
    return " ".join(part for part in parts if part)


def _when(table: pd.DataFrame, axis: Axis) -> None:
    """The shares of the outcomes, and who parts last."""
    rows = table[table["parts"].notna()]
    if rows.empty:
        return
    text, number = st.column_config.TextColumn, st.column_config.NumberColumn
    shown = rows.assign(mean=variants.interval_texts(rows, "parts"))
    with st.expander("When they part from the reference", icon=":material/call_split:"):
        columns: dict[str, Any] = {
            "model": text("Entry", pinned=True, width=112),
            "rank": text("Rank", width=56, help="1 = parts last; = where no paired test separates (Holm over all pairs)."),
            "mean": text(f"Restricted mean ({UNITS[axis.field]}), 95 %", width=190),
            **{name: number(title, format="percent", width=96) for name, title in SHARES.items()},
            "said": text("Verdict", width=112),
        }  # fmt: skip
        tables.show(shown[list(columns)], alt="When entries part from the reference", column_config=columns)  # fmt: skip
        st.caption(f"Shares of prompts, seeds averaged. Fewer than {uncertainty.LEAST_PROMPTS} prompts have no rank.")  # fmt: skip
