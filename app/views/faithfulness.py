"""Faithfulness: do the pixels that a tool marks matter more than others? Insertion and deletion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import baselines, faithfulness, uncertainty
from app.charts import bands, tools
from app.ui import baseline_panels, cards, choices, drawing, tables, text
from app.ui.page import BIND, Page, current, header

SCORES = {
    "clip": "CLIP similarity",
    "structure": "SSIM structure",
    "inception": "Inception distance (FID at batch 1)",
    "fid": "Squared CLIP distance",  # of older studies
}
GAMES = {"insertion": "Insertion", "deletion": "Deletion"}
AUC_HELP = (
    "Deletion removes the latent pixels, most salient first; insertion restores them. What stands in a removed pixel is "
    "the baseline: zero (in insertion a blurred copy), re-noised or resampled. After each row's worth of pixels the "
    "prediction is compared with the unchanged one. AUC is the area under that curve. Gain is the difference to the area "
    "of a random map on the same sample; a positive gain is better for both (a higher area for insertion, a lower one for "
    "deletion; the reverse for distances)."
)
NOT_MEASURED = "Insertion and deletion were not measured for this model."


def show(page: Page) -> None:
    """The whole view."""
    header("Faithfulness", "Do the pixels that a tool marks matter more than random ones?")
    scores = faithfulness.scores(page.ask_scope)
    if not scores:
        cards.empty(
            "Insertion and deletion were not measured within these filters.",
            "Clear a filter, or add faithfulness to the measures of the study file and run "
            "it again.",
        )
        return
    score = choose_score(scores)
    known = baselines.measured(page.ask_scope)
    baseline = baseline_panels.choose_baseline(known)
    table = page.labelled(faithfulness.areas(page.ask_scope, score, baseline))
    if table.empty:
        cards.empty("No curve within these filters.", "Clear a filter.")
        return
    overall(page, table[table["step"] == faithfulness.ALL_STEPS].drop(columns="step"))
    drawn = faithfulness.curves(page.ask_scope, score, baseline)
    curves(page, page.labelled(drawn), score)
    if len(known) > 1:
        baseline_panels.rankings(page, score)
    by_step(page, table[table["step"] != faithfulness.ALL_STEPS])


def choose_score(known: list[str]) -> str:
    """The score that predictions are compared with."""
    default = faithfulness.default_score(known)
    if len(known) == 1:
        return default
    chosen = st.segmented_control(
        "Scored by",
        known,
        format_func=lambda score: SCORES.get(score) or text.plain(score),
        default=default,
        required=True,
        key="score",
        bind=BIND,
    )
    return str(chosen or default)


def games(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Insertion and deletion in a column each, with their rows; one without rows is left out."""
    for column, game in zip(st.columns(2), faithfulness.GAMES, strict=True):
        rows = table[table["game"] == game]
        if len(rows):
            with column:
                yield game, rows


def overall(page: Page, table: pd.DataFrame) -> None:
    """The gain over a random map per tool and model, as figures and as a table."""
    for game, rows in games(table):
        drawn = rows.assign(mean=rows["gain"], n=rows["prompts"])
        cards.figure(
            f"{GAMES[game]}: gain over a random map",
            tools.tool_forest(drawn, page.models, "Gain in AUC  (better →)", look=page.look),
            rows,
            f"Mean over {_span(rows['prompts'])} prompts, steps and seeds averaged; 95 % t interval over "
            "prompts. Dashed: a random map.",
            key=f"gain_{game}",
            help=AUC_HELP,
            models=page.models[page.models["label"].isin(rows["model"])],
        )
    _auc_table(table)


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _auc_table(table: pd.DataFrame) -> None:
    order = {method: i for i, method in enumerate(tools.tool_order(list(table["method"])))}
    rows = table.assign(order=table["method"].map(order)).sort_values(["game", "order", "model_id"])
    names = ["model", *[c for c in rows if c not in {"model", "model_id", "order"}]]
    data = rows[names]
    shown = data.assign(
        tool=data["method"].map(tools.tool_title),
        game=data["game"].map(GAMES),
        interval=[
            uncertainty.interval_text(*each, signed=True)
            for each in data[["gain", "low", "high"]].to_numpy()
        ],
        q=data["q"].map(uncertainty.p_cell),
    )[list(AUC_COLUMNS)]
    with cards.card("Tool × game × model", key="auc", data=data, help=AUC_HELP):
        tables.show(
            shown,
            alt="Areas under insertion and deletion per tool, game and model",
            column_config=AUC_COLUMNS,
        )
        st.caption(
            "AUC: 0 to 1 for similarities. Insertion: higher is better. Deletion: lower is better. The reverse for "
            "FID, a distance. A positive gain is better. Verdict: paired t test against the random map, corrected by "
            "Holm over the table; at least 6 prompts. The CSV has the area with the inverse map too."
        )


