"""The contact sheet: what each demo model makes of the same prompts and seeds."""

import textwrap
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pipeline.demo.evaluate import GUIDANCE, STEPS, load_pipeline, sample
from pipeline.demo.prompts import sample_prompts
from pipeline.demo.scenes import caption, category

SEED = 7
TILE = 128
_GAP, _TEXT_WIDTH, _HEADER = 6, 330, 34


def sheet_prompts(count: int = 12) -> list[tuple[str, str]]:
    """(category, caption) of prompts spread over the categories of the bundled prompt set."""
    scenes = sample_prompts(64)
    spread = [scenes[index * len(scenes) // count] for index in range(count)]
    return [(category(scene), caption(scene)) for scene in spread]


def write_sheet(models: Path, path: Path, *, seeds: int = 2, steps: int = STEPS) -> None:
    """Samples every model and writes the sheet as a PNG: a row per prompt, a column per model."""
    prompts = sheet_prompts()
    repeated = [text for _, text in prompts for _ in range(seeds)]
    columns = {
        name: sample(
            load_pipeline(models / name), repeated, guidance=guidance, steps=steps, seed=SEED
        )
        for name, guidance in GUIDANCE.items()
    }
    draw_sheet(prompts, columns, seeds).save(path, optimize=True)


def draw_sheet(
    prompts: list[tuple[str, str]], columns: dict[str, Float[Tensor, "n 3 h w"]], seeds: int
) -> Image.Image:
    """Lays out the captions and each model's pictures, enlarged without smoothing."""
    cell, column = TILE + _GAP, seeds * (TILE + _GAP) + 2 * _GAP
    size = (_TEXT_WIDTH + len(columns) * column, _HEADER + len(prompts) * cell)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    title, text, small = (ImageFont.load_default(points) for points in (18, 17, 14))
    for number, (name, images) in enumerate(columns.items()):
        left = _TEXT_WIDTH + number * column
        draw.text((left, 6), name, "black", title)
        for index, picture in enumerate(to_pictures(images)):
            row, repeat = divmod(index, seeds)
            sheet.paste(picture, (left + repeat * cell, _HEADER + row * cell))
    for row, (group, prompt) in enumerate(prompts):
        top = _HEADER + row * cell
        draw.multiline_text((10, top + 20), textwrap.fill(prompt, 34), "black", text)
        draw.text((10, top + TILE - 34), group, "dimgray", small)
    return sheet


def to_pictures(images: Float[Tensor, "n 3 h w"]) -> list[Image.Image]:
    """Pictures in [-1, 1] as images of TILE x TILE pixels."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1)
    arrays = pixels.numpy().astype(np.uint8)
    return [
        Image.fromarray(array).resize((TILE, TILE), Image.Resampling.NEAREST) for array in arrays
    ]
