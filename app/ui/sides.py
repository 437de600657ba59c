"""The one comparison of a reader: a baseline and its candidates, chosen at the top of every page and kept in the link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

BIND: Any = "query-params"
BASELINE, CANDIDATE = "baseline", "candidate"
KEYS = (BASELINE, CANDIDATE)
ALL = "All others"
WIDTH = 168
_BEFORE = "_baseline_before"
HELP = "Every page that compares two models compares these. All others: a page that shows one candidate takes the first of them."


def choose(models: pd.DataFrame, every_model: pd.DataFrame) -> tuple[int, tuple[int, ...]]:
    """The baseline and the candidates that it is compared with; no candidate where the study has one model.

    Args:
        models: model_id and label of the models that the filter leaves.
        every_model: the same of the study; they are offered where the filter leaves one.

    Returns:
        model_id of the baseline, and of each candidate.
    """
    offered = models if len(models) > 1 else every_model
    ids = dict(zip(offered["label"], offered["model_id"].astype(int), strict=True))
    labels = list(ids)
    if len(labels) < 2:
        return next(iter(ids.values())), ()
    baseline = _choose("Baseline", labels, BASELINE, on_change=_swap)
    st.session_state[_BEFORE] = baseline
    others = [label for label in labels if label != baseline]
    options = [ALL, *others] if len(others) > 1 else others
    candidate = _choose("Candidate", options, CANDIDATE, help=HELP)
    names = [candidate] if candidate in others else others
    return ids[baseline], tuple(ids[name] for name in names)


def _choose(label: str, options: Sequence[str], key: str, **more: Any) -> str:
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[0]
    chosen = st.selectbox(label, options, key=key, bind=BIND, width=WIDTH, **more)
    return str(chosen) if chosen in options else options[0]


def _swap() -> None:
    """A candidate that becomes the baseline changes places with it."""
    before, chosen = st.session_state.get(_BEFORE), st.session_state.get(BASELINE)
    if before and chosen == st.session_state.get(CANDIDATE):
        st.session_state[CANDIDATE] = before
