"""Scorers in transformers' layout: the folder of a CLIPModel, such as PickScore's, CLIP's or a fine-tuned CLIP's.

The score of PickScore (Kirstain et al. 2023, arXiv 2305.01569) is the cosine times exp(logit_scale), about 100: it orders images
as the cosine does, which is what is stored, as of every scorer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from pipeline.errors import ModelError
from pipeline.models.files import read_object, view
from pipeline.models.folders import (
    PROCESSOR_FILES,
    Component,
    check_decoder_folder,
    tokenizer_files,
)
from pipeline.models.weights import check_weights
from pipeline.study.settings import show

RESAMPLING = {2: "bilinear", 3: "bicubic"}  # of Pillow
MAX_SIDE = 4096


@dataclass(frozen=True)
class Fitting:
    """How a model wants its images.

    Attributes:
        size: side of the square, in px.
        squash: both sides are brought to it (SigLIP); else the short side, and the middle is cut out.
        mode: "bicubic" or "bilinear", with antialiasing.
        mean: subtracted from each channel, of values in [0, 1].
        std: what is left is divided by it.
    """

    size: int
    squash: bool
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def is_clip_folder(folder: Path) -> bool:
    """Whether a folder looks like transformers' layout, and not like open_clip's."""
    return (folder / "config.json").is_file() and not (folder / "open_clip_config.json").is_file()


def check_clip_folder(folder: Path, title: str) -> Component:
    """All that can be known of a CLIPModel's folder without loading its weights.

    Returns: the model, for `check_weights`.

    Raises:
        ModelError: it is another kind of model, a file is missing, asks for code or leads out of the folder, or the images are
            to be prepared in a way that is not known.
    """
    kind = read_object(folder / "config.json", title).get("model_type")
    if kind != "clip":
        raise ModelError(
            f"{title}: {folder / 'config.json'} has model_type = {show(kind)}. Allowed: clip (CLIP, PickScore), or a folder in "
            "open_clip's layout."
        )
    model = check_decoder_folder(folder, CLIPModel, title)
    for kind in (CLIPTokenizer, CLIPImageProcessor):
        check_decoder_folder(folder, kind, title)
    if not tokenizer_files(folder).keys() & {"tokenizer.json", "vocab.json"}:
        raise ModelError(
            f"{title}: {folder} has no tokenizer.json and no vocab.json. Download the model again, whole."
        )
    read_fitting(folder, title)
    return replace(model, name="scorer")


def check_clip_weights(folder: Path, title: str) -> None:
    """Raises ModelError where the weights are not exactly those that the configuration asks for."""
    check_weights(check_clip_folder(folder, title))


def read_fitting(folder: Path, title: str) -> Fitting:
    """What a preprocessor_config.json does to an image.

    Raises:
        ModelError: it is missing, or does something other than resizing by the short side, cutting out the middle and
            normalising.
    """
    file = folder / PROCESSOR_FILES[0]
    values = read_object(file, title)
    steps = [
        name
        for name in ("do_resize", "do_center_crop", "do_normalize")
        if not values.get(name, True)
    ]
    size, crop = (
        side_of(values.get("size"), "shortest_edge"),
        side_of(values.get("crop_size"), "height"),
    )
    mode = RESAMPLING.get(values.get("resample", 3))
    mean, std = (channels_of(values.get(name)) for name in ("image_mean", "image_std"))
    if steps or size is None or size != crop or mode is None or mean is None or not std or 0 in std:
        raise ModelError(
            f"{title}: {file} prepares images in a way that is not known here. Known: resized by the short side (size) with resample "
            "2 or 3, the middle cut out (crop_size = size), and normalised by image_mean and image_std."
        )
    return Fitting(size, False, mode, mean, std)


def side_of(value: Any, key: str) -> int | None:
    """The side of a square; None where it is none."""
    if isinstance(value, Mapping):
        if "width" in value and value["width"] != value.get("height"):
            return None
        value = value.get(key)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 < value <= MAX_SIDE else None


def channels_of(value: Any) -> tuple[float, ...] | None:
    """Three finite numbers; None where they are none."""
    known = isinstance(value, list) and len(value) == 3
    if not known or not all(isinstance(x, int | float) and 0 <= x < 1e3 for x in value):
        return None
    return tuple(float(x) for x in value)


class ClipModel(nn.Module):
    """A CLIPModel that is called as open_clip's models are."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model: Any = model

    def encode_image(self, pixels: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Projected embeddings of prepared images."""
        return self.model.get_image_features(pixel_values=pixels).pooler_output

    def encode_text(self, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n d"]:
        """Projected embeddings of texts; what follows the end of a text is not attended to."""
        return self.model.get_text_features(input_ids=tokens).pooler_output


def load_clip_folder(folder: Path, title: str) -> tuple[ClipModel, Fitting, Any]:
    """The model, how it wants its images, and its tokenizer, of a checked folder.

    Raises:
        ModelError: as `check_clip_folder`.
    """
    component = check_clip_folder(folder, title)
    files = component.files() | tokenizer_files(folder)
    with view(files) as checked_folder:
        model = CLIPModel.from_pretrained(
            checked_folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        tokenizer: Any = CLIPTokenizer.from_pretrained(checked_folder, local_files_only=True)
    context = model.config.text_config.max_position_embeddings

    def tokenize(texts: list[str]) -> Int[Tensor, "n t"]:
        fixed = {"padding": "max_length", "truncation": True, "max_length": context}
        return tokenizer(texts, **fixed, return_tensors="pt")["input_ids"]

    return ClipModel(model), read_fitting(folder, title), tokenize
