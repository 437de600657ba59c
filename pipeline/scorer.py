"""CLIP-like models that measure how much an image looks like a text."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.model_files import check_scorer_folder
from pipeline.study import HUB_ID, ScorerSpec

HUB = "hf-hub:"
ADVICE = "Give a folder in open_clip's layout, an open_clip name with scorer.pretrained, or 'hf-hub:owner/name'."


class Scorer:
    """An open_clip model: images and texts to unit vectors whose dot product is the similarity, in [-1, 1].

    Source: Radford et al. 2021 (arXiv 2103.00020); CLIPScore's use of the cosine, Hessel et al. 2021 (arXiv 2104.08718).
    """

    def __init__(self, spec: ScorerSpec, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.name = spec.source
        self._model, transform, self._tokenize = _load(spec)
        self._model.eval().requires_grad_(False).to(self.device)
        self._fit = read_transform(transform, spec.source)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(self._fit.mean, device=self.device).view(shape)
        self._std = torch.tensor(self._fit.std, device=self.device).view(shape)

    @torch.no_grad()
    def images(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Unit embeddings of images with values in [0, 1]; resized as the model's own transform does."""
        how = self._fit
        fitted = fit(images.to(self.device, torch.float32), how.size, how.squash, how.mode)
        embedding = self._model.encode_image((fitted - self._mean) / self._std)
        return F.normalize(embedding.float(), dim=-1)

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Float[Tensor, "n d"]:
        """Unit embeddings of texts; a text over the tokenizer's length is cut, as open_clip does."""
        tokens = self._tokenize(texts).to(self.device)
        return F.normalize(self._model.encode_text(tokens).float(), dim=-1)

    def concept(self, phrasings: tuple[str, ...]) -> Float[Tensor, " d"]:
        """The embedding of a concept: the normalised mean over its phrasings."""
        return F.normalize(self.texts(list(phrasings)).mean(0), dim=-1)


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


def fit(
    images: Float[Tensor, "n 3 h w"], size: int, squash: bool = False, mode: str = "bicubic"
) -> Float[Tensor, "n 3 s s"]:
    """Images brought to size x size, antialiased: squashed, or cropped in the middle of the long side.

    The long side is cut to a whole number and the margin rounded as torchvision's Resize and CenterCrop do.
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    if squash and (height, width) != (size, size):
        return F.interpolate(images, (size, size), mode=mode, antialias=True).clamp(0, 1)
    if short != size:
        target = (size * height // short, size * width // short)
        images = F.interpolate(images, target, mode=mode, antialias=True).clamp(0, 1)
    top = round((images.shape[-2] - size) / 2)
    left = round((images.shape[-1] - size) / 2)
    return images[..., top : top + size, left : left + size]


def read_transform(transform: Any, source: str) -> Fitting:
    """What open_clip's torchvision transform does to an image, for batches on any device.

    Raises:
        ModelError: it pads, or makes pictures that are not square.
    """
    parts = {type(part).__name__: part for part in transform.transforms}
    if "Resize" not in parts or "Normalize" not in parts:
        raise ModelError(
            f"scorer {source!r} prepares images with {', '.join(parts)}. Only square pictures, resized by the short side "
            "and cropped ('shortest') or squashed, are known."
        )
    resize, normalize = parts["Resize"], parts["Normalize"]
    squash = not isinstance(resize.size, int) and len(resize.size) == 2
    sides = (
        {*resize.size}
        if squash
        else {resize.size if isinstance(resize.size, int) else resize.size[0]}
    )
    if len(sides) > 1:
        raise ModelError(
            f"scorer {source!r} wants pictures of {resize.size} px. Only square ones are known."
        )
    return Fitting(
        sides.pop(), squash, resize.interpolation.value, tuple(normalize.mean), tuple(normalize.std)
    )


def check_scorer(spec: ScorerSpec) -> None:
    """That a scorer's entry can mean something, without the network and without loading it.

    Raises:
        ModelError: a folder without open_clip's files, a Hub id with a tag or of a wrong form, a name that open_clip does
            not know, or a tag that is missing or unknown.
    """
    folder = Path(spec.source)
    if folder.is_dir():
        return _check_folder(spec)
    if spec.source.startswith(HUB):
        return _check_hub(spec)
    name = spec.source.replace("/", "-")
    if name not in open_clip.list_models():
        close = difflib.get_close_matches(name, open_clip.list_models(), n=4, cutoff=0.4)
        raise ModelError(
            f"scorer {spec.source!r} is no folder and no name that open_clip {open_clip.__version__} knows"
            f"{' (close: ' + ', '.join(close) + ')' if close else ''}. {ADVICE}"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not spec.pretrained or open_clip.get_pretrained_cfg(name, spec.pretrained) == {}:
        found = f"= {spec.pretrained!r} is not known" if spec.pretrained else "is missing"
        allowed = ", ".join(tags) or "none, so this model can't be used by its name"
        raise ModelError(
            f"scorer {spec.source!r}: scorer.pretrained {found}. It says which weights are taken; allowed: {allowed}."
        )
    return None


def _check_folder(spec: ScorerSpec) -> None:
    folder = Path(spec.source)
    needed = ("open_clip_config.json", "open_clip_model.safetensors")
    missing = [file for file in needed if not (folder / file).is_file()]
    if missing:
        raise ModelError(
            f"scorer {folder}: no {' and no '.join(missing)} in that folder. Only safetensors are loaded; save the model "
            "with open_clip.push_to_hf_hub's file layout."
        )
    check_scorer_folder(spec)


def _check_hub(spec: ScorerSpec) -> None:
    if spec.pretrained:
        raise ModelError(
            f"scorer {spec.source!r}: scorer.pretrained = {spec.pretrained!r} has no effect, for a Hub id names its weights "
            "itself. Leave it out."
        )
    if not HUB_ID.fullmatch(spec.source.removeprefix(HUB)):
        raise ModelError(f"scorer {spec.source!r} is no Hub id. Write 'hf-hub:owner/name'.")


def _load(spec: ScorerSpec) -> tuple[Any, Any, Any]:
    check_scorer(spec)
    folder = Path(spec.source)
    name = f"local-dir:{folder}" if folder.is_dir() else spec.source
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            name,
            pretrained=spec.pretrained or None,
            weights_only=True,
            require_pretrained=True,  # else weights that can't be had are left random, with a warning
        )
        return model, transform, open_clip.get_tokenizer(name)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"scorer {spec.source!r} could not be loaded: {reason}. What is not in a folder must be in the cache of "
            f"huggingface_hub, or the Hub within reach. {ADVICE}"
        ) from error
