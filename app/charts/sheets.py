"""Sheets of images for paper: rows and columns placed by hand, in points from the upper left corner.

So images and words line up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from app.charts import saliency
from app.charts.images import data_url
from app.charts.lettering import cut, text_width
from app.charts.paper import at_points, in_points

RED = "#c1121f"
GAP = 2.0
BAR = 96.0  # points that a colour bar is wide
PIECES = 64  # that it is made of


@dataclass(frozen=True)
class Cell:
    """An image of a sheet: its row, its column, PNG or WebP."""

    row: int
    column: int
    image: bytes


@dataclass(frozen=True)
class Row:
    """A row of a sheet.

    Attributes:
        left: beside its images.
        above: words over its images, each with whether it is marked.
    """

    left: str = ""
    above: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a sheet are, in points.

    Attributes:
        width: of the sheet.
        font: size of the type.
        margin: left of the first image.
        side: of an image.
        tops: of each row of images.
        height: of the sheet.
    """

    width: float
    font: float
    margin: float
    side: float
    tops: tuple[float, ...]
    height: float

    def left(self, column: int) -> float:
        """The left edge of a column."""
        return self.margin + column * (self.side + GAP)


def sheet(
    cells: Sequence[Cell],
    rows: Sequence[Row],
    columns: Sequence[str],
    width: float,
    font: float,
    *,
    largest: float = 96.0,
    bar: Sequence[str] = (),
) -> alt.LayerChart:
    """Images in rows and columns with their titles; marked words are bold and red.

    Args:
        cells: the images.
        rows: from top to bottom.
        columns: titles from left to right.
        width: of the sheet in points.
        font: size of the type.
        largest: side of an image at most, in points.
        bar: what the lowest and the highest colour of the maps mean, for a colour bar below them; none where it is empty.
    """
    layout = _layout(rows, columns, width, font, largest)
    images = pd.DataFrame(
        [
            {"x": layout.left(c.column), "y": layout.tops[c.row], "url": data_url(c.image)}
            for c in cells
        ]
    )
    side: Any = layout.side
    picture = alt.Chart(images).mark_image(
        width=side, height=side, align="left", baseline="top", smooth=False, aria=False
    )
    layers: list[Any] = [
        picture.encode(x=at_points("x"), y=at_points("y"), url=alt.Url("url:N")),
        *_lettering(_titles(rows, columns, layout), font),
    ]
    if not bar:
        return in_points(layers, width, layout.height)
    layers += _bar(bar, layout)
    return in_points(layers, width, layout.height + font + 5)


def _bar(ends: Sequence[str], layout: _Layout) -> list[Any]:
    """A colour bar below the images, with the meaning of its ends beside it."""
    top, left = layout.height + 4, layout.margin + text_width(ends[0], layout.font) + 4
    wide = BAR / PIECES
    pieces = pd.DataFrame(
        {
            "x": left + wide * i,
            "x2": left + wide * (i + 1),
            "y": top,
            "y2": top + layout.font - 2,
            "colour": saliency.colour_at(i / (PIECES - 1)),
        }
        for i in range(PIECES)
    )
    colours = alt.Chart(pieces).mark_rect(aria=False)
    y, font = top + layout.font / 2 - 1, layout.font
    words = [
        _text(left - 4, y, ends[0], "right", "middle"),
        _text(left + BAR + 4, y, ends[1], "left", "middle"),
    ]
    spans: dict[str, Any] = {"x": at_points("x"), "y": at_points("y"), "x2": "x2", "y2": "y2"}
    band = colours.encode(color=alt.Color("colour:N", scale=None), **spans)
    return [band, *_lettering(pd.DataFrame(words), font)]


def _layout(
    rows: Sequence[Row], columns: Sequence[str], width: float, font: float, largest: float
) -> _Layout:
    margin = min(max((text_width(r.left, font) for r in rows), default=0.0), width * 0.24)
    margin = margin + 4 if margin else 0.0
    count = max(len(columns), 1)
    side = min((width - margin - GAP * (count - 1)) / count, largest)
    if columns:  # words without images begin at the left
        margin += max((width - margin - (side + GAP) * count + GAP) / 2, 0.0)
    tops, y = [], font + 3.0 if any(columns) else 0.0
    for row in rows:
        y += (font + 3) if row.above else 0.0
        tops.append(y)
        y += side + GAP
    return _Layout(width, font, margin, side, tuple(tops), y)


def _lettering(words: pd.DataFrame, font: float) -> list[Any]:
    """One layer per weight, alignment and baseline: a mark has one of each."""
    layers = []
    for bold, weight in words.groupby("bold") if len(words) else ():
        for align, texts in weight.groupby("align"):
            for baseline, lines in texts.groupby("baseline"):
                mark: Any = {"align": align, "baseline": baseline, "fontSize": font, "aria": False}
                if bold:
                    mark |= {"fontWeight": "bold", "color": RED}
                chart = alt.Chart(lines[["x", "y", "text"]]).mark_text(**mark)
                layers.append(
                    chart.encode(x=at_points("x"), y=at_points("y"), text=alt.Text("text:N"))
                )
    return layers


def _titles(rows: Sequence[Row], columns: Sequence[str], layout: _Layout) -> pd.DataFrame:
    font, side, margin = layout.font, layout.side, layout.margin
    out: list[dict[str, Any]] = []
    for column, title in enumerate(columns):
        if title:
            text = cut(title, side + GAP, font)
            middle = layout.left(column) + side / 2
            out.append(_text(middle, font, text, "center", "alphabetic"))
    for row, top in zip(rows, layout.tops, strict=True):
        if row.left:
            text = cut(row.left, max(margin - 4, 8), font)
            out.append(_text(margin - 4, top + side / 2, text, "right", "middle"))
        start = margin if not row.left else 0.0
        out.extend(_words(row.above, start, top - 3, layout.width, font))
    return pd.DataFrame(out)


def _words(
    words: Sequence[tuple[str, bool]], x: float, y: float, width: float, font: float
) -> list[dict[str, Any]]:
    out = []
    space = text_width(" ", font)
    for word, marked in words:
        left = width - x
        if left < 12:
            break
        text = cut(word, left, font)
        out.append(_text(x, y, text, "left", "alphabetic", bold=marked))
        x += text_width(text, font, bold=marked) + space
    return out


def _text(
    x: float, y: float, text: str, align: str, baseline: str, *, bold: bool = False
) -> dict[str, Any]:
    return {"x": x, "y": y, "text": text, "align": align, "baseline": baseline, "bold": bold}
