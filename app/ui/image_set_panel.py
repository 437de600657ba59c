"""The card of measures of sets of images: diversity, and distance to a reference entry."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.analysis import image_sets
from app.ui import cards, tables, text
from app.ui.page import Page
from app.ui.text import plain

HELP = (
    "Measures of all final images of a model together. Vendi: how many different images there are, in effect. KID, CMMD, FID: distance to "
    "the images of the reference. Coverage: share of the reference with an image in its neighbourhood."
)
NO_TEST = (
    "One number per model, so that no paired test compares two models and no criterion of Review or the gate uses them: "
    "overlapping intervals do not say that two models are equal."
)
OUTDATED = "Images were added or changed after this was computed."


def show(page: Page) -> None:
    """The card, where `scores sets --save` has kept measures of the models shown."""
    table = page.once(image_sets.table)
    if table.empty:
        return
    number = st.column_config.NumberColumn
    with cards.card("Sets of images", key="image_sets", data=table, help=HELP):
        tables.show(
            shown(table),
            alt="Diversity of each model's images, and distance to a reference entry",
            column_config={
                "model": st.column_config.TextColumn("Model", pinned=True, width=100),
                "measure": st.column_config.TextColumn("Measure", width=105),
                "better": st.column_config.TextColumn("Better", width=58),
                "interval": st.column_config.TextColumn("Value, 95 %", width=180),
                "images": number("Images", format="%d", width=56),
                "prompts": number("Prompts", format="%d", width=60),
                "reference": st.column_config.TextColumn("Reference", width=120),
                "extractor": st.column_config.TextColumn("Extractor", width=100),
                "outdated": st.column_config.CheckboxColumn("Changed", width=66, help=OUTDATED),
            },
        )
        methods = "; ".join(dict.fromkeys(map(plain, table["method"])))
        st.caption(
            f"All finished prompts and seeds of a model, whatever the filters. Interval: {methods}. {NO_TEST} Compare within a study and "
            "an extractor, never with published numbers."
        )


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows as the table has them: intervals in one column, the reference with the number of its images."""
    counts = table["reference_images"]
    names = table["reference"].astype(str)
    named = [f"{name}, {text.count(int(n), 'image')}" if name else "" for name, n in zip(names, counts, strict=True)]  # fmt: skip
    table = table.assign(interval=tables.intervals(table, "value", signed=False), reference=named)
    return table[["model", "measure", "better", "interval", "images", "prompts", "reference", "extractor", "outdated"]]  # fmt: skip
