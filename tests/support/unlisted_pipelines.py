"""Tiny pipelines with random weights, of classes that the table of families lacks: what is known of them is learnt in the trial."""

from __future__ import annotations

from typing import Any

import diffusers as d

from tests.support.tiny_pipelines import build


def sdxl_pag() -> Any:
    """A mean and a deviation of each channel."""
    return d.StableDiffusionXLPAGPipeline(**build("sdxl").components, pag_applied_layers="mid")


def sd3_pag() -> Any:
    """A shift."""
    parts = {k: part for k, part in build("sd3").components.items() if k not in ("image_encoder", "feature_extractor")}  # fmt: skip
    return d.StableDiffusion3PAGPipeline(**parts, pag_applied_layers="blocks.0")


FIRST = {
    "sdxl_pag": (sdxl_pag, "StableDiffusionXLPAGPipeline"),
    "sd3_pag": (sd3_pag, "StableDiffusion3PAGPipeline"),
}
