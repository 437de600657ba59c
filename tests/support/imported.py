"""Small studies of images that exist: prompts, images of known content in each layout, and the study file."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

PROMPTS = {
    "a dog on a plain red background": "one object",
    "a cat on a plain blue background": "one object",
    "a rocket on a striped green background": "one object",
    "a cat left of a rocket on a plain pink background": "two objects",
    "a dog above a heart on a plain yellow background": "two objects",
}
SEEDS = (0, 1)
SAMPLED = """
[[model]]
name = "scenes-unet"
source = "data/models/scenes-unet"
steps = 2
"""
STUDY = """
name = "imported"
seeds = {seeds}
[prompts]
path = "{prompts}"
[scorer]
source = "data/models/scenes-clip"
[concepts]
path = "data/concepts/scenes.toml"
families = ["object"]
[run]
batch_size = 4
unit_prompts = 3
"""


def write_study(
    folder: Path, models: str, seeds: Sequence[int] = SEEDS, prompts: Path | None = None
) -> Path:
    """A study file over PROMPTS, or over another prompt file, with the [[model]] entries given."""
    if prompts is None:
        prompts = folder / "prompts.csv"
        with prompts.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["prompt", "category"])
            rows.writerows(PROMPTS.items())
    columns = '\n[prompts.columns]\ntext = "prompt"\n' if prompts.suffix == ".csv" else ""
    path = folder / "study.toml"
    path.write_text(STUDY.format(seeds=list(seeds), prompts=prompts) + columns + models)
    return path


def entry(images: Path, name: str = "theirs", **keys: str | int) -> str:
    """A [[model]] whose images exist."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    head = ["", "[[model]]", f'name = "{name}"', f'images = "{images}"']
    return "\n".join([*head, *lines, ""])


def picture(number: int, side: int = 64) -> Image.Image:
    """An image of its own for every number."""
    noise = np.random.default_rng(number).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    return Image.fromarray(noise.repeat(8, 0).repeat(8, 1))


def write_imagefolder(folder: Path, images: Mapping[tuple[str, int], Image.Image]) -> Path:
    """An imagefolder: PNG files, and metadata.jsonl with prompt and seed."""
    folder.mkdir(parents=True)
    lines = []
    for number, ((prompt, seed), image) in enumerate(images.items()):
        name = f"{number:05d}.png"
        image.save(folder / name)
        lines.append(json.dumps({"file_name": name, "prompt": prompt, "seed": seed}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_list(folder: Path, images: Mapping[tuple[str, int], Image.Image]) -> Path:
    """A CSV of path and prompt; WebP files in a folder beside it, no seeds: they are in order."""
    (folder / "files").mkdir(parents=True)
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "prompt"])
        for number, ((prompt, _), image) in enumerate(images.items()):
            name = f"files/{number}.webp"
            image.save(folder / name, lossless=True)
            rows.writerow([name, prompt])
    return folder / "list.csv"


def all_images(side: int = 64) -> dict[tuple[str, int], Image.Image]:
    """An image of every prompt and seed."""
    keys = [(prompt, seed) for prompt in PROMPTS for seed in SEEDS]
    return {key: picture(number, side) for number, key in enumerate(keys)}
