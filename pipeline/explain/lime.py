"""The LIME baseline: a linear model of the prediction's similarity over superpixels of the latents."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage.segmentation import felzenszwalb, quickshift, slic
from torch import Tensor

from pipeline.explain.maps import chunk_size, scale_map
from pipeline.metrics.similarity import mean_of, similarity_to

Outcome = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]]
Score = Callable[[Float[Tensor, "n c h w"]], Tensor]
KERNEL_WIDTH = 0.25
RIDGE = 1.0


@dataclass(frozen=True)
class LimeOptions:
    """How LIME cuts, perturbs and scores.

    Attributes:
        segments: what SLIC and the grid aim at.
        per_area: a segment's weight for each of its positions, as a share of all: without it, a larger segment has a larger
            weight, because the score is a mean over positions and more of them stay as they were.
    """

    perturbations: int = 1000
    segmentation: str = "grid"
    segments: int | None = None
    similarity: str = "structure"
    per_area: bool = True
    seed: int = 0
    chunk: int | None = None


def lime(
    outcome: Outcome,
    latents: Float[Tensor, "c h w"],
    options: LimeOptions = LimeOptions(),
    score: Score | None = None,
    segments: Int[np.ndarray, "h w"] | None = None,
) -> Float[Tensor, "h w"]:
    """Saliency: each superpixel's weight per area in a local linear model, min-max scaled to [0, 1].

    Off segments are replaced by their mean. High = keeping the segment keeps the outcome.

    Source: Ribeiro et al. 2016 (arXiv 1602.04938); the baseline of Park et al. 2024.

    Args:
        outcome: of a batch of latents, such as the clean latents that the guided prediction implies.
        latents: x_t.
        options: number of perturbations, segmentation, similarity.
        score: outcomes -> one number each; the mean similarity to the untouched one if None.
        segments: in place of the segmentation that `options` names, numbered from 0.
    """
    return scale_map(lime_weights(outcome, latents, options, score, segments))


@torch.no_grad()
def lime_weights(
    outcome: Outcome,
    latents: Float[Tensor, "c h w"],
    options: LimeOptions,
    score: Score | None = None,
    segments: Int[np.ndarray, "h w"] | None = None,
) -> Float[Tensor, "h w"]:
    """The same before scaling."""
    if score is None:
        similarity = similarity_to(outcome(latents[None])[0], options.similarity)
        score = mean_of(similarity)
    cut = segment(latents, options) if segments is None else segments
    labels = torch.from_numpy(np.ascontiguousarray(cut)).long().to(latents.device)
    count = int(labels.max()) + 1
    on = _perturbations(options, count).to(latents)
    grey = _segment_means(latents, labels, count)
    size = options.chunk or chunk_size(6 * latents.numel(), options.perturbations)
    scores = torch.cat(
        [
            score(outcome(torch.where(part[:, labels][:, None] > 0, latents, grey)))
            for part in on.split(size)
        ]
    )
    weights = fit_ridge(on.double().cpu(), scores.double().cpu(), kernel_weights(on.double().cpu()))
    if options.per_area:
        weights = weights * labels.numel() / torch.bincount(labels.flatten(), minlength=count).cpu()
    return weights.float().to(latents.device)[labels]


def segment_areas(latents: Float[Tensor, "c h w"], options: LimeOptions) -> Float[Tensor, "h w"]:
    """The size of each position's segment, in positions: the map of a tool that reports nothing but area."""
    labels = torch.from_numpy(segment(latents, options))
    return torch.bincount(labels.flatten())[labels].float()


def segment(latents: Float[Tensor, "c h w"], options: LimeOptions) -> Int[np.ndarray, "h w"]:
    """Superpixels of the latents, numbered from 0: a regular grid, or slic, quickshift or felzenszwalb (skimage)."""
    image = scale_map(latents.float()).permute(1, 2, 0).cpu().numpy().astype(np.float64)
    height, width = image.shape[:2]
    count = options.segments or max(9, height * width // 16)
    if options.segmentation == "grid":
        return _regular_grid(height, width, count)
    if options.segmentation == "slic":
        cut = slic(
            image, count, compactness=0.3, sigma=0.5, start_label=0, convert2lab=False,
            channel_axis=-1,
        )  # fmt: skip
    elif options.segmentation == "quickshift":
        cut = quickshift(
            image, ratio=0.7, kernel_size=1, max_dist=2.5, convert2lab=False, rng=options.seed
        )
    elif options.segmentation == "felzenszwalb":
        smallest = max(2, height * width // (2 * count))
        with warnings.catch_warnings():  # more than three channels may be a mistake elsewhere
            warnings.filterwarnings("ignore", "Got image with third dimension", RuntimeWarning)
            cut = felzenszwalb(image, scale=2, sigma=0.5, min_size=smallest, channel_axis=-1)
    else:
        raise ValueError(f"segmentation {options.segmentation!r} is not known")
    return np.unique(cut, return_inverse=True)[1].reshape(height, width)


def _regular_grid(height: int, width: int, count: int) -> Int[np.ndarray, "h w"]:
    """About `count` squares; those at the far borders may be cut."""
    side = max(1, round((height * width / count) ** 0.5))
    rows, columns = np.indices((height, width)) // side
    return rows * (-(-width // side)) + columns


def _perturbations(options: LimeOptions, count: int) -> Float[Tensor, "n segment"]:
    """Which segments are on: the untouched latents first, the others at random."""
    generator = torch.Generator().manual_seed(options.seed)
    on = (torch.rand(options.perturbations, count, generator=generator) < 0.5).float()
    on[0] = 1
    return on


def _segment_means(
    latents: Float[Tensor, "c h w"], labels: Int[Tensor, "h w"], count: int
) -> Float[Tensor, "c h w"]:
    flat, index = latents.flatten(1), labels.flatten()
    sums = flat.new_zeros(flat.shape[0], count).index_add_(1, index, flat)
    return (sums / torch.bincount(index, minlength=count))[:, index].view_as(latents)


def kernel_weights(on: Float[Tensor, "n segment"]) -> Float[Tensor, " n"]:
    """sqrt(exp(-d^2 / 0.25^2)) with d the cosine distance to all segments on; (0, 1]."""
    distance = 1 - on.sum(1).clamp(min=1e-12).sqrt() / on.shape[1] ** 0.5
    return torch.exp(-(distance**2) / KERNEL_WIDTH**2).sqrt()


def fit_ridge(
    on: Float[Tensor, "n segment"], scores: Float[Tensor, " n"], weights: Float[Tensor, " n"]
) -> Float[Tensor, " segment"]:
    """Coefficients of a weighted ridge regression (penalty 1) with a free intercept."""
    share = weights / weights.sum()
    centred = (on - share @ on) * weights[:, None].sqrt()
    values = (scores - share @ scores) * weights.sqrt()
    normal = centred.T @ centred + RIDGE * torch.eye(on.shape[1], dtype=on.dtype)
    return torch.linalg.solve(normal, centred.T @ values)
