"""Saliency maps as pictures: one painter, crisp, on one scale or several."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from app.charts import saliency
from app.figures import sheets


def stored(values: np.ndarray, low: float, high: float) -> pd.Series:
    scaled = ((values - low) / (high - low)).astype(np.float16)
    height, width = values.shape
    return pd.Series(
        {"map": scaled.tobytes(), "height": height, "width": width, "low": low, "high": high}
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 0, 0)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def test_a_stored_map_comes_back_in_its_own_units() -> None:
    values = np.array([[0.2, 0.4, 0.6], [0.8, 0.3, 0.2]])
    assert saliency.read_map(stored(values, 0.2, 0.8)) == pytest.approx(values, abs=1e-3)


def test_colours_run_from_the_scales_lowest_to_its_highest_value() -> None:
    values = np.array([[-1.0, 0.0, 1.0, 2.0]])
    colours = saliency.colourise(values, 0.0, 1.0)[0]
    first, last = (
        [int(c[i : i + 2], 16) for i in (1, 3, 5)]
        for c in (saliency.VIRIDIS[0], saliency.VIRIDIS[-1])
    )
    assert colours[0].tolist() == colours[1].tolist() == first
    assert colours[2].tolist() == colours[3].tolist() == last
    assert saliency.colourise(values, 1.0, 1.0).shape == (1, 4, 3)  # a constant map


def test_a_map_in_grey_keeps_its_order() -> None:
    values = np.linspace(0, 1, 64).reshape(8, 8)
    grey = Image.open(io.BytesIO(saliency.paint(values, 0, 1))).convert("L")
    assert (np.diff(np.asarray(grey, float)[8::16, 8::16].ravel()) > 0).all()


def test_maps_are_drawn_crisp() -> None:
    tile = pixels(saliency.paint(np.eye(8), 0, 1))
    assert tile.shape == (128, 128, 3)
    assert len(np.unique(tile.reshape(-1, 3), axis=0)) == 2  # no colour between neighbours


def test_a_map_lies_over_its_picture() -> None:
    over = pixels(saliency.paint(np.zeros((8, 8)), 0, 1, picture()))
    alone = pixels(saliency.paint(np.zeros((8, 8)), 0, 1))
    assert (over != alone).any()
    assert len(np.unique(over.reshape(-1, 3), axis=0)) == 1


def test_maps_of_a_row_share_a_scale_or_have_their_own() -> None:
    maps = pd.Series([np.array([[0.0, 1.0]]), np.array([[2.0, 4.0]]), np.array([[5.0, 6.0]])])
    shared = saliency.colour_limits(maps, pd.Series(["a", "a", "b"]))
    assert shared.values.tolist() == [[0, 4], [0, 4], [5, 6]]
    assert saliency.colour_limits(maps).values.tolist() == [[0, 1], [2, 4], [5, 6]]


def test_page_and_figure_paint_the_same_picture() -> None:
    """One painter: the page's tiles of a row and the figure's cells of it are the same to the byte."""
    weak, strong = np.eye(8) * 0.2 + 0.1, np.rot90(np.eye(8)) * 0.8
    table = pd.DataFrame([stored(weak, 0.1, 0.3), stored(strong, 0.0, 0.8)])
    cells = sheets.map_cells(table.assign(image=[picture(), None]), 0, [0, 1])
    values = pd.Series([saliency.read_map(row) for _, row in table.iterrows()])
    limits = saliency.colour_limits(values, pd.Series(["row", "row"]))
    painted = [
        saliency.paint(each, low, high, under)
        for each, low, high, under in zip(
            values, limits["low"], limits["high"], (picture(), None), strict=True
        )
    ]
    assert [cell.image for cell in cells] == painted
    assert len(np.unique(pixels(cells[1].image).reshape(-1, 3), axis=0)) == 2  # not smoothed
    assert pixels(cells[0].image).max() < pixels(cells[1].image).max()  # weak stays dark
