"""What the figures made of images share: sheets, prompts, maps over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import pandas as pd

from app.charts import saliency
from app.charts.images import enlarged
from app.charts.sheets import Cell, Row, sheet
from app.figures.source import FigureStudy, NotMeasured

FONT = 8.0
ROW_SCALE = (
    "One colour scale across each row, from dark (its lowest value) to bright (its highest)."
)


def no_maps(what: str, line: str) -> NotMeasured:
    """The error of a study without maps; `line` is what to add under [measures]."""
    return NotMeasured(
        f"This study has no {what} within these filters.",
        f"Add {line} under [measures] of the study file, then run it again: what is done is kept.",
    )


def sheet_of(
    cells: Sequence[Cell], rows: Sequence[Row], columns: Sequence[str], largest: float = 100.0
) -> Callable[[float], alt.TopLevelMixin]:
    """Draws images in rows and columns; returns a function of the sheet's width."""
    tall = min(largest, max(430.0 / max(len(rows), 1), 28.0))
    return lambda width: sheet(cells, rows, columns, width, FONT, largest=tall)


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


def map_cells(maps: pd.DataFrame, row: int, columns: Sequence[int]) -> list[Cell]:
    """The saliency maps of one row of a sheet over their images, on one colour scale.

    Args:
        maps: map, height, width, low, high, image; in the order of the columns.
        row: of the sheet.
        columns: of each map.
    """
    values = pd.Series([saliency.read_map(record) for _, record in maps.iterrows()], dtype=object)
    limits = saliency.colour_limits(values, pd.Series(0, values.index))
    return [
        Cell(row, column, saliency.paint(each, low, high, _picture(image)))
        for column, each, low, high, image in zip(
            columns, values, limits["low"], limits["high"], maps["image"], strict=True
        )
    ]


def _picture(value: Any) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | bytearray) else None
