"""Every tiny pipeline of a class that the table of families lacks, saved as a user's folder would be."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.support.tiny_pipelines import spread
from tests.support.unlisted_beyond import BEYOND
from tests.support.unlisted_more import MORE
from tests.support.unlisted_older import OLDER

BUILDERS = MORE | OLDER | BEYOND
UNLISTED = {name: kind for name, (_, kind) in BUILDERS.items()}
"""Builder -> the class of diffusers that it builds."""
SIZES = {"kandinsky3": 64, "kandinsky5": 256}
"""Sides of images of classes that have a size of their own, or steps of 64 px."""


def unlisted_folder(name: str, root: Path) -> Path:
    """The pipeline, saved under `root` as a user's folder; built once."""
    folder = root / f"unlisted-{name}"
    if not folder.is_dir():
        torch.manual_seed(0)
        spread(BUILDERS[name][0]()).save_pretrained(folder, safe_serialization=True)
    return folder
