"""Text and image in one sequence from the first joint layer on (Z-Image, Lumina2, Krea 2), or with text of its own at every layer
(HiDream): where each stands, told by the denoiser's call."""

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
        renewed: text at the end of the sequence that every layer gets anew, and leaves out again (HiDream).
    """

    image: int
    room: int
    lengths: tuple[int, ...] = ()
    renewed: int = 0


def spans_of(denoiser: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Spans:
    """The spans of a call of Z-Image's, Lumina2's, Krea 2's or HiDream's denoiser."""
    if "encoder_hidden_states_llama3" in kwargs:
        return _of_streams(denoiser, kwargs)
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


def _of_streams(denoiser: Any, kwargs: Mapping[str, Any]) -> Spans:
    """HiDream's, whose images that are not square are padded to the most tokens that it knows."""
    rows, columns = (
        size // denoiser.config.patch_size for size in kwargs["hidden_states"].shape[2:]
    )
    room = rows * columns if rows == columns else denoiser.max_seq
    return Spans(rows * columns, room, renewed=kwargs["encoder_hidden_states_llama3"].shape[2])


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
