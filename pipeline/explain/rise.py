"""DF-RISE: which region of the latents a denoising step's prediction hangs on, by random masking."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipeline.explain.maps import chunk_size, scale_map
from pipeline.similarity import Similarity, similarity_to

Predict = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]]
"""Latents to the guided prediction, one for each."""


@dataclass(frozen=True)
class RiseOptions:
    """How DF-RISE masks and scores.

    Attributes:
        side: cells of the low-resolution mask grid along the longer side; None = 8 on a grid of
            64, in proportion, and at least 4.
        per_pixel: independent pixels in place of the low-resolution grid.
        divide: by how often a position was kept, as RISE does (the paper's code does not).
        against_next: compare with x_{t-1} in place of the untouched prediction.
        chunk: most masks in one call of `predict`; None = as memory allows.
    """

    masks: int = 500
    similarity: str = "structure"
    side: int | None = None
    probability: float = 0.5
    seed: int = 0
    per_pixel: bool = False
    divide: bool = True
    against_next: bool = False
    chunk: int | None = None


def park2024(options: RiseOptions) -> RiseOptions:
    """The choices of the paper's own code where they differ from ours."""
    return replace(options, probability=0.5, per_pixel=True, divide=False, against_next=True)


def rise(
    predict: Predict,
    latents: Float[Tensor, "c h w"],
    options: RiseOptions = RiseOptions(),
    target: Float[Tensor, "c h w"] | None = None,
    similarity: Similarity | None = None,
) -> Float[Tensor, "h w"]:
    """Saliency: how alike the prediction stays, at a position, when that position is kept.

    sum_n M_n S_n / sum_n M_n, with S_n the similarity of the prediction from M_n * x_t to the
    untouched one; min-max scaled. High = the step recovers this region from itself.

    Source: Petsiuk et al. 2018 (arXiv 1806.07421), equation 6; for denoisers Park et al. 2024.

    Args:
        predict: the guided prediction of a batch of latents.
        latents: x_t.
        options: number and kind of masks, similarity.
        target: what the masked predictions are compared with; the untouched prediction if None.
        similarity: in place of the one that `options` names.

    Returns: [0, 1]; all 0 when every position is alike.
    """
    return scale_map(rise_scores(predict, latents, options, target, similarity))


@torch.no_grad()
def rise_scores(
    predict: Predict,
    latents: Float[Tensor, "c h w"],
    options: RiseOptions,
    target: Float[Tensor, "c h w"] | None = None,
    similarity: Similarity | None = None,
) -> Float[Tensor, "h w"]:
    """The same before scaling."""
    target = predict(latents[None])[0] if target is None else target
    score = similarity or similarity_to(target, options.similarity)
    height, width = latents.shape[-2:]
    masks = make_masks(height, width, options).to(latents)
    size = options.chunk or chunk_size(6 * latents.numel(), options.masks)
    total, kept = latents.new_zeros(height, width, dtype=torch.float32), masks.float().sum(0)
    for part in masks.split(size):
        scores = score(predict(part[:, None] * latents[None]))
        per_position = scores if scores.ndim == 3 else scores[:, None, None]
        total += (part.float() * per_position).sum(0)
    return total / kept.clamp(min=1e-6) if options.divide else total


def make_masks(height: int, width: int, options: RiseOptions) -> Float[Tensor, "n h w"]:
    """Masks in [0, 1] (1 = kept), the same for the same seed and size.

    A Bernoulli grid of `side` cells, made larger bilinearly and cut out at a random shift of up to
    one cell; or, per pixel, independent Bernoulli values.

    Source: Petsiuk et al. 2018, section 3.2; per pixel as in Park et al. 2024.
    """
    generator = torch.Generator().manual_seed(options.seed)
    if options.per_pixel:
        draws = torch.rand(options.masks, height, width, generator=generator)
        return (draws < options.probability).float()
    cell = max(1, math.ceil(max(height, width) / (options.side or default_side(height, width))))
    rows, columns = (math.ceil(length / cell) for length in (height, width))
    draws = torch.rand(options.masks, 1, rows + 1, columns + 1, generator=generator)
    shifts = torch.randint(cell, (options.masks, 2), generator=generator).tolist()
    size = ((rows + 1) * cell, (columns + 1) * cell)
    grids = F.interpolate(
        (draws < options.probability).float(), size, mode="bilinear", align_corners=False
    )[:, 0]
    cut = [grids[n, y : y + height, x : x + width] for n, (y, x) in enumerate(shifts)]
    return torch.stack(cut).clamp(max=1)  # bilinear weights add up to 1 but for rounding


def default_side(height: int, width: int) -> int:
    """Mask cells along the longer side: 8 on a latent grid of 64, in proportion, at least 4."""
    return max(4, round(8 * max(height, width) / 64))