def _number(title: str, help: str, width: int) -> Any:
    return st.column_config.NumberColumn(title, help=help, format="%.3f", width=width)


def _text(title: str, width: int, help: str | None = None) -> Any:
    return st.column_config.TextColumn(title, help=help, width=width)


AUC_COLUMNS: dict[str, Any] = {
    "tool": _text("Tool", 92),
    "game": _text("Game", 78),
    "model": _text("Model", 108),
    "verdict": _text("Verdict", 104),
    "auc": _number("AUC", "Area under the mean curve, raw", 56),
    "auc_scaled": _number("Scaled", "Area of the curve scaled to its own minimum and maximum", 60),
    "auc_random": _number("Random", "The same area with a random map", 64),
    "interval": _text("Gain, 95 %", 152, "Over the random map; positive is better"),
    "q": _text("p (Holm)", 62, "Paired t test of the gain, corrected over the table"),
}


def curves(page: Page, data: pd.DataFrame, score: str) -> None:
    """Mean insertion and deletion curves of every tool, for one model."""
    with cards.card("Mean curves", key="auc_curves", data=data, help=AUC_HELP):
        model = choices.choose_model(page, "curve_model")
        rows = data[data["model_id"] == model]
        if rows.empty:
            st.caption(NOT_MEASURED)
            return
        limits = bands.limits_of(rows)
        _key(page, rows, "auc_key")
        for game, part in games(rows):
            better = "higher" if faithfulness.higher_is_better(game, score) else "lower"
            st.markdown(f"**{GAMES[game]}** ({better} is better)")
            drawing.draw(
                tools.tool_curves(
                    part.assign(n=part["prompts"]),
                    "fraction",
                    "Pixels restored" if game == "insertion" else "Pixels removed",
                    SCORES.get(score, score),
                    look=page.look,
                    domain=limits,
                    height=300,
                ),
                key=f"curve_{game}",
                alt=f"Mean {game} curves per tool",
            )
        st.caption(
            f"{text.plain(page.label(model))}. Mean over {_span(rows['prompts'])} prompts, steps and seeds "
            "averaged; band: 95 % t interval over prompts."
        )
        cards.clip_note([rows], domain=limits)


def _key(page: Page, rows: pd.DataFrame, key: str) -> None:
    drawing.draw(tools.tool_key(rows["method"], page.look), key=key, alt="Tools and their colours")


def by_step(page: Page, table: pd.DataFrame) -> None:
    """The gain of every tool at every explained step."""
    if table["step"].nunique() < 2:
        return
    data = table.drop(columns=["p", "q", "verdict"])
    with cards.card("Gain at each step", key="gain_steps", data=data, help=AUC_HELP):
        model = choices.choose_model(page, "gain_model")
        rows = data[data["model_id"] == model]
        if rows.empty:
            st.caption(NOT_MEASURED)
            return
        drawn = rows.assign(mean=rows["gain"], n=rows["prompts"])
        limits = bands.limits_of(drawn)
        _key(page, rows, "gain_key")
        for game, part in games(drawn):
            st.markdown(f"**{GAMES[game]}**")
            drawing.draw(
                tools.tool_curves(
                    part,
                    "step",
                    "Step  (noise → image)",
                    "Gain over random  ↑",
                    zero=True,
                    format="+.3f",
                    domain=limits,
                    marker=page.progress * page.last_of(model),
                    look=page.look,
                ),
                key=f"gain_step_{game}",
                on_click=drawing.to_step(page, model),
                alt=f"Gain over a random map per step, {game}",
            )
        st.caption(
            f"{text.plain(page.label(model))}. Mean over {_span(rows['prompts'])} prompts, seeds averaged; "
            f"band: 95 % t interval over prompts. {drawing.STEP_CLICK}"
        )
        cards.clip_note([drawn], domain=limits)


show(current())
