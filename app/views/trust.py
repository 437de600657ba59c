"""Trust: which tool finds what is known to be there, and changes when the model is broken."""

from __future__ import annotations

import charts_explain
import controls
import numpy as np
import pandas as pd
import queries
import streamlit as st
import uncertainty
from controls import BIND, Page

LOCALISATION_HELP = (
    "Real scenes with known object masks are noised to a step's level and that step is explained. Average precision "
    "of the map against the mask, 0 to 1; a random map's is the share of the image that the mask covers. Pointing: "
    "how often the map's highest pixel lies on the object. IoU: overlap at the best threshold."
)
RANDOMISATION_HELP = (
    "The denoiser's weights are shuffled layer by layer, from the output back, and the maps are compared with the "
    "trained model's (Adebayo et al. 2018). A map that stays the same does not explain the model."
)
TARGETS = {"All objects": False, "The object that a word names": True}
# Below this rank correlation with the trained model's map, a map has changed.
CHANGED = 0.5


def show(page: Page) -> None:
    """The whole view."""
    controls.header(
        "Trust",
        "Which tool finds what is known to be there, and depends on what the model learned?",
    )
    found = queries.ask_scope(page.snapshot, "localisation", page.scope)
    shuffled = queries.ask_scope(page.snapshot, "randomisation", page.scope)
    if found.empty and shuffled.empty:
        controls.empty(
            "The tools were not tested on known scenes for these models.",
            "Run python -m pipeline demo trust on the demo's models, then publish the results again. Known "
            "masks are needed: the bundled scenes have them.",
            icon=":material/verified:",
        )
        return
    gains = scene_gains(found)
    verdicts(page, gains, shuffled)
    if len(found):
        localisation(page, gains)
    if len(shuffled):
        randomisation(page, shuffled)


def scene_gains(found: pd.DataFrame) -> pd.DataFrame:
    """One row per (model, method, of_word, scene): steps averaged, for the scene is the unit."""
    keys = ["model_id", "method", "of_word", "scene"]
    values = ["average_precision", "gain", "pointing", "iou", "chance"]
    return (
        found.groupby(keys, as_index=False)[values]
        .mean()
        .merge(
            found[["model_id", "method", "of_word", "scene", "step", "gain"]].rename(
                columns={"gain": "step_gain"}
            ),
            on=keys,
        )
    )


def _intervals(gains: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """Mean over scenes with its t interval, per group."""
    unit = gains.drop_duplicates([*by, "scene"])
    table = unit.groupby(by, as_index=False).agg(
        mean=(column, "mean"), sd=(column, "std"), n=(column, "count")
    )
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["n"])
    return table.assign(low=low, high=high)


def verdicts(page: Page, gains: pd.DataFrame, shuffled: pd.DataFrame) -> None:
    """A row per model and tool: does it localise, does it depend on the weights."""
    rows = summary(gains, shuffled)
    table = page.labelled(rows)
    table["tool"] = table["method"].map(charts_explain.tool_title)
    order = {m: i for i, m in enumerate(charts_explain.tool_order(list(table["method"])))}
    table = table.assign(place=table["method"].map(order)).sort_values(["model_id", "place"])
    shown = table[
        [
            "model",
            "tool",
            "finds",
            "depends",
            "average_precision",
            "gain",
            "low",
            "high",
            "pointing",
            "iou",
            "n",
            "kept",
        ]
    ]
    with controls.card(
        "Which tool to believe",
        key="trust",
        data=shown,
        help=f"{LOCALISATION_HELP} {RANDOMISATION_HELP}",
    ):
        st.dataframe(
            shown,
            hide_index=True,
            alt="Localisation and randomisation per model and tool",
            column_config={
                "model": "Model",
                "tool": "Tool",
                "finds": st.column_config.TextColumn(
                    "Finds the objects", help="The interval of the gain lies above 0"
                ),
                "depends": st.column_config.TextColumn(
                    "Depends on the weights",
                    help=f"Rank correlation with the trained model's map falls below {CHANGED} when all layers "
                    "are shuffled",
                ),
                "average_precision": st.column_config.NumberColumn("Precision", format="%.2f"),
                "gain": st.column_config.NumberColumn(
                    "Over chance", format="%+.2f", help="Average precision above a random map's"
                ),
                "low": st.column_config.NumberColumn("95 % low", format="%+.2f"),
                "high": st.column_config.NumberColumn("95 % high", format="%+.2f"),
                "pointing": st.column_config.NumberColumn("Pointing", format="percent"),
                "iou": st.column_config.NumberColumn("IoU", format="%.2f"),
                "n": "Scenes",
                "kept": st.column_config.NumberColumn(
                    "Map kept",
                    format="%.2f",
                    help="Spearman with the trained model's map, all layers shuffled",
                ),
            },
        )
        st.caption(
            "Attention and relevance: maps of words against the object that the word names; the others: the whole "
            "map against all objects. Steps averaged within a scene; 95 % t interval over scenes."
        )


