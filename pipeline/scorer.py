"""CLIP-like models that measure how much an image looks like a text."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.model_files import check_scorer
from pipeline.study import ScorerSpec


class Scorer:
    """An open_clip model: images and texts to unit vectors whose dot product is the similarity, in [-1, 1].

    Source: Radford et al. 2021 (arXiv 2103.00020); CLIPScore's use of the cosine, Hessel et al. 2021 (arXiv 2104.08718).
    """

    def __init__(self, spec: ScorerSpec, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.name = spec.source
        self._model, transform, self._tokenize = _load(spec)
        self._model.eval().requires_grad_(False).to(self.device)
        self._size, self._squash, self._mean, self._std = _preprocessing(transform, self.device)

    @torch.no_grad()
    def images(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Unit embeddings of images with values in [0, 1]; resized as the model's own transform does."""
        fitted = fit(images.to(self.device, torch.float32), self._size, self._squash)
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


def fit(
    images: Float[Tensor, "n 3 h w"], size: int, squash: bool = False
) -> Float[Tensor, "n 3 s s"]:
    """Images brought to size x size, bicubic with antialiasing: squashed, or cropped in the middle of the long side."""
    height, width = images.shape[-2:]
    scale = size / min(height, width)
    if squash and (height, width) != (size, size):
        return F.interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    if scale != 1:
        target = (max(size, round(height * scale)), max(size, round(width * scale)))
        images = F.interpolate(images, target, mode="bicubic", antialias=True).clamp(0, 1)
    top = (images.shape[-2] - size) // 2
    left = (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


def _load(spec: ScorerSpec):
    folder = Path(spec.source)
    try:
        if folder.is_dir():
            check_scorer(spec)
            name = f"local-dir:{folder}"
            model, _, transform = open_clip.create_model_and_transforms(name)
        else:
            name = spec.source
            model, _, transform = open_clip.create_model_and_transforms(
                name, pretrained=spec.pretrained or None, weights_only=True
            )
        return model, transform, open_clip.get_tokenizer(name)
    except ModelError:
        raise
    except Exception as error:
        known = ", ".join(open_clip.list_models()[:5])
        raise ModelError(
            f"scorer {spec.source!r} could not be loaded: {error}. Give a folder in open_clip's layout, an open_clip name "
            f"with scorer.pretrained (such as {known}, ...), or 'hf-hub:owner/name'."
        ) from error


def _preprocessing(transform, device: torch.device) -> tuple[int, bool, Tensor, Tensor]:
    """Image size, whether images are squashed to it, mean and standard deviation out of open_clip's torchvision transform."""
    size, squash, mean, std = 224, False, (0.0,) * 3, (1.0,) * 3
    for part in transform.transforms:
        if hasattr(part, "size"):
            size = part.size if isinstance(part.size, int) else max(part.size)
        if type(part).__name__ == "Resize":  # one number is the short side, two are the whole size
            squash = not isinstance(part.size, int) and len(part.size) == 2
        if hasattr(part, "mean"):
            mean, std = part.mean, part.std
    shape = (1, 3, 1, 1)
    return (
        size,
        squash,
        torch.tensor(mean, device=device).view(shape),
        torch.tensor(std, device=device).view(shape),
    )
