"""Images and saliency maps as sequences, each with a table that says what they are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.charts import saliency
from app.charts.images import enlarged
from app.figures.parts import of_methods
from app.figures.sheets import no_maps, prompts_of
from app.figures.source import FigureStudy

MOST_PROMPTS = 8
MOST_IN_SHEET = 64
SIDE = 128  # px of a picture in a sheet
LINE = 14  # px of a line of type
GAP = 4  # px between pictures
MOST_LETTERS = 60
WORD_MAPS = ("maps of words", 'attention = { steps = "all", maps = true }')
WHOLE_MAPS = ("maps", "df-cam = { steps = [5, 15, 25], prompts = 8 }")
TABLE = ["model_id", "model", "prompt_id", "prompt", "seed", "step", "score"]
MAP_TABLE = ["model_id", "model", "prompt_id", "prompt", "seed", "step", "method", "word", "height", "width", "low", "high"]  # fmt: skip
LABELS = ("step", "word", "method", "model", "prompt")  # what tells pictures of a sheet apart


@dataclass(frozen=True, eq=False)
class Pictures(Sequence[Image.Image]):
    """Images with a table of what they are; a notebook shows them as one contact sheet.

    Attributes:
        table: one row per image.
        encoded: the images as files (WebP, PNG or JPEG).
    """

    table: pd.DataFrame
    encoded: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.encoded)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Image.Image | Self:
        if isinstance(index, slice):
            table = self.table.iloc[index].reset_index(drop=True)
            return type(self)(table, self.encoded[index])
        return decoded(self.encoded[index])

    def sheet(self, columns: int | None = None) -> Image.Image:
        """One image of the first 64, with what each is above it; so many side by side (8 unless given)."""
        return sheet(self.encoded, labels(self.table), columns or min(len(self), 8))

    def arrow(self) -> pa.Table:
        """The table with the files as `image` (binary): what `datasets.Dataset` and polars take."""
        return pa.table(self.table).append_column("image", pa.array(self.encoded, pa.binary()))

    def __repr__(self) -> str:
        return f"{len(self)} images; .table says which, [0] is the first, .sheet() shows them"

    def _repr_png_(self) -> bytes | None:
        return png(self.sheet()) if len(self) else None


@dataclass(frozen=True, eq=False)
class Maps(Sequence[NDArray[np.float64]]):
    """Saliency maps with a table of what they are; a notebook shows them over their images.

    Attributes:
        table: one row per map.
        values: arrays "h w" in the method's own unit; higher is more important.
        under: per map the encoded image that it explains, None where no frame was kept.
    """

    table: pd.DataFrame
    values: tuple[NDArray[np.float64], ...]
    under: tuple[bytes | None, ...]

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float64]: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.float64] | Self:
        if isinstance(index, slice):
            table = self.table.iloc[index].reset_index(drop=True)
            return type(self)(table, self.values[index], self.under[index])
        return self.values[index]

    def picture(self, index: int) -> Image.Image:
        """A map over its image: dark = its lowest value, bright = its highest."""
        return decoded(self._painted(index))

    def sheet(self, columns: int | None = None) -> Image.Image:
        """One image of the first 64 maps, each on its own colour scale, with what it is above it."""
        painted = [self._painted(index) for index in range(min(len(self), MOST_IN_SHEET))]
        return sheet(painted, labels(self.table), columns or min(len(self), 8))

    def __repr__(self) -> str:
        return f"{len(self)} maps; .table says which, [0] is the first, .sheet() shows them"

    def _repr_png_(self) -> bytes | None:
        return png(self.sheet()) if len(self) else None

    def _painted(self, index: int) -> bytes:
        values = self.values[index]
        return saliency.paint(values, float(values.min()), float(values.max()), self.under[index])


def images(view: FigureStudy) -> Pictures:
    """See `Study.images`; the step is the one that the view's choice names.

    Raises:
        FigureError: there is none, or none of that step.
    """
    prompts, seed = prompts_of(view, MOST_PROMPTS), view.scope.seeds[0]
    rows = _frames(view, prompts, seed) if view.choice.steps else _final(view, prompts, seed)
    rows = view.labelled(rows.assign(seed=seed)).merge(_texts(prompts), on="prompt_id")
    return Pictures(rows[TABLE], tuple(bytes(image) for image in rows["image"]))


def _final(view: FigureStudy, prompts: pd.DataFrame, seed: int) -> pd.DataFrame:
    rows = view.ask_scope("figure_images", prompts=_ids(prompts), seed=seed)
    last = view.ask("steps", models=list(view.scope.models)).groupby("model_id")["step"].max()
    return rows.assign(step=rows["model_id"].map(last)).drop(columns="text")


def _frames(view: FigureStudy, prompts: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Frames of a step; the score is the similarity of that step with the whole prompt."""
    frames = pd.concat(
        view.ask_scope("prompt_frames", prompt=i, seed=seed).assign(prompt_id=i)
        for i in _ids(prompts)
    )
    if frames.empty:
        raise no_maps("frames", "frames = { stride = 2, size = 128 }")
    steps = view.pick_steps(frames["step"].unique().tolist(), len(frames))
    kept = frames[frames["step"].isin(steps)].rename(columns={"similarity": "score"})
    return kept.sort_values(["prompt_id", "model_id", "step"])


