"""DINOv2 and DINO in transformers' layout: how far two images are apart by their CLS embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from transformers import (
    Dinov2Model,
    Dinov2WithRegistersModel,
    PreTrainedModel,
    ViTImageProcessor,
    ViTModel,
)

from pipeline.errors import ModelError
from pipeline.metrics.perceptual import cosine_distance
from pipeline.models.clip_folders import RESAMPLING, channels_of, side_of
from pipeline.models.files import read_object, refuse_links_out, view
from pipeline.models.folders import PROCESSOR_FILES, Component, check_decoder_folder
from pipeline.models.guard import no_remote_code, one_line, quiet
from pipeline.models.scorer import fit
from pipeline.models.weights import check_weights
from pipeline.study.settings import show

POOLER = "pooler."  # behind a ViT's CLS embedding: DINO has none, and where a file has one it is not used
KINDS: Mapping[str, type[PreTrainedModel]] = {
    "dinov2": Dinov2Model,
    "dinov2_with_registers": Dinov2WithRegistersModel,
    "vit": ViTModel,
}


@dataclass(frozen=True)
class Preparation:
    """How a model wants its images, by its preprocessor_config.json.

    Attributes:
        size: px of the short side before the middle is cut out; of both sides where nothing is.
        crop: side of the square that is cut out; None = both sides are brought to `size`.
        mode: "bicubic" or "bilinear", with antialiasing.
        mean: subtracted from each channel, of values in [0, 1].
        std: what is left is divided by it.
    """

    size: int
    crop: int | None
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def side(self) -> int:
        """px of the square that the model sees."""
        return self.crop or self.size

    def __str__(self) -> str:
        cut = f", middle {self.crop} px" if self.crop else ""
        what = "short side" if self.crop else "both sides"
        return f"{what} {self.size} px ({self.mode}){cut}, mean {self.mean}, std {self.std}"


class Dino:
    """Pairs of images to 1 - cosine of their CLS embeddings, 0 to 2; 0 for equal images, lower is closer.

    Source: Oquab et al. 2023, DINOv2 (arXiv 2304.07193); Caron et al. 2021, DINO (arXiv 2104.14294); the distance of images by
    DINO's CLS embedding as in Ruiz et al. 2022, DreamBooth (arXiv 2208.12242), section 5.2, there as a similarity.

    Raises:
        ModelError: as `check_dino`.
    """

    def __init__(self, folder: Path, title: str, device: torch.device | str = "cpu") -> None:
        component, self.preparation = check_dino(folder, title)
        self.device = torch.device(device)
        kind: Any = component.kind
        problem = f"{title}: {folder} could not be loaded"
        parts = {"add_pooling_layer": False} if kind is ViTModel else {}
        with (
            one_line(problem, "Download the model again."),
            no_remote_code(),
            quiet(),
            view(component.files()) as checked_folder,
        ):
            model = kind.from_pretrained(
                checked_folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, **parts
            )  # fmt: skip
        self._model = model.eval().requires_grad_(False).to(self.device)
        # DINOv2 fits its table of positions to any size by itself.
        self._options = {"interpolate_pos_encoding": True} if kind is ViTModel else {}
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(self.preparation.mean, device=self.device).view(shape)
        self._std = torch.tensor(self.preparation.std, device=self.device).view(shape)

    @torch.no_grad()
    def embed(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """CLS embeddings, after the last normalisation, of images with values in [0, 1]."""
        how = self.preparation
        fitted = fit(images.to(self.device, torch.float32), how.size, how.crop is None, how.mode, how.crop)  # fmt: skip
        prepared = (fitted - self._mean) / self._std
        return self._model(pixel_values=prepared, **self._options).last_hidden_state[:, 0]

    def __call__(
        self, first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "n 3 a b"]
    ) -> Float64[Tensor, " n"]:
        """The distance of each pair of images with values in [0, 1]."""
        vectors = (self.embed(images).cpu() for images in (first, second))  # MPS has no float64
        return cosine_distance(*vectors)


def check_dino(folder: Path, title: str) -> tuple[Component, Preparation]:
    """All that can be known of a model's folder without loading it.

    Returns: the model, and how it wants its images.

    Raises:
        ModelError: another kind of model; a file is missing, asks for code or leads out of the folder; weights that do not fit the
            configuration; images are to be prepared in a way that is not known.
    """
    refuse_links_out(folder, title)
    config = read_object(folder / "config.json", title)
    kind = KINDS.get(str(config.get("model_type")))
    if kind is None:
        raise ModelError(
            f"{title}: {folder / 'config.json'} has model_type = {show(config.get('model_type'))}. Allowed: {', '.join(KINDS)}. Give the "
            "folder of a DINOv2 or DINO model."
        )
    component = replace(check_decoder_folder(folder, kind, title), name="distance")
    check_decoder_folder(folder, ViTImageProcessor, title)
    check_weights(component, POOLER if kind is ViTModel else None)
    preparation = read_preparation(folder / PROCESSOR_FILES[0], title)
    patch = config.get("patch_size", 16 if kind is ViTModel else 14)
    if not isinstance(patch, int) or patch < 1 or preparation.side % patch:
        raise ModelError(
            f"{title}: {folder} cuts images of {preparation.side} px into patches of {show(patch)} px, which do not divide. Download the "
            "model again."
        )
    return component, preparation


def read_preparation(file: Path, title: str) -> Preparation:
    """What a preprocessor_config.json does to an image.

    Raises:
        ModelError: it is missing, or does something other than resizing, cutting out the middle and normalising.
    """
    values = read_object(file, title)
    crop = side_of(values.get("crop_size"), "height") if values.get("crop_size") else None
    cut = bool(values.get("do_center_crop", crop is not None))
    size = side_of(values.get("size"), "shortest_edge" if cut else "height")
    mode = RESAMPLING.get(values.get("resample", 3))
    mean, std = (channels_of(values.get(name)) for name in ("image_mean", "image_std"))
    steps = all(values.get(name, True) for name in ("do_resize", "do_rescale", "do_normalize"))
    fits = size is not None and (not cut or (crop is not None and crop <= size))
    if not steps or not fits or size is None or mode is None or mean is None or not std or 0 in std:
        raise ModelError(
            f"{title}: {file} prepares images in a way that is not known here. Allowed: resized (size) with resample 2 or 3, the middle cut "
            "out (crop_size up to size) or squashed, and normalised by image_mean and image_std. Download the model again."
        )
    return Preparation(size, crop if cut else None, mode, mean, std)
