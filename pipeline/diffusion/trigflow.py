"""TrigFlow: latents on a circle, x = cos(t) x0 + sin(t) eps, around a denoiser that was trained for a flow (SANA-Sprint).

The pipeline turns latents into those of a flow at the timestep s = sin t / (sin t + cos t), and the predicted flow into the
velocity on the circle. The operations and their order are its own, so that a replayed call is equal to the bit.

Source: Lu and Song 2024, arXiv 2410.11081, section 3; Chen et al. 2025, arXiv 2503.09641, section 3.1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def flow_latents(x: Float[Tensor, "n c h w"], s: Float[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """What the denoiser is given for latents on the circle at its timestep s in [0, 1]."""
    s = s.view(-1, 1, 1, 1)
    return x * torch.sqrt(s**2 + (1 - s) ** 2)


def velocity(
    flow: Float[Tensor, "n c h w"], noisy: Float[Tensor, "n c h w"], s: Float[Tensor, " n"]
) -> Float[Tensor, "n c h w"]:
    """The velocity on the circle that a predicted flow implies.

    Args:
        flow: the denoiser's output.
        noisy: what it was given, before any rounding to its precision.
        s: its timestep.
    """
    s = s.view(-1, 1, 1, 1)
    mixed = (1 - 2 * s) * noisy + (1 - 2 * s + 2 * s**2) * flow
    return mixed / torch.sqrt(s**2 + (1 - s) ** 2)
