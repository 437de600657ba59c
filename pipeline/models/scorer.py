"""CLIP-like models that measure how much an image looks like a text: open_clip's, and CLIP in transformers' layout."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from huggingface_hub import snapshot_download
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.models.clip_folders import (
    Fitting,
    check_clip_weights,
    is_clip_folder,
    load_clip_folder,
)
from pipeline.models.folders import TOKENIZER_FILES, cached_folder, tokenizer_files
from pipeline.models.guard import no_remote_code, one_line, quiet
from pipeline.models.scorer_files import (
    CONFIG,
    WEIGHTS,
    check_files,
    check_scorer_folder,
    check_scorer_weights,
    check_tokenizer_folder,
    scorer_view,
)
from pipeline.study.reading import HUB_ID
from pipeline.study.spec import ScorerSpec

HUB = "hf-hub:"
ADVICE = "Give a folder in open_clip's or (CLIP, PickScore) transformers' layout, an open_clip name with scorer.pretrained, or 'hf-hub:owner/name'."


class Scorer:
    """A CLIP-like model: images and texts to unit vectors whose dot product is the similarity, in [-1, 1].

    Source: Radford et al. 2021 (arXiv 2103.00020); CLIPScore's use of the cosine, Hessel et al. 2021 (arXiv 2104.08718).
    """

    def __init__(self, spec: ScorerSpec, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.name = spec.source
        self._model, transform, self._tokenize = _load(spec)
        self._model.eval().requires_grad_(False).to(self.device)
        known = isinstance(transform, Fitting)
        self._fit = transform if known else read_transform(transform, spec.source)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(self._fit.mean, device=self.device).view(shape)
        self._std = torch.tensor(self._fit.std, device=self.device).view(shape)
        self._stacked = np.empty((0, 0, 0, 3), np.uint8)

    @torch.no_grad()
    def images(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Unit embeddings of images with values in [0, 1]; resized as the model's own transform does."""
        how = self._fit
        fitted = fit(images.to(self.device, torch.float32), how.size, how.squash, how.mode)
        embedding = self._model.encode_image((fitted - self._mean) / self._std)
        return F.normalize(embedding.float(), dim=-1)

    def pixels(self, images: Sequence[UInt8[ndarray, "h w 3"]]) -> Float[Tensor, "n d"]:
        """Unit embeddings of images of 8 bits a channel and one size: sent to the device as such, and divided by 255 there as a CPU does it."""
        most = torch.tensor(255.0, device=self.device)  # by a number, CUDA multiplies with 1 / 255
        values = torch.from_numpy(self._stack(images)).to(self.device).permute(0, 3, 1, 2).float()
        return self.images(values.div_(most))

    def _stack(self, images: Sequence[UInt8[ndarray, "h w 3"]]) -> UInt8[ndarray, "n h w 3"]:
        """In memory that the next call overwrites: 0.4 ms less for each image of 512 px."""
        if self._stacked.shape[1:] != images[0].shape or len(self._stacked) < len(images):
            self._stacked = np.empty((len(images), *images[0].shape), np.uint8)
        return np.stack(images, out=self._stacked[: len(images)])

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Float[Tensor, "n d"]:
        """Unit embeddings of texts; a text over the tokenizer's length is cut, as open_clip does."""
        tokens = self._tokenize(texts).to(self.device)
        return F.normalize(self._model.encode_text(tokens).float(), dim=-1)

    def concept(self, phrasings: tuple[str, ...]) -> Float[Tensor, " d"]:
        """The embedding of a concept: the normalised mean over its phrasings."""
        return F.normalize(self.texts(list(phrasings)).mean(0), dim=-1)


