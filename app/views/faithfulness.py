"""Faithfulness: do the pixels that a tool marks matter more than others? Insertion and deletion."""

from __future__ import annotations

from typing import Any

import charts_explain
import controls
import pandas as pd
import queries
import streamlit as st
import uncertainty
from controls import BIND, Page

# score -> what it is, and whether a higher one is closer to the untouched prediction.
SCORES = {
    "clip": ("CLIP similarity of x0", True),
    "structure": ("SSIM structure of x0", True),
    "fid": ("FID at batch 1 (the paper's)", False),
}
GAMES = {"insertion": "Insertion", "deletion": "Deletion"}
AUC_HELP = (
    "Deletion replaces the latent pixels by 0, most salient first; insertion puts them back into a blurred image. After "
    "each row's worth of pixels the prediction is compared with the untouched one. AUC is the area under that curve. "
    "Gain is the area's distance from that of a random map on the same sample, turned so that a positive gain is "
    "always better: higher areas for insertion, lower ones for deletion (the reverse for FID, a distance)."
)


def show(page: Page) -> None:
    """The whole view."""
    controls.header("Faithfulness", "Do the pixels that a tool marks matter more than random ones?")
    scores = queries.ask_scope(page.snapshot, "faithfulness_scores", page.scope)
    if scores.empty:
        controls.empty(
            "Insertion and deletion were not played within these filters.",
            "Clear a filter in the sidebar, or add faithfulness to the measures of the study file and run "
            "it again.",
        )
        return
    score = choose_score(scores["score"].tolist())
    data = queries.ask_scope(page.snapshot, "faithfulness", page.scope, score=score)
    if data.empty:
        controls.empty("No curve within these filters.", "Clear a filter in the sidebar.")
        return
    table = with_gain(page, data, higher_is_closer=SCORES.get(score, (score, True))[1])
    overall(page, table[table["step"] == -1])
    curves(page, score)
    by_step(page, table[table["step"] >= 0])


def choose_score(found: list[str]) -> str:
    """The similarity that the games are scored with."""
    if len(found) == 1:
        return found[0]
    chosen = st.segmented_control(
        "Scored by",
        found,
        format_func=lambda s: SCORES.get(s, (s, True))[0],
        default=found[0],
        required=True,
        key="score",
        bind=BIND,
    )
    return str(chosen or found[0])


def with_gain(page: Page, data: pd.DataFrame, *, higher_is_closer: bool) -> pd.DataFrame:
    """Rows with the gain over a random map, its interval, and what can be said of it."""
    sign = data["game"].map({"insertion": 1, "deletion": -1}) * (1 if higher_is_closer else -1)
    gain = data["gain"] * sign
    low, high = uncertainty.t_limits(gain, data["gain_sd"], data["prompts"])
    table = data.assign(mean=gain, low=low, high=high, n=data["prompts"])
    table["inverse"] = data["inverse_gain"] * sign
    table["verdict"] = [_verdict(a, b) for a, b in zip(low, high, strict=True)]
    return page.labelled(table)


def _verdict(low: float, high: float) -> str:
    if pd.isna(low) or pd.isna(high):
        return "one prompt: unknown"
    if low > 0:
        return "better than random"
    return "worse than random" if high < 0 else "can't be told from random"


def overall(page: Page, table: pd.DataFrame) -> None:
    """Tool x game x model: the gain over a random map, as a figure and as a table."""
    left, right = st.columns(2)
    for place, game in ((left, "insertion"), (right, "deletion")):
        own = table[table["game"] == game]
        if own.empty:
            continue
        with place:
            controls.figure(
                f"{GAMES[game]}: gain over a random map",
                charts_explain.tool_forest(
                    own, page.models, "Gain in AUC  (better →)", look=page.look
                ),
                own[["model", "method", "mean", "low", "high", "n"]],
                f"Mean over {_span(own['n'])} prompts, steps and seeds averaged; 95 % t interval over "
                "prompts. At the dashed line a tool is no better than chance.",
                key=f"gain_{game}",
                help=AUC_HELP,
                models=page.models[page.models["label"].isin(own["model"])],
            )
    _auc_table(table)


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _auc_table(table: pd.DataFrame) -> None:
    order = {method: i for i, method in enumerate(charts_explain.tool_order(list(table["method"])))}
    rows = table.assign(
        tool=table["method"].map(charts_explain.tool_title),
        game=table["game"].map(GAMES),
        place=table["method"].map(order),
    ).sort_values(["game", "place", "model_id"])
    shown = rows[
        [
            "tool",
            "game",
            "model",
            "auc",
            "auc_scaled",
            "auc_random",
            "auc_inverse",
            "mean",
            "low",
            "high",
            "verdict",
            "n",
        ]
    ]
    with controls.card("Tool × game × model", key="auc", data=shown, help=AUC_HELP):
        st.dataframe(
            shown,
            hide_index=True,
            alt="Areas of insertion and deletion per tool, game and model",
            column_config={
                "tool": "Tool",
                "game": "Game",
                "model": "Model",
                "auc": _number("AUC", "Area under the mean curve, raw"),
                "auc_scaled": _number(
                    "Scaled", "Area of the curve scaled to its own minimum and maximum"
                ),
                "auc_random": _number("Random", "The same game with a random map"),
                "auc_inverse": _number("Inverse", "The same game with the map turned round"),
                "mean": _number("Gain", "Over the random map; positive is better", "%+.3f"),
                "low": _number("95 % low", "Of the gain", "%+.3f"),
                "high": _number("95 % high", "Of the gain", "%+.3f"),
                "verdict": "Verdict",
                "n": "Prompts",
            },
        )
        st.caption(
            "AUC: 0 to 1 for similarities. Insertion: higher is better. Deletion: lower is better. For FID, a "
            "distance, the other way round. The gain's sign already says so."
        )


