"""Text and image in one sequence from the first joint layer on (Z-Image, Lumina2, Krea 2): where each stands, told by the denoiser's call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

MULTIPLE = 32
"""Z-Image brings image and text to a multiple of this many positions each."""


@dataclass(frozen=True)
class Spans:
    """Where image and text stand in the sequences of a call.

    Attributes:
        image: positions of the image.
        room: positions that are not text: the image, and padding behind it.
        lengths: of each item's text, where the image follows it at once; () where the image comes first.
    """

    image: int
    room: int
    lengths: tuple[int, ...] = ()


def spans_of(denoiser: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Spans:
    """The spans of a call of Z-Image's, Lumina2's or Krea 2's denoiser."""
    if "position_ids" in kwargs:
        image = kwargs["hidden_states"].shape[1]
        return Spans(image, image)
    mask = kwargs.get("encoder_attention_mask")
    if mask is None:
        latents = args[0][0]
        (patch, *_) = denoiser.all_patch_size
        image = (latents.shape[-2] // patch) * (latents.shape[-1] // patch)
        return Spans(image, -(-image // MULTIPLE) * MULTIPLE)
    latents = kwargs["hidden_states"]
    patch = denoiser.config.patch_size
    image = (latents.shape[-2] // patch) * (latents.shape[-1] // patch)
    return Spans(image, image, tuple(mask.sum(1).tolist()))


def order_of(spans: Spans, device: torch.device) -> Int[Tensor, "b position"]:
    """The positions of each item, its text first, as many as the longest has, then its image."""
    most = max(spans.lengths)
    lengths = torch.tensor(spans.lengths, device=device)[:, None]
    text = torch.arange(most, device=device).expand(len(spans.lengths), -1)
    image = torch.arange(spans.image, device=device) + lengths
    return torch.cat([text, image], 1)


def seen_of(spans: Spans, device: torch.device) -> Bool[Tensor, "b 1 1 position"]:
    """Which of those positions are the item's own."""
    most = max(spans.lengths)
    lengths = torch.tensor(spans.lengths, device=device)[:, None]
    text = torch.arange(most, device=device) < lengths
    image = torch.ones(len(spans.lengths), spans.image, dtype=torch.bool, device=device)
    return torch.cat([text, image], 1)[:, None, None]
