"""Tiny pipelines with random weights, of classes that the table of families lacks: what is known of them is learnt in the trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers as d
import torch

from tests.support.tiny_pipelines import build, spread


def sdxl_pag() -> Any:
    """A mean and a deviation of each channel."""
    return d.StableDiffusionXLPAGPipeline(**build("sdxl").components, pag_applied_layers="mid")


def sd3_pag() -> Any:
    """A shift."""
    parts = {k: part for k, part in build("sd3").components.items() if k not in ("image_encoder", "feature_extractor")}  # fmt: skip
    return d.StableDiffusion3PAGPipeline(**parts, pag_applied_layers="blocks.0")


UNLISTED = {each.__name__: each for each in (sdxl_pag, sd3_pag)}


def unlisted_folder(name: str, root: Path) -> Path:
    """The pipeline, saved under `root` as a user's folder; built once."""
    folder = root / f"unlisted-{name}"
    if not folder.is_dir():
        torch.manual_seed(0)
        spread(UNLISTED[name]()).save_pretrained(folder, safe_serialization=True)
    return folder
