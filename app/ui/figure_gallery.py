"""The gallery of the page Figures: a picture of every kind that the study has data for; the others by name, with the reason."""

from __future__ import annotations

import streamlit as st

from app.figures import thumbnails
from app.figures.kinds import KINDS, NEEDS, Kind
from app.figures.presence import missing
from app.figures.source import FigureStudy
from app.ui import cards, links, text


def show(study: FigureStudy) -> None:
    """Draws the gallery; a click on a figure's name opens it."""
    absent = missing(study)
    for group in dict.fromkeys(kind.group for kind in KINDS.values()):
        shown = [k for k in KINDS.values() if k.group == group and k.name not in absent]
        if shown:
            st.subheader(group, anchor=False)
            grid = st.grid(4, min_column_width=170)
            for kind in shown:
                with grid.container(
                    border=True, key=f"kind_{text.slug(kind.name)}", height="stretch"
                ):
                    _card(kind)
    st.caption("The pictures show what each kind looks like, with another study's data.")
    if absent:
        _absent(absent)


def _card(kind: Kind) -> None:
    picture = thumbnails.of_kind(kind.name)
    if picture is not None:
        st.image(picture, alt=f"Example: {kind.title}", width="stretch")
    if st.button(kind.title, key=f"open_{text.slug(kind.name)}", type="tertiary", width="stretch"):
        links.switch_page("views/figures.py", figure=title_of(kind))


def title_of(kind: Kind) -> str:
    """A figure as links and the list name it."""
    return f"{kind.group}: {kind.title}"


def _absent(absent: dict[str, str]) -> None:
    """The figures without data, and what each needs."""
    with cards.card("Not in this study, within these filters", key="absent_figures"):
        lines = [
            f"- **{text.plain(KINDS[name].title)}** needs {text.plain(NEEDS[need])}"
            for name, need in absent.items()
        ]
        st.markdown("\n".join(lines))
        cards.offer_to_clear("absent_figures")
