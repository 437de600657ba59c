"""The baselines of insertion and deletion: which one is shown, and whether the ranking of tools depends on it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import baselines
from app.charts import tools
from app.ui import cards, tables
from app.ui.page import BIND, Page
from app.ui.text import plain

TITLES = {
    "zero": "Zero (insertion: blurred)",
    "re-noised": "Re-noised",
    "resampled": "Resampled",
}
HELP = (
    "Zeros are nothing that a denoiser was trained on, so that a map can score by breaking the input. Re-noised: the blurred "
    "clean latents, noised again to the step's level. Resampled: drawn anew, consistent with the kept pixels. Rank: by the "
    "gain over a random map; tools of one rank are not separable (paired t test, Holm over all pairs of tools)."
)


def choose_baseline(known: list[str]) -> str:
    """What stands in removed pixels in the cards of the page."""
    if len(known) == 1:
        return known[0]
    chosen = st.segmented_control(
        "Removed pixels hold",
        known,
        format_func=lambda name: TITLES.get(name) or plain(name),
        default=known[0],
        required=True,
        key="baseline_of_games",
        bind=BIND,
    )
    return str(chosen or known[0])


def rankings(page: Page, score: str) -> None:
    """The tools' ranks under each baseline, and how alike the rankings are."""
    gains = baselines.prompt_gains(page.ask_scope, score)
    _ranks(page.labelled(baselines.rankings(gains)))
    _correlations(page.labelled(baselines.compared(gains)))


def _ranks(table: pd.DataFrame) -> None:
    data = table[["model", *[c for c in table if c not in {"model", "model_id"}]]]
    shown = data.assign(
        tool=data["method"].map(tools.tool_title),
        game=data["game"].str.capitalize(),
        baseline=data["baseline"].map(TITLES),
    )[["tool", *RANK_COLUMNS]]
    with cards.card(
        "Ranking of tools under each baseline", key="baseline_ranks", data=data, help=HELP
    ):
        tables.show(
            shown,
            alt="Rank of each tool by insertion and deletion under each baseline",
            column_config={"tool": "Tool", **RANK_COLUMNS},
        )
        st.caption(
            "Gain over a random map, mean over prompts, steps and seeds averaged; 95 % t interval over prompts. A "
            "positive gain is better."
        )


def _correlations(table: pd.DataFrame) -> None:
    said = [
        f"{row['model']}. {baselines.dependence(row, tools.tool_title)}"
        for _, row in table.iterrows()
    ]
    pairs = table["reversed"].map(lambda turned: "; ".join(" / ".join(pair) for pair in turned))
    data = table.assign(reversed=pairs, said=said)
    data = data[["model", *[c for c in data if c not in {"model", "model_id"}]]]
    with cards.card(
        "Does the ranking depend on the baseline?", key="baseline_rho", data=data, help=HELP
    ):
        for line in said:
            st.text(line)
        tables.show(
            data.assign(game=data["game"].str.capitalize())[list(RHO_COLUMNS)],
            alt="Rank correlation of the tools between baselines",
            column_config=RHO_COLUMNS,
        )
        st.caption(
            "Spearman over tools, from −1 to 1 (1: the same ranking): of the means over prompts, and within a prompt, mean "
            "over prompts with its 95 % t interval. Empty: fewer than 3 tools, or all alike."
        )


def _number(title: str, help: str, format: str, width: int | None = None) -> Any:
    return st.column_config.NumberColumn(title, help=help, format=format, width=width)


RANK_COLUMNS: dict[str, Any] = {
    "model": "Model",
    "game": "Game",
    "baseline": "Removed pixels hold",
    "rank": "Rank",
    "gain": _number("Gain", "Over the random map; positive is better", "%+.3f"),
    "low": _number("95 % low", "Of the gain", "%+.3f"),
    "high": _number("95 % high", "Of the gain", "%+.3f"),
    "prompts": "Prompts",
}
RHO_COLUMNS: dict[str, Any] = {
    "model": st.column_config.TextColumn("Model", width=110),
    "game": st.column_config.TextColumn("Game", width=78),
    "first": st.column_config.TextColumn("Baseline", width=86),
    "second": st.column_config.TextColumn("Other baseline", width=100),
    "tools": st.column_config.NumberColumn("Tools", width=50),
    "of_means": _number("ρ of means", "Spearman over tools of their mean gains", "%+.2f", 80),
    "rho": _number("ρ within a prompt", "Mean over prompts", "%+.2f", 80),
    "low": _number("95 % low", "Of ρ within a prompt", "%+.2f", 80),
    "high": _number("95 % high", "Of ρ within a prompt", "%+.2f", 80),
    "prompts": st.column_config.NumberColumn("Prompts", width=60),
}
