"""The training pictures: many scenes, composed once from a seed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pipeline.demo.scenes import CATEGORIES, IMAGE_SIZE, Scene, compose, sample_scene


@dataclass(frozen=True)
class Corpus:
    """Scenes and their pictures, in the same order."""

    scenes: list[Scene]
    images: UInt8[Tensor, "n h w 3"]

    def pixels(self, indices: Tensor) -> Float[Tensor, "n 3 h w"]:
        """The pictures as the models see them, in [-1, 1]."""
        return to_pixels(self.images[indices])


def to_pixels(images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """8-bit pictures as channels-first floats in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def compose_corpus(
    count: int,
    seed: int,
    *,
    pair_share: float = 0.6,
    categories: tuple[str, ...] | None = None,
) -> Corpus:
    """Composes scenes from a seed.

    Args:
        count: how many scenes.
        seed: decides every scene and every pixel.
        pair_share: the share of two-object scenes among scenes that may be trained on.
        categories: draws from these with equal chance instead.
    """
    rng = np.random.default_rng(seed)
    scenes = []
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    for index in range(count):
        chosen = categories or (CATEGORIES[int(rng.random() < pair_share)],)
        scenes.append(sample_scene(rng, chosen))
        images[index], _ = compose(scenes[-1], rng)
    return Corpus(scenes, torch.from_numpy(images))


def batch_indices(count: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """The positions of a random batch, drawn with replacement."""
    return torch.randint(count, (batch_size,), generator=generator)