def maps(view: FigureStudy, words: bool) -> Maps:
    """See `Study.maps`.

    Raises:
        FigureError: there is none.
    """
    explained = view.ask_scope("figure_explained")
    explained = explained[explained["words" if words else "whole"] > 0]
    if explained.empty:
        raise no_maps(*(WORD_MAPS if words else WHOLE_MAPS))
    chosen = of_methods(view, explained)
    prompts = view.pick_prompts(chosen, 1)
    chosen = chosen[chosen["prompt_id"].isin(prompts["prompt_id"])]
    steps = view.pick_steps(chosen["step"].unique().tolist(), len(chosen))
    methods, seed = chosen["method"].unique().tolist(), int(chosen["seed"].iloc[0])
    rows = view.ask_scope(
        "figure_maps", prompts=_ids(prompts), seed=seed, methods=methods, steps=steps
    )
    rows = rows[(rows["word"] != "") == words].assign(seed=seed)
    rows = view.labelled(rows).merge(_texts(prompts), on="prompt_id")
    values = tuple(saliency.read_map(row) for _, row in rows.iterrows())
    under = tuple(
        bytes(image) if isinstance(image, bytes | bytearray) else None for image in rows["image"]
    )
    return Maps(rows[MAP_TABLE], values, under)


def _ids(prompts: pd.DataFrame) -> list[int]:
    return [int(i) for i in prompts["prompt_id"]]


def _texts(prompts: pd.DataFrame) -> pd.DataFrame:
    return prompts[["prompt_id", "text"]].rename(columns={"text": "prompt"})


# Sheets


def decoded(image: bytes) -> Image.Image:
    """An encoded image as RGB; only WebP, PNG and JPEG are read, which is what a snapshot holds."""
    with Image.open(io.BytesIO(image), formats=("WEBP", "PNG", "JPEG")) as picture:
        return picture.convert("RGB")


def png(image: Image.Image) -> bytes:
    """An image as a PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def labels(table: pd.DataFrame) -> list[str]:
    """What tells each picture from the others: the prompt, model, method, word or step, as far as they differ."""
    differ = [name for name in LABELS if name in table and table[name].nunique() > 1]
    texts = [
        [f"step {row[name]}" if name == "step" else str(row[name]) for name in differ]
        for _, row in table.iterrows()
    ]
    return [" · ".join(text for text in each if text) for each in texts]


def sheet(encoded: Sequence[bytes], titles: Sequence[str], columns: int) -> Image.Image:
    """Pictures in rows, each with its title above it.

    Args:
        encoded: WebP, PNG or JPEG; the first 64 are drawn.
        titles: of each picture.
        columns: pictures side by side.
    """
    encoded = encoded[:MOST_IN_SHEET]
    columns = max(1, min(columns, len(encoded)))
    rows = -(-len(encoded) // columns)
    canvas = Image.new("RGB", (columns * (SIDE + GAP), rows * (SIDE + LINE + GAP)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(10)
    for number, (image, title) in enumerate(zip(encoded, titles, strict=False)):
        left, top = (number % columns) * (SIDE + GAP), (number // columns) * (SIDE + LINE + GAP)
        draw.text((left, top), fitting(title, font), "black", font)
        picture = decoded(enlarged(image, SIDE))
        picture.thumbnail((SIDE, SIDE))
        canvas.paste(picture, (left, top + LINE))
    return canvas


def fitting(title: str, font: Any) -> str:
    """The title in one line, cut to the width of a picture."""
    text = " ".join(title.split())[:MOST_LETTERS]
    while text and font.getlength(text) > SIDE:
        text = text.rstrip("…")[:-1] + "…" if len(text) > 1 else ""
    return text
