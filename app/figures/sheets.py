"""What the figures made of images share: sheets, prompts, maps over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from app.charts import saliency
from app.charts.images import enlarged
from app.charts.sheets import Cell, Row, sheet
from app.figures.source import FigureStudy, NotMeasured

FONT = 8.0


@dataclass(frozen=True)
class MapScale:
    """What one colour scale of a figure's maps covers.

    Attributes:
        covers: one of SCALES: row, map or figure.
        low, high: values of the darkest and the brightest colour of a scale of the whole figure.
        turned: whether the steps run down the page, so that what was a row is a column.
    """

    covers: str = "row"
    low: float = 0.0
    high: float = 1.0
    turned: bool = False

    @property
    def sentence(self) -> str:
        """The scale in a caption."""
        if self.covers == "figure":
            return f"One colour scale for all maps, from dark ({self.low:.3g}) to bright ({self.high:.3g})."
        across = "column" if self.turned else "row"
        which = (
            f"One colour scale across each {across}"
            if self.covers == "row"
            else "Each map has its own colour scale"
        )
        return f"{which}, from dark (its lowest value) to bright (its highest)."

    @property
    def ends(self) -> tuple[str, str]:
        """What the ends of the colour bar mean."""
        if self.covers == "figure":
            return f"{self.low:.3g}", f"{self.high:.3g}"
        covered = {"row": "column" if self.turned else "row"}.get(self.covers, "map")
        return f"lowest of the {covered}", "highest"


def scale_of(study: FigureStudy, maps: pd.DataFrame) -> MapScale:
    """The colour scale that the author chose for these maps (map, height, width, low, high)."""
    covers, turned = study.choice.scale or "row", is_turned(study)
    if covers != "figure" or maps.empty:
        return MapScale("row" if covers == "figure" else covers, turned=turned)
    return MapScale(covers, float(maps["low"].min()), float(maps["high"].max()), turned)


def is_turned(study: FigureStudy) -> bool:
    """Whether the author wants the steps down the page."""
    return study.choice.layout == "steps-down"


def no_maps(what: str, line: str) -> NotMeasured:
    """The error of a study without maps; `line` is what to add under [measures]."""
    return NotMeasured(
        f"This study has no {what} within these filters.",
        f"Add {line} under [measures] of the study file, then run it again: what is done is kept.",
    )


def sheet_of(
    cells: Sequence[Cell],
    rows: Sequence[Row],
    columns: Sequence[str],
    largest: float = 100.0,
    *,
    turned: bool = False,
    bar: Sequence[str] = (),
) -> Callable[[float], alt.TopLevelMixin]:
    """Draws images in rows and columns; returns a function of the sheet's width.

    Args:
        cells, rows, columns: as of `sheet`.
        largest: side of an image at most, in points.
        turned: whether the columns become rows.
        bar: as of `sheet`.
    """
    if turned:
        cells, rows, columns = turn(cells, rows, columns)
    tall = min(largest, max(430.0 / max(len(rows), 1), 28.0))
    return lambda width: sheet(cells, rows, columns, width, FONT, largest=tall, bar=bar)


def turn(
    cells: Sequence[Cell], rows: Sequence[Row], columns: Sequence[str]
) -> tuple[list[Cell], list[Row], list[str]]:
    """A sheet with rows for columns. Rows below one line of words (a prompt's) stay together: a block of columns each.

    Where every block is one row, its words become its column's title.
    """
    starts = [i for i, row in enumerate(rows) if row.above or i == 0]
    ends = [*starts[1:], len(rows)]
    if all(end - start == 1 for start, end in zip(starts, ends, strict=True)):
        titles = [" ".join(word for word, _ in row.above) or row.left for row in rows]
        return [Cell(c.column, c.row, c.image) for c in cells], [Row(c) for c in columns], titles
    names = list(dict.fromkeys(row.left for row in rows))
    out: list[Cell] = []
    lines: list[Row] = []
    for block, start in enumerate(starts):
        block_rows = range(start, ends[block])
        top = block * len(columns)
        lines += [Row(c, rows[start].above if i == 0 else ()) for i, c in enumerate(columns)]
        out += [
            Cell(top + c.column, names.index(rows[c.row].left), c.image)
            for c in cells
            if c.row in block_rows
        ]
    return out, lines, names


def plain_words(text: str) -> tuple[tuple[str, bool], ...]:
    """A text as one unmarked line above a row."""
    return ((" ".join(text.split()), False),)


def without_images(data: pd.DataFrame) -> pd.DataFrame:
    """The rows without their pictures and maps, for the CSV."""
    return data.drop(columns=[c for c in ("image", "map") if c in data])


def prompts_of(study: FigureStudy, most: int) -> pd.DataFrame:
    """The prompts with a finished image: those that the author named, else the first ones.

    Raises:
        NotMeasured: there is none.
    """
    prompts = study.ask_scope("figure_prompts")
    if prompts.empty:
        raise NotMeasured(
            "There is no finished image within these filters.",
            "Leave a filter out, or run the study: python -m pipeline run STUDY.toml",
        )
    return study.pick_prompts(prompts, most)


def image_cells(frames: pd.DataFrame, row: int, steps: Sequence[int]) -> list[Cell]:
    """The images of one row of a sheet, a column per step."""
    position = {step: i for i, step in enumerate(steps)}
    return [
        Cell(row, position[int(step)], enlarged(bytes(image), saliency.TILE))
        for step, image in zip(frames["step"], frames["image"], strict=True)
    ]


def map_cells(
    maps: pd.DataFrame, row: int, columns: Sequence[int], scale: MapScale | None = None
) -> list[Cell]:
    """The saliency maps of one row of a sheet over their images.

    Args:
        maps: map, height, width, low, high, image; in the order of the columns.
        row: of the sheet.
        columns: of each map.
        scale: the colour scale; one for the row where none is given.
    """
    scale = scale or MapScale()
    values = pd.Series([saliency.read_map(record) for _, record in maps.iterrows()], dtype=object)
    together = pd.Series(0, values.index) if scale.covers == "row" else None
    limits = saliency.colour_limits(values, together)
    if scale.covers == "figure":
        limits = limits.assign(low=scale.low, high=scale.high)
    return [
        Cell(row, column, saliency.paint(each, low, high, _picture(image)))
        for column, each, low, high, image in zip(
            columns, values, limits["low"], limits["high"], maps["image"], strict=True
        )
    ]


def _picture(value: Any) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | bytearray) else None
