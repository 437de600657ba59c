"""Sample images on a page."""

from __future__ import annotations

import io
from typing import Any

import streamlit as st
from PIL import Image

from app.database import finished

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


reduced = st.cache_data(max_entries=4000, max_size="32MB", show_spinner=False)(finished.reduced)


def is_image(value: Any) -> bool:
    """Whether a database value holds an image; a failed sample has none."""
    return isinstance(value, bytes | bytearray | memoryview)
