"""Pictures that follow the step in the browser: sheets of prompts, film strips, one prompt under every model.

The browser gets all recorded steps of what it shows at once, packed into one message: its length is bounded, long
trajectories are thinned. The message does not depend on the chosen step, so that it is sent once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from app.charts.axes import thin
from app.charts.images import image_type
from app.charts.style import model_colour
from app.ui import links, step_component
from app.ui.page import Page

MOST_BYTES = 4 * 2**20  # of the images of one sheet
MOST_FRAMES = 2000  # of one sheet
STRIP_STEPS = 12
ROOM = 690  # px that the pictures of a row take in a window of 1280 px


@dataclass(frozen=True)
class Frame:
    """A picture at a step: WebP, PNG or JPEG, and what is said under it."""

    step: int
    image: bytes
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A place of a sheet: its layer (a model), its group (a prompt, a step), its frames, its model's last step."""

    layer: int
    group: int
    last: int
    frames: Sequence[Frame]


@dataclass(frozen=True)
class Sheet:
    """Pictures in rows and columns.

    Attributes:
        layers: label and colour of each layer; two of them can be compared picture by picture.
        groups: title, text (spoken) and key (of the prompt that a click opens) of each group.
        cells: the pictures.
        layout: "rows" or "columns", which the layers are.
        side: of a picture, in px.
        strip: whether the groups are steps: a click chooses one, the nearest is outlined.
        notes: whether each picture's note stands below it.
        compare: whether two layers can be laid on top of each other.
        bar: title and colours (#rrggbb, lowest first) of a colour bar.
    """

    layers: Sequence[Mapping[str, str]]
    groups: Sequence[Mapping[str, str]]
    cells: Sequence[Cell]
    layout: str = "rows"
    side: int = 104
    strip: bool = False
    notes: bool = False
    compare: bool = True
    bar: Sequence[str] = ()


def is_picture(image: Any) -> bool:
    """Whether a database value begins as a WebP, PNG or JPEG image does; the browser looks again."""
    return bool(image_type(image))


def pack(sheet: Sheet) -> bytes:
    """A sheet as one message: length of the header (4 bytes, little endian), header (JSON), images.

    The same sheet is the same message, whatever the chosen step.
    """
    cells = _bounded(sheet.cells)
    images, offsets = _joined(frame.image for cell in cells for frame in cell.frames)
    header = {
        "layers": list(sheet.layers),
        "groups": list(sheet.groups),
        "layout": sheet.layout,
        "side": sheet.side,
        "strip": sheet.strip,
        "notes": sheet.notes,
        "compare": sheet.compare,
        "bar": list(sheet.bar),
        "cells": [
            {
                "layer": cell.layer,
                "group": cell.group,
                "last": cell.last,
                "frames": [[f.step, *offsets[f.image], f.note] for f in cell.frames],
            }
            for cell in cells
        ],
    }
    said = json.dumps(header)
    header["id"] = hashlib.sha256(said.encode() + images).hexdigest()
    head = json.dumps(header).encode()
    return len(head).to_bytes(4, "little") + head + images


