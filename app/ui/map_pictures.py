"""The saliency maps of every tool, a column for each model, as pictures that follow the step in the browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app.analysis.uncertainty import significant
from app.charts import saliency, tools
from app.charts.saliency import VIRIDIS
from app.ui import queries, step_pictures
from app.ui.page import Page
from app.ui.step_pictures import Cell, Frame, Sheet

SIDE = 116
Underneath = Mapping[tuple[int, int], bytes]  # (model_id, step) -> the picture that a map explains


@dataclass(frozen=True)
class Asked:
    """Whose maps are shown, and how.

    Attributes:
        prompt: prompt_id.
        seed: of the samples.
        overlay: whether maps lie over their image.
        scale: PER_ROW or PER_MAP, of `app.charts.saliency`.
    """

    prompt: int
    seed: int
    overlay: bool
    scale: str


def at_the_step(page: Page, maps: pd.DataFrame, frames: pd.DataFrame, asked: Asked) -> None:
    """Draws the sheet: the images, and below them a row for each tool.

    Args:
        page: of the view.
        maps: model_id, method, step, values.
        frames: model_id, step, image, similarity.
        asked: whose maps they are, and how they are drawn.
    """
    message = _packed((page.snapshot, queries.key(page.scope)), asked, page, maps, frames)
    step_pictures.show_packed(message, "regions_maps")


@st.cache_data(max_entries=32, max_size="64MB", show_spinner=False)
def _packed(
    study: tuple[object, ...], asked: Asked, _page: Page, _maps: pd.DataFrame, _frames: pd.DataFrame
) -> bytes:
    """The sheet as its message; painting some hundred maps takes a third of a second."""
    models = _page.of(*_maps["model_id"].astype(int))
    methods = tools.tool_order(list(_maps["method"].unique()))
    limits = saliency.colour_limits(
        _maps["values"], None if asked.scale == saliency.PER_MAP else _maps["method"]
    )
    drawn = _maps.assign(low=limits["low"], high=limits["high"])
    cells = []
    for column, model in enumerate(models["model_id"].astype(int)):
        last, shown = _page.last_of(model), _frames[_frames["model_id"] == model]
        cells.append(Cell(column, 0, last, step_pictures.frames_of(shown)))
        under = {
            (model, int(s)): bytes(i) for s, i in zip(shown["step"], shown["image"], strict=True)
        }
        for row, method in enumerate(methods, 1):
            rows = drawn[(drawn["model_id"] == model) & (drawn["method"] == method)]
            cells.append(Cell(column, row, last, _painted(rows, under if asked.overlay else {})))
    groups = [
        {"title": "Image x0", "text": ""},
        *(_title(drawn, each, asked.scale) for each in methods),
    ]
    layers = step_pictures.model_layers(models)
    return step_pictures.pack(
        Sheet(
            layers,
            groups,
            cells,
            "columns",
            SIDE,
            notes=True,
            bar=(
                f"Saliency of each {'map' if asked.scale == saliency.PER_MAP else 'row'}",
                *VIRIDIS,
            ),
        )
    )


def _painted(rows: pd.DataFrame, under: Underneath) -> list[Frame]:
    """The maps of one model and tool as pictures, each with its step and its values."""
    return [
        Frame(
            int(row.step),
            saliency.paint(
                row.values_, row.low, row.high, under.get((int(row.model_id), int(row.step)))
            ),
            f"Step {int(row.step)}: {significant(row.values_.min(), 2)} to {significant(row.values_.max(), 2)}",
        )
        for row in rows.rename(columns={"values": "values_"}).sort_values("step").itertuples()
    ]


def _title(maps: pd.DataFrame, method: str, scale: str) -> dict[str, str]:
    """A row's tool, and the values of its colour scale where the row shares one."""
    title = tools.tool_title(method)
    if scale == saliency.PER_MAP:
        return {"title": title, "text": ""}
    first = maps[maps["method"] == method].iloc[0]
    return {
        "title": f"{title}: {significant(first['low'], 2)} to {significant(first['high'], 2)}",
        "text": "",
    }
