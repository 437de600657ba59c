"""Cards of information per word: over log-SNR by role and by word, in all, against the scorer, and as maps."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import information
from app.analysis.words import ROLES
from app.charts import images, saliency
from app.charts.axes import AXES
from app.charts.bands import limits_of
from app.charts.curves import curves
from app.ui import cards, choices, drawing, queries, tables
from app.ui.curve_grid import curve_grid
from app.ui.page import BIND, Page
from app.ui.text import count, legend, plain

HELP = (
    "The finished image is noised to the level of each step, and the noise is predicted with the whole prompt and with the prompt without "
    "the word. Half the squared difference is the word's information at that level, in nats per unit of log-SNR; its integral is in nats. "
    "Higher: the word decides more of the image."
)
AGAINST_HELP = (
    "Effect: how much closer the scorer finds the image to the prompt than the image sampled without the word. Change: 1 minus the cosine of the "
    "two images. Rank correlation with the information over a prompt's words, -1 to 1."
)
DENSITY = "Nats per log-SNR  ↑"
TILE = 116


def measured(page: Page) -> bool:
    """Whether the study has information per word within the filters."""
    return not page.once(information.totals).empty


def show(page: Page) -> None:
    """All cards."""
    table = page.once(information.totals)
    by_role(page)
    by_word(page, table)
    in_all(page, table)
    against_scorer(page)
    as_maps(page)


def by_role(page: Page) -> None:
    """A small chart per role over log-SNR, models in their colours, one scale for all."""
    table = page.once(information.role_curves)
    present = [role for role in ROLES if role in set(table["role"])]
    if not present:  # a prompt file may name roles of its own
        return
    with cards.card("Information of each role", key="information_roles", data=table, help=HELP):
        legend(page.models)
        curve_grid(
            page,
            table,
            "role",
            present,
            AXES["Log-SNR"],
            DENSITY,
            key="information_role",
            alt="Information of a word of the role",
            format=".2f",
        )
        st.caption(
            "Of a word of the role, at each noise level; words of a role and seeds averaged within a prompt. Band: 95 % t interval over the "
            f"{count(int(table['prompts'].max()), 'prompt')} at most that have the role."
        )


def by_word(page: Page, table: pd.DataFrame) -> None:
    """One word over log-SNR."""
    words = information.words_of(table)
    if not words:
        return
    with cards.card("Information of a word", key="information_word", data=None, help=HELP):
        if st.session_state.get("information_of") not in words:
            st.session_state.pop("information_of", None)
        word = st.selectbox(
            "Word", words, key="information_of", bind=BIND, width=260, format_func=plain
        )
        rows = page.once(information.word_curves, word=word)
        legend(page.models)
        limits = limits_of(rows)
        _curves(page, rows, "word", word, limits)
        cards.clip_note([rows], domain=limits)
        st.caption(
            f"{count(int(rows['prompts'].max()), 'prompt')} with the word; band: 95 % t interval over prompts."
        )


def _curves(
    page: Page, rows: pd.DataFrame, key: str, name: str, limits: tuple[float, float]
) -> None:
    drawing.draw(
        curves(
            rows,
            page.models,
            AXES["Log-SNR"],
            DENSITY,
            look=page.look,
            height=210,
            domain=limits,
            format=".2f",
        ),
        key=f"information_{key}",
        alt=f"Information of {name} over log-SNR",
    )


def in_all(page: Page, table: pd.DataFrame) -> None:
    """The integral over log-SNR, of roles and words."""
    with cards.card("Information in all", key="information_totals", data=table, help=HELP):
        shown = table.assign(
            nats=[
                _interval(*row, digits=1)
                for row in table[["mean", "low", "high"]].itertuples(index=False)
            ],
            kind=table["kind"].str.capitalize(),
        )
        tables.show(shown[list(TOTALS)], alt="Information in nats", column_config=TOTALS)
        st.caption(
            "Integral over the measured noise levels; mean with its 95 % t interval over prompts. Roles: of one of their words. Words of at least "
            "two prompts."
        )


TOTALS: dict[str, Any] = {
    "model": "Model",
    "kind": "Kind",
    "name": "Role or word",
    "nats": "Nats [95 %]",
    "prompts": "Prompts",
}


def against_scorer(page: Page) -> None:
    """Rank correlation with what the scorer sees of leaving a word out."""
    table = page.once(information.agreement)
    if table.empty:
        return
    with cards.card("Against the scorer", key="information_scorer", data=table, help=AGAINST_HELP):
        shown = table.assign(
            rho=[
                _interval(*row, digits=2)
                for row in table[["mean", "low", "high"]].itertuples(index=False)
            ],
            against=table["against"].map(information.AGAINST),
        )
        tables.show(
            shown[list(AGREEMENT)],
            alt="Rank correlation of information and the scorer's view of a word's effect",
            column_config=AGREEMENT,
        )
        st.caption(
            "Spearman's correlation over the words of a prompt, by the first scorer; mean with its 95 % t interval over prompts with at least three "
            "words."
        )


AGREEMENT: dict[str, Any] = {
    "model": "Model",
    "against": "Scorer's view",
    "rho": "Rank correlation [95 %]",
    "prompts": "Prompts",
}


def _interval(mean: float, low: float, high: float, *, digits: int) -> str:
    if pd.isna(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def as_maps(page: Page) -> None:
    """Where each word of one prompt acts: the information per position."""
    prompts = queries.ask_scope(page.snapshot, "information_prompts", page.scope)
    if prompts.empty:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        prompt = choices.choose_prompt(prompts, "information_prompt")
        model = choices.choose_model(page, "information_model")
        seed = choices.choose_seed(page)
    maps = queries.ask_scope(
        page.snapshot, "information_maps", page.scope, prompt=prompt, seed=seed
    )
    maps = maps[maps["model_id"] == model]
    if maps.empty:
        cards.empty("No maps of this model for this prompt.", "Choose another model or prompt.")
        return
    maps = maps.assign(values=[saliency.read_map(row) for _, row in maps.iterrows()])
    data = page.labelled(maps.drop(columns=["map", "values"]))
    with cards.card("Where each word acts", key="information_maps", data=data, help=HELP):
        _tiles(maps)
        st.caption(
            "Nats per position of the latents, over all noise levels. Each map is scaled from its lowest (dark) to its highest value (bright). "
            "One sample: an example, no mean."
        )


def _tiles(maps: pd.DataFrame) -> None:
    with st.container(horizontal=True, gap="small"):
        for row in maps.rename(columns={"values": "nats_at"}).itertuples():
            with st.container(width=TILE):
                picture = saliency.paint(row.nats_at, row.nats_at.min(), row.nats_at.max())
                shown = images.enlarged(picture, TILE)
                alt = f"Where the word {row.word} acts"
                st.image(shown, width=TILE, output_format="PNG", alt=alt)
                st.caption(f"{plain(str(row.word))}: {row.nats:.1f}")
