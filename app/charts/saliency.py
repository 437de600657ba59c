"""Saliency maps as pictures: the one painter of pages and figures.

A map is enlarged without smoothing, so that a pixel of the map is a square of the picture, and coloured
from the lowest (dark) to the highest (bright) value of its colour scale.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

# Anchors of viridis (van der Walt and Smith, CC0), which Vega's scheme of that name runs through.
VIRIDIS = (
    "#440154",
    "#482878",
    "#3e4989",
    "#31688e",
    "#26828e",
    "#1f9e89",
    "#35b779",
    "#6ece58",
    "#b5de2b",
    "#fde725",
)
TILE = 128  # px of a drawn map's longer side; a whole multiple of most latent grids
OVERLAY = 0.62  # weight of the colour over the picture
# What one colour scale covers.
PER_ROW, PER_MAP = "One per row", "Each map its own"

Map = NDArray[np.float64]


def read_map(row: pd.Series) -> Map:
    """A stored map in its own units, "h w".

    Args:
        row: map (float16, row-major, 0..1), height, width, low, high.
    """
    scaled = np.frombuffer(bytes(row["map"]), np.float16).astype(float)
    scaled = scaled.reshape(int(row["height"]), int(row["width"]))
    return float(row["low"]) + scaled * (float(row["high"]) - float(row["low"]))


def colour_limits(maps: pd.Series, rows: pd.Series | None = None) -> pd.DataFrame:
    """The lowest and the highest value of each map's colour scale.

    Args:
        maps: one map per element.
        rows: the row in which each map is drawn, where the maps of a row share a scale.

    Returns:
        low and high, one row per map.
    """
    low, high = maps.map(np.min), maps.map(np.max)
    if rows is not None:
        low = low.groupby(rows).transform("min")
        high = high.groupby(rows).transform("max")
    return pd.DataFrame({"low": low, "high": high})


def colourise(values: Map, low: float, high: float) -> NDArray[np.uint8]:
    """Values to viridis colours, "h w 3"; what lies outside low and high gets the end's colour."""
    span = high - low
    share = np.clip((values - low) / span, 0, 1) if span > 0 else np.zeros_like(values)
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in VIRIDIS], float)
    at = np.linspace(0, 1, len(anchors))
    channels = [np.interp(share, at, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def colour_at(share: float) -> str:
    """The colour, #rrggbb, of a place between the lowest (0) and the highest (1) value."""
    red, green, blue = (int(each) for each in colourise(np.array([[share]]), 0.0, 1.0)[0, 0])
    return f"#{red:02x}{green:02x}{blue:02x}"


def paint(values: Map, low: float, high: float, under: bytes | None = None) -> bytes:
    """A map as PNG, enlarged without smoothing; laid over a grey picture where there is one.

    Args:
        values: "h w", in its own units.
        low: value of the darkest colour.
        high: value of the brightest colour.
        under: the picture (WebP or PNG) that the map explains.
    """
    height, width = values.shape
    factor = max(1, round(TILE / max(height, width)))
    size = (width * factor, height * factor)
    tile = Image.fromarray(colourise(values, low, high)).resize(size, Image.Resampling.NEAREST)
    if under is not None:
        with Image.open(io.BytesIO(under)) as picture:
            grey = picture.convert("L").resize(size, Image.Resampling.NEAREST).convert("RGB")
        tile = Image.blend(grey, tile, OVERLAY)
    out = io.BytesIO()
    tile.save(out, "PNG", compress_level=3)
    return out.getvalue()
