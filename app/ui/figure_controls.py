"""The controls of the page Figures: those that apply to the chosen figure, with what its study has data for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from app.charts.tools import tool_title
from app.figures.kinds import Kind
from app.figures.offers import offers
from app.figures.source import Choice, FigureStudy
from app.ui import links, text
from app.ui.page import BIND

LABELS = {
    "models": "Models",
    "methods": "Tools",
    "steps": "Steps",
    "prompts": "Prompts",
    "concepts": "Concepts",
    "score": "Score of insertion and deletion",
    "source": "Word values",
    "axis": "Horizontal axis",
    "pairs": "Prompts included",
    "layout": "Steps run",
    "scale": "One colour scale for",
    "bar": "Colour bar",
    "distance": "Distance",
}
KEYS = {name: f"figure_{name}" for name in LABELS} | {
    "concepts": "concept_names",
    "prompts": "prompts",
}
PLACEHOLDERS = {
    "models": "All that the filters leave",
    "methods": "All that are measured",
    "steps": "Some, evenly spread",
    "prompts": "The first that have what is shown",
    "concepts": "Those that rise most",
}
WORDS = {
    "steps-across": "across",
    "steps-down": "down",
    "row": "each row",
    "map": "each map",
    "figure": "the figure",
    "none": "none",
    "below": "below",
    "log-snr": "Log-SNR",
    "step": "Step",
    "progress": "Progress",
    "named": "Naming the concept",
    "all": "All",
}
MODEL = "figure_model"
THRESHOLD = (0.0, 1e6)  # least and greatest
SEVERAL = ("models", "methods", "steps", "prompts", "concepts")


def choose(
    study: Callable[[Choice], FigureStudy], kind: Kind, filters: Choice, baseline: str
) -> dict[str, Any]:
    """Draws the controls of a figure; what was chosen, by the field of `Choice`, without what is as it begins.

    Args:
        study: the study by a choice.
        kind: the figure.
        filters: those of the bar at the top, as a choice.
        baseline: label of the page's baseline, which the bar at the top chooses.
    """
    chosen: dict[str, Any] = {}
    with st.container(
        horizontal=True, vertical_alignment="bottom", gap="small", key="figure_controls"
    ):
        if "baseline" in kind.controls:
            chosen["baseline"] = _baseline(study(filters), kind, baseline)
        with_baseline = study(Choice(**{**vars(filters), **chosen}))
        for name, options in offers(with_baseline, kind).items():
            if name in SEVERAL:
                chosen[name] = _some(name, options)
            elif name == "rows":
                chosen[name] = _rows()
            elif name == "threshold":
                chosen[name] = _threshold(options[-1])
            elif name != "baseline":
                chosen[name] = _one(name, options, _first(with_baseline, name, options))
    return {name: value for name, value in chosen.items() if value}


def _baseline(study: FigureStudy, kind: Kind, baseline: str) -> str:
    """The model shown, or the one that others are compared with; '' where it is the first."""
    labels = list(study.models["label"])
    if len(labels) < 2:
        return ""
    chosen = baseline if baseline in labels else labels[0]
    if kind.one_model:
        if st.session_state.get(MODEL) not in labels:
            st.session_state.pop(MODEL, None)
        index = labels.index(chosen)
        chosen = st.selectbox("Model", labels, index=index, key=MODEL, bind=BIND, width=220)
    return "" if chosen == labels[0] else str(chosen)


def _some(name: str, options: Sequence[Any]) -> tuple[Any, ...]:
    """Several of some options; none chosen leaves it to the figure."""
    titles = {str(o[0] if name == "prompts" else o): o for o in options}
    shown = {key: _title(name, option) for key, option in titles.items()}
    held = st.session_state.get(KEYS[name])
    if held is not None and not set(held) <= set(shown):
        st.session_state[KEYS[name]] = [each for each in held if each in shown]
    chosen = st.multiselect(
        LABELS[name],
        list(shown),
        format_func=lambda key: shown[key],
        key=KEYS[name],
        bind=BIND,
        placeholder=PLACEHOLDERS[name],
        width=260,
    )
    return tuple(int(each) if name == "steps" else each for each in chosen)


def _title(name: str, option: Any) -> str:
    if name == "prompts":
        return f"{option[0]}: {text.shorten(option[1], 60)}"
    return tool_title(option) if name == "methods" else str(option)


def _first(study: FigureStudy, name: str, options: Sequence[str]) -> str:
    """What the figure takes where its author chooses nothing."""
    if name == "axis":
        return study.basis()[1].replace("_", "-")
    return "clip" if name == "score" and "clip" in options else options[0]


def _one(name: str, options: Sequence[str], first: str) -> str:
    """One of a few options; '' for the one that the figure takes by itself."""
    if st.session_state.get(KEYS[name]) not in options:
        st.session_state.pop(KEYS[name], None)
    chosen = st.segmented_control(
        LABELS[name],
        options,
        format_func=lambda each: WORDS.get(each, each),
        default=first,
        required=True,
        key=KEYS[name],
        bind=BIND,
    )
    return "" if chosen in (first, None) else str(chosen)


def _rows() -> int:
    """How many rows, panels or prompts at most; 0 leaves it to the figure."""
    value = st.number_input(
        "Rows at most", 0, 12, 0, key="figure_rows", bind=links.bound("figure_rows"), width=130,
        help="Rows, panels or prompts; 0 = as many as the figure takes by itself.",
    )  # fmt: skip
    return int(value or 0)


def _threshold(usual: float) -> float:
    """From which distance on two images differ; 0 = that of its kind."""
    value = st.number_input(
        "Images differ beyond", *THRESHOLD, 0.0, key="figure_threshold", bind=links.bound("figure_threshold"), width=170,
        format="%.3f", help=f"In the distance's unit; 0 = that of its kind, here {usual:g}.",
    )  # fmt: skip
    return float(value or 0)