def _number(title: str, help: str, format: str = "%.3f") -> Any:
    return st.column_config.NumberColumn(title, help=help, format=format)


def curves(page: Page, score: str) -> None:
    """Mean insertion and deletion curves of every tool, for one model."""
    data = queries.ask_scope(page.snapshot, "faithfulness_curves", page.scope, score=score)
    title = SCORES.get(score, (score, True))[0]
    with controls.card(
        "Mean curves", key="curves", data=lambda: page.labelled(data), help=AUC_HELP
    ):
        model = controls.choose_model(page, "curve_model")
        own = data[data["model_id"] == model]
        if own.empty:
            st.caption("The games were not played on this model.")
            return
        low, high = uncertainty.t_limits(own["mean"], own["sd"], own["prompts"])
        own = own.assign(low=low, high=high, n=own["prompts"])
        limits = _limits(own)
        left, right = st.columns(2)
        for place, game in ((left, "insertion"), (right, "deletion")):
            part = own[own["game"] == game]
            if part.empty:
                continue
            with place:
                better = (
                    "higher"
                    if (game == "insertion") == SCORES.get(score, ("", True))[1]
                    else "lower"
                )
                st.markdown(f"**{GAMES[game]}** ({better} is better)")
                controls.draw(
                    charts_explain.tool_curves(
                        part,
                        "fraction",
                        "Pixels put back" if game == "insertion" else "Pixels removed",
                        title,
                        look=page.look,
                        domain=limits,
                        height=300,
                    ),
                    key=f"curve_{game}",
                    alt=f"Mean {game} curves per tool",
                )
        st.caption(
            f"{controls.plain(page.label(model))}. Mean over {_span(own['prompts'])} prompts, steps and seeds "
            "averaged; band: 95 % t interval over prompts."
        )


def _limits(own: pd.DataFrame) -> tuple[float, float]:
    """Limits that show every mean, and the bands as far as they are not far wider."""
    lowest, highest = float(own["mean"].min()), float(own["mean"].max())
    room = 0.25 * max(highest - lowest, 1e-3)
    return lowest - room, highest + room


def by_step(page: Page, table: pd.DataFrame) -> None:
    """The gain of every tool at every explained step."""
    if table["step"].nunique() < 2:
        return
    with controls.card(
        "At which steps a tool is faithful", key="gain_steps", data=table, help=AUC_HELP
    ):
        model = controls.choose_model(page, "gain_model")
        own = table[table["model_id"] == model]
        if own.empty:
            st.caption("The games were not played on this model.")
            return
        left, right = st.columns(2)
        for place, game in ((left, "insertion"), (right, "deletion")):
            part = own[own["game"] == game]
            if part.empty:
                continue
            with place:
                st.markdown(f"**{GAMES[game]}**")
                controls.draw(
                    charts_explain.tool_curves(
                        part,
                        "step",
                        "Step  (noise → image)",
                        "Gain over random  ↑",
                        zero=True,
                        format="+.3f",
                        marker=page.progress * page.last_of(model),
                        look=page.look,
                    ),
                    key=f"gain_step_{game}",
                    on_click=controls.to_step(page, model),
                    alt=f"Gain over a random map per step, {game}",
                )
        st.caption(
            f"{controls.plain(page.label(model))}. Mean over {_span(own['n'])} prompts, seeds averaged; "
            f"band: 95 % t interval over prompts. {controls.STEP_CLICK}"
        )


show(controls.current())
