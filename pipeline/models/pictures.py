"""Encoded images of strangers to pixels: three formats, bounded sizes, the bytes of one image at a time."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 2**26  # of a file; a grid of four images of 4096 px
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}  # of 8 bits a channel or fewer
ALPHA = {"LA", "PA", "RGBA"}


class PictureError(ValueError):
    """What is wrong with an image, on one line."""


def decode_picture(
    data: bytes, tile: int | None = None, tiles: int = 1
) -> tuple[UInt8[ndarray, "h w 3"], str]:
    """The pixels of an image file, or of one tile of a grid.

    Args:
        data: a PNG, JPEG or WebP.
        tile: its place in a square grid, row by row; None = the whole file.
        tiles: images in the grid.

    Returns: the pixels, and a notice: "" or what was dropped.

    Raises:
        PictureError: it is of another format, damaged, too large, of more than 8 bits a channel, an animation, or does
            not divide into tiles.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of Pillow, about damage and about bombs
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                _refuse(picture)
                notice = _notice(picture)
                pixels = np.asarray(picture.convert("RGB"))
    except PictureError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        if "cannot identify image file" in reason:
            reason = f"is no {', '.join(FORMATS)} image"
        raise PictureError(f"cannot be decoded: {reason}") from None
    return (pixels if tile is None else cut_tile(pixels, tile, tiles)), notice


def _refuse(picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS or not width or not height:
        raise PictureError(f"has {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")
    if picture.mode not in MODES:
        raise PictureError(f"has pixels of mode {picture.mode}; 8 bits a channel are read")
    if getattr(picture, "n_frames", 1) > 1:
        raise PictureError("is an animation")


def _notice(picture: Image.Image) -> str:
    return "transparency dropped" if picture.mode in ALPHA or "transparency" in picture.info else ""


def cut_tile(pixels: UInt8[ndarray, "h w 3"], tile: int, tiles: int) -> UInt8[ndarray, "a b 3"]:
    """One tile of a square grid of equal tiles, counted row by row from 0.

    Raises:
        PictureError: the sides do not divide.
    """
    side = math.isqrt(tiles)
    height, width, _ = pixels.shape
    if side * side != tiles or height % side or width % side or not 0 <= tile < tiles:
        raise PictureError(f"{width} x {height} pixels are no grid of {tiles} equal images")
    row, column = divmod(tile, side)
    high, wide = height // side, width // side
    return pixels[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
