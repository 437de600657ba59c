"""DF-RISE: which region of the latents a denoising step is recovered from, by random masking."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.explain.effects import (
    edge_weights,
    part_scores,
    part_shares,
    saliency_from_effects,
)
from pipeline.explain.maps import chunk_size, scale_map
from pipeline.explain.masks import default_side as default_side
from pipeline.explain.masks import grid_masks, mask_grid
from pipeline.metrics.similarity import Similarity, similarity_to

Outcome = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]]
"""Latents to what is compared, one for each: the clean latents that they lead to, or the prediction."""


@dataclass(frozen=True)
class RiseOptions:
    """How DF-RISE masks and scores.

    Attributes:
        side: cells of the low-resolution mask grid along the longer side; None = 8 on a grid of
            64, in proportion, and at least 4.
        design: how the masks are drawn (`masks.DESIGNS`); None = the default, or "independent" where `probability`
            is not 0.5.
        estimator: "mean" = sum M S / sum M; "effects" = its limit over all masks, by regression.
        per_pixel: independent pixels in place of the low-resolution grid.
        per_position: a score for each position in place of one for each mask; only in the paper's protocol.
        edges: correct for edges, where a position shares its cell with fewer others (`edge_weights`). Without it, a score
            that counts all kept positions alike gives a map that is high in the middle. With it, the map of a denoiser that
            copies its input is flat (`copies_input`).
        divide: by how often a position was kept, as RISE does (the paper's code does not).
        against_next: compare predictions with x_{t-1} in place of clean latents with clean latents.
        protocol: whose SSIM (`similarity_to`).
        chunk: most masks in one call; None = as memory allows.
    """

    masks: int = 64
    similarity: str = "structure"
    side: int | None = None
    probability: float = 0.5
    seed: int = 0
    design: str | None = None
    estimator: str = "effects"
    per_pixel: bool = False
    per_position: bool = False
    edges: bool = True
    divide: bool = True
    against_next: bool = False
    protocol: str = "ours"
    chunk: int | None = None


DEFAULT_DESIGN = "shifted-hadamard"


def park2024(options: RiseOptions) -> RiseOptions:
    """The choices of the paper's own code where they differ from ours."""
    return replace(
        options,
        probability=0.5,
        per_pixel=True,
        per_position=True,
        divide=False,
        against_next=True,
        protocol="park2024",
    )


def rise(
    outcome: Outcome,
    latents: Float[Tensor, "c h w"],
    options: RiseOptions = RiseOptions(),
    target: Float[Tensor, "c h w"] | None = None,
    similarity: Similarity | None = None,
) -> Float[Tensor, "h w"]:
    """Saliency: how alike the outcome stays when a position is kept, min-max scaled.

    sum_n M_n S_n / sum_n M_n, S_n one number for each mask: the mean similarity of the outcome of M_n * x_t to the
    untouched one; relative to a score that is the kept share (`edge_weights`). High = the step recovers its clean image from this
    region. (A score for each position would pay a position for being copied to itself.)

    Source: Petsiuk et al. 2018 (arXiv 1806.07421), equation 6; for denoisers Park et al. 2024.

    Args:
        outcome: of a batch of latents, such as the clean latents x0 that the guided prediction implies.
        latents: x_t.
        options: number and kind of masks, similarity.
        target: what the masked outcomes are compared with; the untouched outcome if None.
        similarity: in place of the one that `options` names.

    Returns: [0, 1]; all 0 when every position is alike.
    """
    return scale_map(rise_scores(outcome, latents, options, target, similarity))


@torch.no_grad()
def rise_scores(
    outcome: Outcome,
    latents: Float[Tensor, "c h w"],
    options: RiseOptions,
    target: Float[Tensor, "c h w"] | None = None,
    similarity: Similarity | None = None,
) -> Float[Tensor, "h w"]:
    """The same before scaling."""
    masks, fields = _scored(outcome, latents, options, target, similarity)
    if options.per_position:
        total = sum((part.float() * _at_positions(field)).sum(0) for part, field in fields)
        return _divided(total, masks, options)  # type: ignore[arg-type]
    scores = torch.cat([_parts(field, options) for _, field in fields])
    if options.edges and similarity is None and copies_input(scores, latents, options):
        return torch.full_like(masks[0], float(scores.mean()))
    return map_of_scores(masks, scores, options)


COPY = 0.99


def copies_input(
    scores: Float[Tensor, "n r c"], latents: Float[Tensor, "c h w"], options: RiseOptions
) -> bool:
    """Whether the masks' scores are those of a denoiser that returns its input: such a map shows x_t, not the denoiser.

    R squared over masks and parts, with the scores of a copy, above 0.99; it costs no call. On the bundled models it is at
    most 0.85 (20 scenes, steps 10, 18 and 26), for a copy 1 to 8 digits (docs/trust.md).
    """
    copied = score_masks(lambda masked: masked, latents, options)
    scored, plain = ((part - part.mean(0)).flatten().double() for part in (scores, copied))
    norm = float(scored.norm() * plain.norm())
    return norm > 0 and float(scored @ plain) / norm > COPY**0.5


@torch.no_grad()
def score_masks(
    outcome: Outcome,
    latents: Float[Tensor, "c h w"],
    options: RiseOptions,
    target: Float[Tensor, "c h w"] | None = None,
    similarity: Similarity | None = None,
) -> Float[Tensor, "n r c"]:
    """The score of each of the options' masks, per part of the field: the mask's one number is their mean.

    A similarity without places has one part.
    """
    _, fields = _scored(outcome, latents, options, target, similarity)
    return torch.cat([_parts(field, options) for _, field in fields])


def _scored(
    outcome: Outcome,
    latents: Float[Tensor, "c h w"],
    options: RiseOptions,
    target: Float[Tensor, "c h w"] | None,
    similarity: Similarity | None,
) -> tuple[Float[Tensor, "n h w"], Iterator[tuple[Tensor, Tensor]]]:
    """(all masks, (masks, their scores) for one batched call after the other)."""
    target = outcome(latents[None])[0] if target is None else target
    score = similarity or similarity_to(target, options.similarity, options.protocol)
    height, width = latents.shape[-2:]
    masks = make_masks(height, width, options).to(latents)
    size = options.chunk or chunk_size(6 * latents.numel(), options.masks)
    parts = masks.split(size)
    return masks, ((part, score(outcome(part[:, None] * latents[None]))) for part in parts)


def map_of_scores(
    masks: Float[Tensor, "n h w"], scores: Float[Tensor, "n r c"], options: RiseOptions
) -> Float[Tensor, "h w"]:
    """The unscaled map of masks whose scores are known.

    Args:
        masks: of `make_masks`.
        scores: per mask and part of the scored field, as `part_scores` gives them; one part for a score without places.
        options: with which the masks were made.
    """
    height, width = masks.shape[-2:]
    grid = mask_grid(height, width, options.side)
    single = (scores * part_shares(grid, scores.shape[1:]).to(scores)).sum((1, 2))
    mean = float(single.mean())
    if options.estimator == "effects" and options.divide and not options.per_pixel:
        saliency = saliency_from_effects(masks, scores, mean, grid, options.probability)
    else:
        saliency = _divided((masks.float() * single[:, None, None]).sum(0), masks, options)
    if options.per_pixel or not (options.divide and options.edges):
        return saliency
    return mean + (saliency - mean) / edge_weights(grid).to(saliency)


def _divided(
    total: Float[Tensor, "h w"], masks: Float[Tensor, "n h w"], options: RiseOptions
) -> Float[Tensor, "h w"]:
    return total / masks.float().sum(0).clamp(min=1e-6) if options.divide else total


def _at_positions(scores: Tensor) -> Float[Tensor, "n h w"]:
    """The scores as a field; one without places, such as a distance of images, is the same at all."""
    return scores if scores.ndim == 3 else scores[:, None, None]


def _parts(scores: Tensor, options: RiseOptions) -> Float[Tensor, "n r c"]:
    """Scores per part of the field, a part being as large as a cell of the masks; one part without a field."""
    if scores.ndim == 1:
        return scores[:, None, None].float()
    height, width = scores.shape[-2:]
    return part_scores(scores.float(), mask_grid(height, width, options.side).cell)


def make_masks(height: int, width: int, options: RiseOptions) -> Float[Tensor, "n h w"]:
    """Masks in [0, 1] (1 = kept), the same for the same seed and size.

    A grid of `side` cells, drawn by the options' design, made larger bilinearly and cut out at a shift of less than
    one cell; or, per pixel, independent Bernoulli values.

    Source: Petsiuk et al. 2018, section 3.2; per pixel as in Park et al. 2024.

    Raises:
        ValueError: a design that keeps half of the cells, with another probability.
    """
    generator = torch.Generator().manual_seed(options.seed)
    if options.per_pixel:
        draws = torch.rand(options.masks, height, width, generator=generator)
        return (draws < options.probability).float()
    grid = mask_grid(height, width, options.side)
    return grid_masks(grid, options.masks, options.probability, design_of(options), generator)


def design_of(options: RiseOptions) -> str:
    """The design of the masks: the one asked for, else the default where its masks keep half of the cells."""
    return options.design or (DEFAULT_DESIGN if options.probability == 0.5 else "independent")
