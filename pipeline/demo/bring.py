"""The files of data/studies/bring-your-own.toml: prompts, images that exist, and a training run.

The images are composed by the scene grammar itself, so they show what their captions say; the training run is so short that its
checkpoints have learned little.
"""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.demo.export import replace_folder
from pipeline.demo.prompts import COLUMNS, prompt_row, sample_prompts
from pipeline.demo.scenes import Scene, caption, compose
from pipeline.demo.short_run import train_checkpoints
from pipeline.demo.train import Recipe
from pipeline.demo.training import Budget

PROMPTS = 12
RECIPE = Recipe(512, 51, 16, 1e-3, Budget(120, minutes=3))
CHECKPOINTS = 3


def write_files(
    folder: Path, models: Path, *, recipe: Recipe = RECIPE, quiet: bool = False
) -> list[Path]:
    """Writes prompts.csv, images and training/checkpoint-STEP; the training resumes where it stopped.

    Args:
        folder: where they go.
        models: the bundled models.
        recipe: of the training.
        quiet: no progress bar.

    Returns: the file and the folders.
    """
    scenes = sample_prompts(PROMPTS)
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts.csv"
    with prompts.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(prompt_row(scene) for scene in scenes)
    replace_folder(folder / "images", lambda target: _write_images(target, scenes))
    checkpoints = train_checkpoints(
        folder / "training", models, recipe=recipe, count=CHECKPOINTS, quiet=quiet
    )
    return [prompts, folder / "images", *checkpoints]


def _write_images(folder: Path, scenes: list[Scene]) -> None:
    """An imagefolder: a PNG for each scene, and metadata.jsonl with its caption."""
    folder.mkdir(parents=True)
    rows = []
    for index, scene in enumerate(scenes):
        image, _ = compose(scene, np.random.default_rng(index))
        Image.fromarray(image).save(folder / f"{index:02d}.png")
        rows.append({"file_name": f"{index:02d}.png", "prompt": caption(scene), "seed": 0})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
