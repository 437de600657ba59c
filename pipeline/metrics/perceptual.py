"""How far two images are apart, by the features that a network has of them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

EPSILON = 1e-10  # keeps a position without any feature at 0


def layer_distance(
    first: Float[Tensor, "n c h w"], second: Float[Tensor, "n c h w"], head: Float[Tensor, " c"]
) -> Float[Tensor, " n"]:
    """What one layer adds to LPIPS: the weighted squared difference of unit features, averaged over positions.

    The features of a position are divided by their length over channels. 0 for equal features, symmetric, and not below 0
    where no weight is; lower is closer.

    Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (arXiv 1801.03924),
    equation 1. The weights here are the squares of its w_l, as its linear layers store them.

    Args:
        first: features of an image each.
        second: those of the images that they are compared with.
        head: a weight for each channel.
    """
    gaps = (_unit(first) - _unit(second)).square()
    return torch.einsum("nchw,c->n", gaps, head) / (first.shape[2] * first.shape[3])


def _unit(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Features whose length over channels is 1 at each position."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + EPSILON)


def cosine_distance(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]
) -> Float64[Tensor, " n"]:
    """1 - cosine of pairs of vectors, 0 to 2; 0 for equal directions, lower is closer.

    Computed as half the squared distance of the unit vectors, which is exactly 0 for equal vectors and never below.
    """
    directions = [
        each.double() / each.double().norm(dim=1, keepdim=True) for each in (first, second)
    ]
    return (directions[0] - directions[1]).square().sum(1) / 2
