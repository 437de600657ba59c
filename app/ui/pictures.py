"""Sample images on a page."""

from __future__ import annotations

import io
from typing import Any

import streamlit as st
from PIL import Image

# Pictures below this side are enlarged without smoothing, so that a 64 px scene shows its pixels,
# not a blur.
CRISP = 320


@st.cache_data(max_entries=2000, max_size="64MB", show_spinner=False)
def enlarge(image: bytes, side: int = CRISP) -> bytes:
    """A small picture enlarged by a whole factor without smoothing, as PNG; others as they are.

    Args:
        image: WebP or PNG.
        side: the least longest side in px to reach.
    """
    with Image.open(io.BytesIO(image)) as picture:
        factor = -(-side // max(picture.size))
        if factor <= 1:
            return image
        big = picture.convert("RGB").resize(
            (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
        )
    out = io.BytesIO()
    big.save(out, "PNG", optimize=False, compress_level=1)
    return out.getvalue()


@st.cache_data(max_entries=4000, max_size="32MB", show_spinner=False)
def reduced(image: bytes, side: int) -> bytes:
    """A picture no larger than some pixels, as WebP; smaller ones as they are, nothing where it cannot be read.

    Args:
        image: WebP, PNG or JPEG.
        side: the longest side in px.
    """
    out = io.BytesIO()
    try:
        with Image.open(io.BytesIO(image)) as picture:
            if max(picture.size) <= side:
                return image
            picture.draft("RGB", (side, side))
            small = picture.convert("RGB")
            small.thumbnail((side, side))
            small.save(out, "WEBP", quality=80)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""
    return out.getvalue()


def is_image(value: Any) -> bool:
    """Whether a database value holds an image; a failed sample has none."""
    return isinstance(value, bytes | bytearray | memoryview)