def _bounded(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with frames, thinned evenly over their steps until they fit; first and last stay."""
    kept = [replace(cell, frames=[f for f in cell.frames if is_picture(f.image)]) for cell in cells]
    kept = [cell for cell in kept if cell.frames]
    while _is_large(kept) and any(len(cell.frames) > 2 for cell in kept):
        kept = [replace(cell, frames=_half(cell.frames)) for cell in kept]
    return kept


def _half(frames: Sequence[Frame]) -> list[Frame]:
    return [frames[i] for i in thin(range(len(frames)), max(2, len(frames) // 2))]


def _is_large(cells: Sequence[Cell]) -> bool:
    frames = [frame for cell in cells for frame in cell.frames]
    return len(frames) > MOST_FRAMES or sum(len(f.image) for f in frames) > MOST_BYTES


def _joined(images: Iterable[bytes]) -> tuple[bytes, dict[bytes, tuple[int, int]]]:
    """The images one after another, each once, and where each is: offset and length."""
    offsets: dict[bytes, tuple[int, int]] = {}
    end = 0
    for image in images:
        if image not in offsets:
            offsets[image] = (end, len(image))
            end += len(image)
    return b"".join(offsets), offsets


def show(sheet: Sheet, key: str) -> None:
    """A sheet on the page; a click on a picture that has a prompt opens the prompt."""
    opened = step_component.mount(pack(sheet), key, on_opened_change=_heard).get("opened")
    if isinstance(opened, str) and opened in {group.get("key") for group in sheet.groups}:
        links.switch_page("views/prompts.py", prompt=opened)


def show_packed(message: bytes, key: str) -> None:
    """A packed sheet that opens no prompts."""
    step_component.mount(message, key, on_opened_change=_heard)


def _heard() -> None:
    """Streamlit tells of a trigger only where a callback is named."""


def model_layers(models: pd.DataFrame) -> list[dict[str, str]]:
    """Label and colour of models (model_id, label), as layers of a sheet."""
    return [
        {"label": str(label), "colour": model_colour(int(i))}
        for i, label in zip(models["model_id"], models["label"], strict=True)
    ]


def frames_of(rows: pd.DataFrame) -> list[Frame]:
    """The frames of one sample (step, image, similarity), each with its step and similarity."""
    return [
        Frame(int(step), bytes(image), _note(int(step), similarity))
        for step, image, similarity in zip(
            rows["step"], rows["image"], rows["similarity"], strict=True
        )
    ]


def _note(step: int, similarity: float) -> str:
    return f"Step {step}" if pd.isna(similarity) else f"Step {step}: {similarity:.3f}"


def prompts_sheet(
    page: Page,
    frames: pd.DataFrame,
    texts: Mapping[int, str],
    key: str,
    *,
    models: pd.DataFrame | None = None,
) -> None:
    """A contact sheet: a column per prompt, a row per model, every picture at the chosen step.

    Args:
        page: of the view.
        frames: prompt_id, prompt_key, model_id, step, image, similarity.
        texts: of the prompts, from left to right.
        key: unique on the page.
        models: model_id and label from top to bottom, those of the page where none are given.
    """
    keys = dict(zip(frames["prompt_id"], frames["prompt_key"], strict=True))
    prompts = [prompt for prompt in texts if prompt in keys]
    shown = page.models if models is None else models
    models = shown[shown["model_id"].isin(frames["model_id"])]
    row = {int(i): row for row, i in enumerate(models["model_id"])}
    cells = [
        Cell(row[int(model)], prompts.index(prompt), page.last_of(int(model)), frames_of(rows))
        for (prompt, model), rows in frames.groupby(["prompt_id", "model_id"], sort=False)
        if prompt in texts
    ]
    groups = [{"title": "", "text": texts[p], "key": str(keys[p])} for p in prompts]
    show(Sheet(model_layers(models), groups, cells, side=side_of(len(groups))), key)


def finals_sheet(page: Page, images: pd.DataFrame, key: str, order: Sequence[int] = ()) -> None:
    """A contact sheet of final images, or of others that do not follow the step: a column per prompt, a row per model.

    Args:
        page: of the view.
        images: prompt_id, prompt_key, text, model_id, score, image.
        key: unique on the page.
        order: prompt_id from left to right; ascending where none is given.
    """
    models = page.of(*images["model_id"].astype(int))
    rows = {int(i): row for row, i in enumerate(models["model_id"])}
    prompts = list(order) or sorted(images["prompt_id"].unique())
    first = images.drop_duplicates("prompt_id").set_index("prompt_id")
    prompts = [prompt for prompt in prompts if prompt in first.index]
    groups = [
        {"title": "", "text": str(first.loc[p, "text"]), "key": str(first.loc[p, "prompt_key"])}
        for p in prompts
    ]
    cells = [
        Cell(
            rows[int(each.model_id)],
            prompts.index(each.prompt_id),
            0,
            [Frame(0, bytes(each.image), _score_note(page, each.score))],
        )
        for each in images.itertuples()
        if each.prompt_id in prompts and is_picture(each.image)
    ]
    show(Sheet(model_layers(models), groups, cells, side=side_of(len(groups))), key)


def side_of(columns: int) -> int:
    """The side of a picture, in px, at which a row of so many fits."""
    return max(48, min(104, ROOM // max(columns, 1) - 4))


def _score_note(page: Page, score: float) -> str:
    return "No score" if pd.isna(score) else f"{page.score.title} {score:.3f}"


def strip(page: Page, frames: pd.DataFrame, key: str) -> None:
    """A film strip of every model over the steps (model_id, step, image, similarity); a click on a frame goes to its step."""
    models = page.of(*(int(i) for i in page.models["model_id"] if i in set(frames["model_id"])))
    steps = thin(sorted({int(s) for s in frames["step"]}), STRIP_STEPS)
    cells = []
    for row, model in enumerate(models["model_id"].astype(int)):
        frames_shown = frames[(frames["model_id"] == model) & frames["step"].isin(steps)]
        cells += [
            Cell(row, steps.index(frame.step), page.last_of(model), [frame])
            for frame in frames_of(frames_shown)
        ]
    groups = [{"title": str(step), "text": ""} for step in steps]
    side = side_of(len(steps))
    show(Sheet(model_layers(models), groups, cells, side=side, strip=True), key)
