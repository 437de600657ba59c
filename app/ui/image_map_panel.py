"""The map of images: the last predicted clean images on two principal components, and a region of it as a slice."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import paths, slices
from app.charts.image_map import COLUMNS, ROWS, image_map
from app.charts.images import data_url
from app.charts.paths import component_titles
from app.ui import cards, drawing, pictures
from app.ui.page import Page
from app.ui.text import count

SIDE = 64  # px to which larger images are reduced
OUTSIDE = 0.25  # opacity of an image that the slice leaves out
HELP = (
    "Where each image ends in CLIP space: the embedding of the predicted clean image at the last step, on the two principal components of "
    "the whole study (Paths shows how it gets there). The plane is divided into bins; each shows the image nearest to its centre, and its "
    "colour how many images of the slice it holds. Images that CLIP finds similar are close together."
)


def show(page: Page) -> None:
    """The card; a rectangle dragged in it becomes the slice."""
    with cards.card("Map of images", key="image_map", data=lambda: _bins(page), help=HELP):
        bins = _bins(page)
        if bins.empty:
            st.caption("No image within these filters has an embedding.")
            return
        chosen = _chosen()
        drawing.draw(
            image_map(
                _drawn(bins),
                component_titles(paths.explained(page.ask_scope)),
                chosen,
                look=page.look,
            ),
            key="image_map_region" if chosen else "image_map",  # the rectangle goes with the region
            on_region=_slice,
            alt="Map of images by their CLIP embeddings",
        )
        st.caption(
            f"{count(int(bins['images'].sum()), 'image')} of the models and seeds shown in {count(len(bins), 'bin')}; "
            f"{int(bins['images_left'].sum()):,} are of prompts that the slice leaves. Drag a rectangle: the slice becomes the prompts of which "
            "an image lies in it, on every page. Its limits can be typed under Slice."
        )


def _bins(page: Page) -> pd.DataFrame:
    return page.labelled(paths.image_map(page.ask_scope, COLUMNS, ROWS))


def _drawn(bins: pd.DataFrame) -> pd.DataFrame:
    """The bins with their images as small data URLs, faint where the slice leaves none of a bin."""
    small = [
        pictures.reduced(bytes(image), SIDE) if pictures.is_image(image) else b""
        for image in bins["image"]
    ]
    return bins.drop(columns="image").assign(
        url=[data_url(image) if image else None for image in small],
        shown=(bins["images_left"] > 0).map({True: 1.0, False: OUTSIDE}),
    )


def _chosen() -> dict[str, float]:
    """The region in force, by the columns of the chart."""
    held = {key.removeprefix("slice_"): st.session_state.get(key) for key in slices.REGION}
    return {key: float(value) for key, value in held.items() if value is not None}


def _slice(brush: dict[str, Any]) -> None:
    """Let the slice be the region."""
    for key, value in slices.region(brush).items():
        st.session_state[key] = value