def fit(
    images: Float[Tensor, "n 3 h w"],
    size: int,
    squash: bool = False,
    mode: str = "bicubic",
    crop: int | None = None,
) -> Float[Tensor, "n 3 s s"]:
    """Images brought to size x size, antialiased: squashed, or cropped in the middle of the long side.

    With `crop`, a square of that side is cut out of the middle of images whose short side was brought to `size`.
    The long side is cut to a whole number and the margin rounded as torchvision's Resize and CenterCrop do.
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    if squash and (height, width) != (size, size):
        return F.interpolate(images, (size, size), mode=mode, antialias=True).clamp(0, 1)
    if short != size:
        target = (size * height // short, size * width // short)
        images = F.interpolate(images, target, mode=mode, antialias=True).clamp(0, 1)
    side = crop or size
    top = round((images.shape[-2] - side) / 2)
    left = round((images.shape[-1] - side) / 2)
    return images[..., top : top + side, left : left + side]


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
        problem = f"= {spec.pretrained!r} is not known" if spec.pretrained else "is missing"
        allowed = ", ".join(tags) or "none, so this model cannot be used by its name"
        raise ModelError(
            f"scorer {spec.source!r}: scorer.pretrained {problem}. It says which weights are taken; allowed: {allowed}."
        )
    return None


def _check_folder(spec: ScorerSpec) -> None:
    folder = Path(spec.source)
    if is_clip_folder(folder):
        return check_clip_weights(folder, f"scorer {folder}")
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise ModelError(
            f"scorer {folder}: no {' and no '.join(missing)} in that folder. Only safetensors are loaded; save the model "
            "with open_clip.push_to_hf_hub's file layout."
        )
    check_scorer_folder(spec)
    check_scorer_weights(folder, check_files(folder, f"scorer {folder}"), f"scorer {folder}")
    return None


def _check_hub(spec: ScorerSpec) -> None:
    if spec.pretrained:
        raise ModelError(
            f"scorer {spec.source!r}: scorer.pretrained = {spec.pretrained!r} has no effect, for a Hub id names its weights "
            "itself. Leave it out."
        )
    if not HUB_ID.fullmatch(spec.source.removeprefix(HUB)):
        raise ModelError(f"scorer {spec.source!r} is no Hub id. Write 'hf-hub:owner/name'.")
    folder = cached_folder(spec.source.removeprefix(HUB))
    if folder and all((folder / name).is_file() for name in (CONFIG, WEIGHTS)):
        title = f"scorer {spec.source}"
        check_scorer_weights(folder, check_files(folder, title), title)


def _load(spec: ScorerSpec) -> tuple[Any, Any, Any]:
    """The model, its transform of images and its tokenizer."""
    check_scorer(spec)
    advice = f"What is not in a folder must be in the cache of huggingface_hub, or the Hub within reach. {ADVICE}"
    problem = f"scorer {spec.source!r} could not be loaded"
    with one_line(problem, advice), no_remote_code(), quiet():
        if Path(spec.source).is_dir():
            folder = Path(spec.source)
            if is_clip_folder(folder):
                return load_clip_folder(folder, f"scorer {folder}")
            return _load_folder(folder)
        if spec.source.startswith(HUB):
            return _load_folder(_fetch(spec.source.removeprefix(HUB), problem))
        return _load_named(spec, problem)


def _load_folder(folder: Path) -> tuple[Any, Any, Any]:
    with scorer_view(folder) as view_folder:
        return _create(f"local-dir:{view_folder}", None)


def _load_named(spec: ScorerSpec, problem: str) -> tuple[Any, Any, Any]:
    """A model of open_clip's own list; the tokenizer may be in a repository that the list names."""
    config = open_clip.get_model_config(spec.source.replace("/", "-")) or {}
    model, transform = _create_model(spec.source, spec.pretrained)
    if tokenizer := config["text_cfg"].get("hf_tokenizer_name"):
        check_tokenizer_folder(Path(snapshot_download(tokenizer, allow_patterns=list(TOKENIZER_FILES))), problem)  # fmt: skip
    return model, transform, _tokenizer(spec.source, bool(tokenizer))


def _create(name: str, pretrained: str | None) -> tuple[Any, Any, Any]:
    model, transform = _create_model(name, pretrained)
    config = open_clip.get_model_config(name) or {}
    return model, transform, _tokenizer(name, bool(config["text_cfg"].get("hf_tokenizer_name")))


def _create_model(name: str, pretrained: str | None) -> tuple[Any, Any]:
    model, _, transform = open_clip.create_model_and_transforms(
        name,
        pretrained=pretrained or None,
        weights_only=True,
        require_pretrained=True,  # else missing weights are left random, with a warning
    )
    return model, transform


def _tokenizer(name: str, of_transformers: bool) -> Any:
    forced = {"trust_remote_code": False} if of_transformers else {}
    return open_clip.get_tokenizer(name, **forced)


def _fetch(name: str, problem: str) -> Path:
    """The folder of a Hub id in the cache, checked as any other; only safetensors and the tokenizer's files are fetched.

    Raises:
        ModelError: weights or tokenizer are not in it, or as `check_scorer`.
    """
    wanted = [CONFIG, WEIGHTS, "config.json", *TOKENIZER_FILES]
    folder = Path(snapshot_download(name, allow_patterns=wanted))
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{problem}: Required pretrained weights {WEIGHTS} are not in {name}. {ADVICE}")  # fmt: skip
    config = check_files(folder, problem)
    elsewhere = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    if elsewhere and not tokenizer_files(folder):
        raise ModelError(
            f"{problem}: its tokenizer is in another repository, {elsewhere!r}, which is not fetched. Put both into one "
            "folder and give that."
        )
    check_scorer_weights(folder, config, problem)
    return folder
