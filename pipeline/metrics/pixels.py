"""How alike two images are by their pixels: PSNR and SSIM, without weights."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

WINDOW = 11  # positions of SSIM's Gaussian window
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2  # for values of a range of 1
SAME = 100.0  # dB of equal images, and the most that is given


def psnr(first: Float[Tensor, "n c h w"], second: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio in dB, -10 log10 of the mean squared difference; 0 to 100, higher = closer.

    Args:
        first: values in [0, 1].
        second: values in [0, 1].

    Returns: one per pair; equal images have 100 dB, and no pair more.
    """
    error = (first.double() - second.double()).square().mean(dim=(1, 2, 3))
    return (-10 * error.clamp(min=10 ** (-SAME / 10)).log10()).clamp(min=0.0).float()


def ssim(first: Float[Tensor, "n c h w"], second: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Structural similarity, mean over the positions of a whole window and over channels; -1 to 1, higher = closer.

    Gaussian window of 11 x 11, sigma 1.5; K1 = 0.01, K2 = 0.03, L = 1. Source: Wang et al. 2004, equations 13 and 14.

    Args:
        first: values in [0, 1], at least 11 px on each side.
        second: values in [0, 1].

    Returns: one per pair.
    """
    x, y = first.double(), second.double()
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    values = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    values = values / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))
    return values.mean(dim=(1, 2, 3)).float()


def _blurred(images: Tensor) -> Tensor:
    """Gaussian means at every position with a whole window."""
    at = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.exp(-(at**2) / (2 * SIGMA**2))
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)
    rows = functional.conv2d(images, weights, groups=images.shape[1])
    return functional.conv2d(rows, weights.transpose(2, 3), groups=images.shape[1])
