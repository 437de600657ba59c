"""Trust: which tool finds what is known to be there, and changes when the weights are randomised."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import trust
from app.charts import tools
from app.charts import trust as trust_charts
from app.ui import cards, choices, concept_layers, drawing, tables, text
from app.ui.page import BIND, Page, current, header

LOCALISATION_HELP = (
    "Real scenes with known object masks are noised to a step's level and that step is explained. Average precision "
    "of the map against the mask, 0 to 1; chance, a random map's value, is the share of the image that the mask "
    "covers. Pointing: share of maps whose highest pixel lies on the object. IoU: overlap at the best threshold."
)
RANDOMISATION_HELP = (
    "The denoiser's weights are shuffled layer by layer, from the output to the input, and the maps are compared with "
    "the trained model's (Adebayo et al. 2018). A map that does not change does not explain the model."
)
TARGETS = {"All objects": False, "The object that a word names": True}


def show(page: Page) -> None:
    """The whole view."""
    header("Trust", "Which tool finds known objects, and depends on what the model learned?")
    gains, shuffled = trust.scene_gains(page.ask_scope), trust.randomisation(page.ask_scope)
    if gains.empty and shuffled.empty:
        cards.empty(
            "The tools were not tested on known scenes for these models.",
            "Run python -m pipeline demo trust on the demo's models, then publish the results again. Known "
            "masks are needed: the bundled scenes have them.",
            icon=":material/verified:",
        )
        return
    verdicts(page, gains, shuffled)
    if len(gains):
        localisation(page, gains)
        concept_layers.shown(page, gains)
    if len(shuffled):
        randomisation(page, shuffled)


def verdicts(page: Page, gains: pd.DataFrame, shuffled: pd.DataFrame) -> None:
    """Tools by models in three colours and words, and a row for each with its numbers."""
    table = page.labelled(trust.summary(gains, shuffled))
    _grid(page, page.labelled(trust.believed(table)))
    _numbers(table)


def _grid(page: Page, table: pd.DataFrame) -> None:
    if table.empty:
        return
    cards.figure(
        "Which tool to believe",
        trust_charts.grid(table, page.models, page.look),
        table,
        "Passes: better than chance at finding the objects, and another map once the weights are randomised. Fails: worse than "
        "chance, or the map survives randomised weights. Undecided: a test is missing or does not separate.",
        key="trust_grid",
        help=f"{LOCALISATION_HELP} {RANDOMISATION_HELP}",
    )


def _numbers(table: pd.DataFrame) -> None:
    order = {m: i for i, m in enumerate(tools.tool_order(list(table["method"])))}
    rows = table.assign(order=table["method"].map(order)).sort_values(["model_id", "order"])
    data = rows[["model", *[c for c in rows if c not in {"model", "model_id", "order"}]]]
    shown = data.assign(
        tool=data["method"].map(tools.tool_title), interval=tables.intervals(data, "gain")
    )[list(TRUST_COLUMNS)]
    with cards.card(
        "Both tests in numbers",
        key="trust",
        data=data,
        help=f"{LOCALISATION_HELP} {RANDOMISATION_HELP}",
    ):
        tables.show(
            shown,
            alt="Localisation and randomisation per model and tool",
            column_config=TRUST_COLUMNS,
        )
        st.caption(
            "Attention, relevance, ConceptAttention and information: maps of words against the object that the word names; the others: the map of "
            "the whole image against all objects. Steps averaged within a scene; 95 % t interval over scenes. Verdict: "
            "paired t test against chance, corrected by Holm over the table; at least 6 scenes."
        )


def _number(title: str, format: str, width: int, help: str | None = None) -> Any:
    return st.column_config.NumberColumn(title, format=format, width=width, help=help)


TRUST_COLUMNS: dict[str, Any] = {
    "model": st.column_config.TextColumn("Model", pinned=True, width=92),
    "tool": st.column_config.TextColumn("Tool", width=106),
    "verdict": st.column_config.TextColumn(
        "Finds objects", width=96, help="Average precision against chance, paired over scenes"
    ),
    "depends": st.column_config.TextColumn(
        "Depends on weights",
        width=128,
        help="With all layers shuffled, the 95 % interval of the rank correlation with the trained model's map "
        "lies below that of the copy: two maps, with other masks, of a denoiser that returns its input",
    ),
    "average_precision": _number("Precision", "%.2f", 64),
    "interval": st.column_config.TextColumn(
        "Over chance, 95 %", width=126, help="Average precision minus that of a random map"
    ),
    "pointing": _number("Pointing", "percent", 60),
    "iou": _number("IoU", "%.2f", 42),
    "scenes": _number("Scenes", "%d", 54),
    "kept": _number("Kept", "%.2f", 49, "Spearman with the trained map, all layers shuffled"),
}


def localisation(page: Page, gains: pd.DataFrame) -> None:
    """How far each tool is above chance, over all steps and at each."""
    available = [name for name, word in TARGETS.items() if (gains["of_word"] == word).any()]
    target = st.segmented_control(
        "What a map should find",
        available,
        default=available[0],
        required=True,
        key="target",
        bind=BIND,
    )
    rows = gains[gains["of_word"] == TARGETS[target or available[0]]]
    left, right = st.columns(2)
    with left:
        table = page.labelled(trust.intervals(rows, ["model_id", "method"], "gain"))
        title = "Precision over chance  (better →)"
        cards.figure(
            "Localisation over all steps",
            tools.tool_forest(
                table,
                page.models,
                title,
                look=page.look,
                unit="Scenes",
                height=max(
                    34, min(90, 260 // table["method"].nunique())
                ),  # as high as the card beside it
            ),
            table,
            f"Mean over {text.count(int(table['n'].max()), 'scene')}, steps averaged; 95 % t interval over "
            "scenes. Dashed: a random map.",
            key="localisation",
            help=LOCALISATION_HELP,
            models=page.models[page.models["label"].isin(table["model"])],
        )
    with right:
        _by_step(page, rows)


def _by_step(page: Page, gains: pd.DataFrame) -> None:
    table = page.labelled(trust.intervals(gains, ["model_id", "method", "step"], "step_gain"))
    with cards.card(
        "Localisation at each step", key="localisation_steps", data=table, help=LOCALISATION_HELP
    ):
        model = choices.choose_model(page, "trust_model")
        rows = table[table["model_id"] == model]
        if rows.empty:
            st.caption("This model was not tested on known scenes.")
            return
        drawing.draw(
            tools.tool_key(rows["method"], page.look),
            key="localisation_key",
            alt="Tools and their colours",
        )
        drawing.draw(
            tools.tool_curves(
                rows,
                "step",
                "Step  (noise → image)",
                "Precision over chance  ↑",
                zero=True,
                format="+.2f",
                look=page.look,
                unit="Scenes",
                height=300,
            ),
            key="localisation_steps",
            alt="Average precision over chance per step and tool",
        )
        st.caption(
            f"{text.plain(page.label(model))}; {text.count(int(rows['n'].max()), 'scene')}; band: 95 % t "
            "interval over scenes."
        )


def randomisation(page: Page, shuffled: pd.DataFrame) -> None:
    """How each tool's map changes as more of the weights are shuffled."""
    table = trust.from_trained(shuffled)
    with cards.card(
        "Similarity to the trained map as weights are shuffled",
        key="randomisation",
        data=page.labelled(shuffled),
        help=RANDOMISATION_HELP,
    ):
        tested = page.models[page.models["model_id"].isin(table["model_id"])]
        drawing.draw(
            tools.tool_key(table["method"], page.look),
            key="randomisation_key",
            alt="Tools and their colours",
        )
        grid = st.grid(min(3, max(len(tested), 1)), min_column_width=300)
        for number, (model, label) in enumerate(
            zip(tested["model_id"].astype(int), tested["label"], strict=True)
        ):
            with grid.cell():
                text.model_name(model, label)
                _shuffled_curves(page, table[table["model_id"] == model], number, label)
        st.caption(
            f"Mean over {text.count(int(shuffled['samples'].max()), 'map')}; band: 95 % t interval over maps. At the "
            "left nothing is shuffled. A tool that stays as high as the copy of the input explains the input more than the "
            "model; the random map and the segment areas do not depend on the model and stay at 1."
        )


def _shuffled_curves(page: Page, rows: pd.DataFrame, number: int, label: str) -> None:
    drawing.draw(
        tools.tool_curves(
            rows,
            "share",
            "Weights shuffled, output to input",
            "Similarity to trained map",
            domain=(-0.5, 1.0),
            format=".2f",
            look=page.look,
            unit="Maps",
            height=260,
        ),
        key=f"randomisation{number}",
        alt=f"Map similarity to the trained model's as weights are shuffled, {label}",
    )


show(current())
