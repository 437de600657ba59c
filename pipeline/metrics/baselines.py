"""What stands in a removed region while insertion and deletion are measured: zeros are nothing that a denoiser ever saw.

Each baseline is a function of the removed positions of n points; what is not removed is x_t to the bit.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.metrics.faithfulness import Predict, Remove, blur

ROUNDS = 2  # of resampling: denoiser calls for each point, beside the one that scores it


def renoised(
    latents: Float[Tensor, "c h w"],
    clean: Float[Tensor, "c h w"],
    alpha: float,
    sigma: float,
    generator: torch.Generator,
) -> Remove:
    """Removed positions hold the blurred clean latents, noised again to the step's level with fresh noise.

    alpha blur(x0) + sigma eps: the noise level is the step's, and what the region showed is gone. One draw of eps serves all
    points, so that maps are compared on the same noise.

    Source: docs/methods.md, "Insertion and deletion"; the blur is that of the insertion game (Petsiuk et al. 2018).

    Args:
        latents: x_t.
        clean: x0, as predicted from the untouched x_t.
        alpha: the step's signal scale. sigma: its noise scale.
        generator: of the noise.
    """
    filled = (alpha * blur(clean) + sigma * _noise(latents, generator)).to(latents)
    return lambda removed: torch.where(removed, filled[None], latents[None])


def resampled(
    latents: Float[Tensor, "c h w"],
    clean: Float[Tensor, "c h w"],
    alpha: float,
    sigma: float,
    generator: torch.Generator,
    outcome: Predict,
    rounds: int = ROUNDS,
) -> Remove:
    """Removed positions are drawn anew, consistent with the rest, from the step's level.

    Starts from `renoised`. Each round predicts the clean latents of what stands there, which the denoiser fills in from
    the kept positions, noises them to the step's level with fresh noise, and puts the kept positions back: one call a point
    and round. It is RePaint's resampling with a jump from the step to the clean latents and back; the prediction is
    the mean of the clean latents, so that the region varies less than a sample would.

    Source: Lugmayr et al. 2022 (arXiv 2201.09865), algorithm 1.

    Args:
        outcome: latents -> the clean latents that they lead to.
        rounds: how often; 0 is `renoised`.
    """
    start = renoised(latents, clean, alpha, sigma, generator)
    noises = [_noise(latents, generator) for _ in range(rounds)]

    def remove(removed: Bool[Tensor, "n 1 h w"]) -> Float[Tensor, "n c h w"]:
        points = start(removed)
        for noise in noises:
            drawn = (alpha * outcome(points) + sigma * noise).to(latents)
            points = torch.where(removed, drawn, latents[None])
        return points

    return remove


def _noise(latents: Float[Tensor, "c h w"], generator: torch.Generator) -> Float[Tensor, "c h w"]:
    """Standard normal noise in float32, the same for a seed on every device."""
    return torch.randn(latents.shape, generator=generator).to(latents.device)


def calls_per_point(baseline: str) -> int:
    """Denoiser calls for each point of a curve: one, and those of resampling."""
    return 1 + (ROUNDS if baseline == "resampled" else 0)
