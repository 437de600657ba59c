"""A frozen decision of a review, beside what today's data say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl

import pandas as pd
import streamlit as st

from app.analysis import decisions, reviews, uncertainty
from app.analysis.decisions import Frozen
from app.analysis.reviews import Review, Verdict
from app.database.notebook import ReviewError
from app.ui import cards
from app.ui.page import BIND
from app.ui.text import count, plain

NONE = (
    "No numbers were kept when this review was saved (an older version did not keep them); those below are of today's data."
)  # fmt: skip


def beside(store: Path, review: Review, today: Sequence[Verdict], study: pd.Series) -> None:
    """What a review said when it was saved, accepted or rejected, and what the data say today.

    Args:
        store: the reviews' file.
        review: the one that is open.
        today: its verdicts on the snapshot shown; none where it cannot be judged.
        study: the study's row.
    """
    try:
        kept, unreadable = decisions.of_review(store, review.review_id)
    except ReviewError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    if unreadable:
        st.caption(f":material/warning: {count(unreadable, 'frozen decision')} cannot be shown: a value is of the wrong kind.")  # fmt: skip
    if not kept:
        st.caption(NONE)
        return
    chosen = _choose(kept)
    table = decisions.beside(chosen, today)
    with cards.card("Frozen decision", key="frozen", data=table):
        st.caption(_source(chosen, study))
        for row in table.to_dict("records"):
            left, middle, right = st.columns(3)
            left.markdown(plain(row["criterion"]))
            middle.markdown(f"Then: **{row['then']}**")
            middle.caption(plain(_numbers(row, "then")))
            right.markdown(f"Today: **{row['now'] or 'not judged'}**")
            right.caption(plain(_numbers(row, "now")))


def _choose(kept: list[Frozen]) -> Frozen:
    if len(kept) == 1:
        return kept[0]
    titles = [f"{decisions.KINDS[each.kind]}, {reviews.when(each.made_at)}, {each.author}" for each in kept]  # fmt: skip
    number = st.selectbox(
        "Decisions of this review", range(len(kept)), format_func=lambda i: titles[i], key="frozen_decision", bind=BIND, width=560
    )  # fmt: skip
    return kept[int(number)]


def _source(frozen: Frozen, study: pd.Series) -> str:
    """Which data were judged, and whether those shown are the same."""
    same = frozen.content_hash == str(study["content_hash"])
    held = "; ".join(f"{key} = {value}" for key, value in parse_qsl(frozen.filters)) or "none"
    scorer = f", scorer {plain(frozen.scorer)}" if frozen.scorer else ""
    data = "today's data are the same" if same else f"today's data differ (snapshot {int(study['snapshot'])})"  # fmt: skip
    return (
        f"{decisions.KINDS[frozen.kind]} by {plain(frozen.author)}, {reviews.when(frozen.made_at)}: **{frozen.verdict}** on snapshot "
        f"{frozen.snapshot} (sha256 {plain(frozen.content_hash[:12])}){scorer}; filters: {plain(held)}; {data}. "
        "The numbers under *Then* are kept as they were."
    )


def _numbers(row: dict[str, object], side: str) -> str:
    gap, low, high, q, prompts = (
        float(str(row[f"{side}_{key}"])) for key in ("difference", "low", "high", "q", "prompts")
    )
    if pd.isna(gap) or pd.isna(prompts):
        return ""
    number = uncertainty.interval_text(gap, low, high, signed=True)
    return f"{number}, {uncertainty.p_text(q)}, {count(int(prompts), 'prompt')}."
