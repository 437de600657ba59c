"""The type of the figures: how wide a line of text is, and where it is cut."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

FONTS = Path(__file__).resolve().parents[1] / "static" / "fonts"
FILES = {
    ("normal", "normal"): "stepscope-serif-regular.ttf",
    ("bold", "normal"): "stepscope-serif-bold.ttf",
    ("normal", "italic"): "stepscope-serif-italic.ttf",
}


@lru_cache(maxsize=32)
def font_at(size: float, bold: bool) -> ImageFont.FreeTypeFont:
    """The figures' type at ten times a size, so that widths keep a tenth of a point."""
    file = FILES[("bold" if bold else "normal"), "normal"]
    return ImageFont.truetype(str(FONTS / file), round(size * 10))


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a line of text in points."""
    return float(font_at(size, bold).getlength(text)) / 10


def cut(text: str, width: float, size: float) -> str:
    """A line of text that is at most so many points wide, with an ellipsis where it was cut."""
    line = " ".join(text.split())
    if text_width(line[:2000], size) <= width and len(line) <= 2000:
        return line
    low, high = 0, min(len(line), 2000)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(line[:middle] + "…", size) <= width:
            low = middle
        else:
            high = middle - 1
    return line[:low].rstrip() + "…"
