"""How much of each spatial frequency a predicted clean image holds, step by step."""

from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

BAND_EDGES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 0.75)
"""Cycles per pixel, in octaves; the last band reaches into the corners of the spectrum (0.71)."""

FLOOR = 1e-12
_LUMA = (0.299, 0.587, 0.114)


def band_power(
    images: Float[Tensor, "b 3 h w"], edges: tuple[float, ...] = BAND_EDGES
) -> Float[Tensor, "b band"]:
    """log10 of the mean power of the luminance in rings of spatial frequency.

    The mean brightness is taken out, a Hann window keeps the borders from leaking into every band,
    and the power is scaled so that white noise of variance 1 has a mean power of 1 in every band.

    Args:
        images: in [0, 1].
        edges: band limits in cycles per pixel, increasing.

    Returns: log10 power, at least -12 (a flat image; a band that so small an image does not have).
    """
    height, width = images.shape[-2:]
    luma = torch.einsum("bchw,c->bhw", images.float(), _luma(images.dtype, images.device).float())
    window = _hann(height, images)[:, None] * _hann(width, images)[None]
    mean = (luma * window).sum((1, 2), keepdim=True) / window.sum()
    power = torch.fft.fft2((luma - mean) * window).abs().square() / window.square().sum()
    rings = _rings(height, width, edges, power.dtype, power.device)
    total = torch.einsum("bhw,khw->bk", power, rings)
    return (total / rings.sum((1, 2)).clamp(min=1)).clamp(min=FLOOR).log10()


def _hann(length: int, like: Tensor) -> Float[Tensor, " length"]:
    return torch.hann_window(length + 2, periodic=False, device=like.device)[1:-1]


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _luma(dtype: torch.dtype, device: torch.device) -> Float[Tensor, " c"]:
    """The weights of the channels; copied to a device once."""
    return torch.tensor(_LUMA, dtype=dtype).to(device)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _rings(
    height: int, width: int, edges: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "band h w"]:
    """Which frequencies belong to which band; the mean (frequency 0) belongs to none. Copied to a device once."""
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None])
    bands = [(radius >= low) & (radius < high) for low, high in pairwise(edges)]
    return (torch.stack(bands) & (radius > 0)).float().to(device, dtype)
