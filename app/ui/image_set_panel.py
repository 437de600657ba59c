"""The card of measures of sets of images: diversity, and distance to a reference entry."""

from __future__ import annotations

import streamlit as st

from app.analysis import image_sets
from app.ui import cards, tables
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


def show(page: Page) -> None:
    """The card, where `scores sets --save` has kept measures of the models shown."""
    table = page.once(image_sets.table)
    if table.empty:
        return
    number = st.column_config.NumberColumn
    with cards.card("Sets of images", key="image_sets", data=table, help=HELP):
        tables.show(
            table.drop(columns=["model_id", "method", "computed_at"]),
            alt="Diversity of each model's images, and distance to a reference entry",
            column_config={
                "model": st.column_config.TextColumn("Model", pinned=True),
                "measure": st.column_config.TextColumn("Measure", pinned=True),
                "better": "Better",
                "value": number("Value", format="%.4g"),
                "low": number("95 % low", format="%.4g"),
                "high": number("95 % high", format="%.4g"),
                "images": number("Images", format="%d"),
                "prompts": "Prompts",
                "reference": "Reference",
                "reference_images": number("Images of the reference", format="%d"),
                "extractor": "Extractor",
                "outdated": "Images changed since",
            },
        )
        methods = "; ".join(dict.fromkeys(map(plain, table["method"])))
        st.caption(
            f"All finished prompts and seeds of a model, whatever the filters. Interval: {methods}. {NO_TEST} Compare within a study and "
            "an extractor, never with published numbers."
        )
