"""Sizes and ranges of maps whose pixels are rows."""

from __future__ import annotations

import pandas as pd


def sizes_and_ranges(pixels: pd.DataFrame) -> pd.DataFrame:
    """Per map its height and width, and its lowest and highest value."""
    keys = ["model", "step", "method", "word"]
    pixels = pixels.assign(word=pixels["word"].astype(object).fillna(""))
    maps = pixels.groupby(keys, as_index=False).agg(
        height=("y", "max"), width=("x", "max"), low=("value", "min"), high=("value", "max")
    )  # fmt: skip
    return maps.assign(height=maps["height"] + 1, width=maps["width"] + 1)