def summary(gains: pd.DataFrame, shuffled: pd.DataFrame) -> pd.DataFrame:
    """Localisation and randomisation side by side, one row per (model, method)."""
    word_tools = set(gains.loc[gains["of_word"], "method"])
    best = gains[gains["of_word"] == gains["method"].isin(word_tools)]
    table = _intervals(best, ["model_id", "method"], "gain").rename(columns={"mean": "gain"})
    means = (
        best.drop_duplicates(["model_id", "method", "scene"])
        .groupby(["model_id", "method"], as_index=False)[["average_precision", "pointing", "iou"]]
        .mean()
    )
    last = (
        shuffled.loc[shuffled.groupby(["model_id", "method"])["share"].idxmax()]
        if len(shuffled)
        else shuffled
    )
    kept = last[["model_id", "method", "spearman"]].rename(columns={"spearman": "kept"})
    table = table.merge(means, how="left", on=["model_id", "method"]).merge(
        kept, how="outer", on=["model_id", "method"]
    )
    table["finds"] = [_finds(a, b) for a, b in zip(table["low"], table["high"], strict=True)]
    table["depends"] = [_depends(k) for k in table["kept"]]
    return table


def _finds(low: float, high: float) -> str:
    if pd.isna(low) or pd.isna(high):
        return "not known"
    if low > 0:
        return "yes"
    return "no: worse than chance" if high < 0 else "not above chance"


def _depends(kept: float) -> str:
    if pd.isna(kept):
        return "not known"
    return "yes" if kept < CHANGED else "no: the map outlives the weights"


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
    own = gains[gains["of_word"] == TARGETS[target or available[0]]]
    left, right = st.columns(2)
    with left:
        table = page.labelled(_intervals(own, ["model_id", "method"], "gain"))
        controls.figure(
            "Does a tool find the objects?",
            charts_explain.tool_forest(
                table,
                page.models,
                "Average precision over chance  (better →)",
                look=page.look,
                unit="Scenes",
            ),
            table,
            f"Mean over {controls.count(int(table['n'].max()), 'scene')}, steps averaged; 95 % t interval over "
            "scenes. Dashed: a random map.",
            key="localisation",
            help=LOCALISATION_HELP,
            models=page.models[page.models["label"].isin(table["model"])],
        )
    with right:
        _by_step(page, own)


def _by_step(page: Page, own: pd.DataFrame) -> None:
    table = _intervals(own, ["model_id", "method", "step"], "step_gain")
    with controls.card(
        "At which steps?",
        key="localisation_steps",
        data=page.labelled(table),
        help=LOCALISATION_HELP,
    ):
        model = controls.choose_model(page, "trust_model")
        part = table[table["model_id"] == model]
        if part.empty:
            st.caption("This model was not tested on known scenes.")
            return
        controls.draw(
            charts_explain.tool_curves(
                part,
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
            f"{controls.plain(page.label(model))}; {controls.count(int(part['n'].max()), 'scene')}; band: 95 % t "
            "interval over scenes."
        )


def randomisation(page: Page, shuffled: pd.DataFrame) -> None:
    """What becomes of each tool's map as more of the model is shuffled."""
    trained = (
        shuffled[["model_id", "method"]]
        .drop_duplicates()
        .assign(layers="none", share=0.0, spearman=1.0, samples=0)
    )
    table = pd.concat([trained, shuffled], ignore_index=True).dropna(subset=["spearman"])
    table = table.assign(mean=table["spearman"], low=np.nan, high=np.nan, n=table["samples"])
    with controls.card(
        "Does a map depend on what the model learned?",
        key="randomisation",
        data=page.labelled(shuffled),
        help=RANDOMISATION_HELP,
    ):
        tested = page.models[page.models["model_id"].isin(table["model_id"])]
        grid = st.grid(min(3, max(len(tested), 1)), min_column_width=300)
        for number, (model, label) in enumerate(
            zip(tested["model_id"].astype(int), tested["label"], strict=True)
        ):
            with grid.cell():
                controls.model_name(model, label)
                controls.draw(
                    charts_explain.tool_curves(
                        table[table["model_id"] == model],
                        "share",
                        "Weights shuffled, from the output back",
                        "Spearman with the trained map",
                        domain=(-0.5, 1.0),
                        format=".2f",
                        look=page.look,
                        unit="Maps",
                        height=260,
                    ),
                    key=f"randomisation{number}",
                    alt=f"Map similarity to the trained model's as weights are shuffled, {label}",
                )
        st.caption(
            f"Mean over {int(shuffled['samples'].max())} maps, without an interval. Left, nothing is shuffled. A tool "
            "that stays high explains the input more than the model; the random map, drawn from a seed, stays at 1."
        )


show(controls.current())
