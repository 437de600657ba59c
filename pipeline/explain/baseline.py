"""Random and inverse maps: what an explanation has to beat."""

from jaxtyping import Float
from torch import Tensor

from pipeline.explain.maps import random_map


def random_baseline(
    height: int, width: int, seed: int, step: int, item: int
) -> Float[Tensor, "h w"]:
    """Uniform noise in [0, 1), another for each seed, step and item."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + item
    return random_map(height, width, mixed % (2**63))


def inverse(saliency: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The inverse map: least salient first. A faithful map's inverse does worse than chance."""
    return -saliency
