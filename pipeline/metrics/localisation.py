"""Metrics of maps: against a known mask, against each other, and against a randomised model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import nn

TOP_SHARE = 0.2


@dataclass(frozen=True)
class Localisation:
    """How well a map finds a mask; all in [0, 1], higher is better.

    `mask_share` is the part of the image that the mask covers: what a random map's pointing game
    and average precision come to.
    """

    pointing: float
    iou: float
    average_precision: float
    mask_share: float


def localise(saliency: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> Localisation:
    """Pointing game, IoU at the best threshold and average precision of a map for a mask.

    Source: Zhang et al. 2018 (arXiv 1608.00507) for the pointing game.

    Raises:
        ValueError: the shapes differ, or the mask is empty.
    """
    if saliency.shape != mask.shape or not mask.any():
        raise ValueError(f"map {saliency.shape}, mask {mask.shape} with {int(mask.sum())} pixels")
    precision, recall, hits, taken = _curve(saliency.ravel(), mask.ravel())
    iou = hits / (taken + mask.sum() - hits)
    average = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    return Localisation(pointing_game(saliency, mask), float(iou.max()), average, mask.mean())


def pointing_game(saliency: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """The share of the map's highest positions that lie in the mask: 1 or 0 without ties."""
    return float(mask[saliency == saliency.max()].mean())


def _curve(
    values: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]
) -> tuple[np.ndarray, ...]:
    """Precision, recall, hits and taken at every threshold; tied values are taken together."""
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    hits = np.cumsum(truth[order])[ends].astype(np.float64)
    taken = (ends + 1).astype(np.float64)
    return hits / taken, hits / truth.sum(), hits, taken


def map_spearman(first: Float[np.ndarray, "h w"], second: Float[np.ndarray, "h w"]) -> float | None:
    """Spearman correlation over pixels, in [-1, 1]; None when one of the maps is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    ranks = [rankdata(values.ravel()) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def top_iou(
    first: Float[np.ndarray, "h w"], second: Float[np.ndarray, "h w"], share: float = TOP_SHARE
) -> float:
    """Overlap of the top 20 % of two maps, intersection over union, in [0, 1]; 1/9 by chance."""
    tops = [top_pixels(values, share) for values in (first, second)]
    return float((tops[0] & tops[1]).sum() / (tops[0] | tops[1]).sum())


def top_pixels(values: Float[np.ndarray, "h w"], share: float) -> Bool[np.ndarray, "h w"]:
    """The top share of pixels; ties go in reading order."""
    count = max(1, round(values.size * share))
    order = np.argsort(-values.ravel(), kind="stable")[:count]
    chosen = np.zeros(values.size, dtype=bool)
    chosen[order] = True
    return chosen.reshape(values.shape)


@contextmanager
def randomised(module: nn.Module, layers: Sequence[str], seed: int = 0) -> Iterator[nn.Module]:
    """The module with the weights of some layers shuffled; they come back afterwards.

    Each tensor's values are permuted, so that their distribution stays as it was.

    Source: Adebayo et al. 2018 (arXiv 1810.03292), model parameter randomisation.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = [p for name in layers for p in module.get_submodule(name).parameters(recurse=False)]
    originals = [parameter.detach().clone() for parameter in chosen]
    try:
        with torch.no_grad():
            for parameter in chosen:
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order.to(parameter.device)].view_as(parameter))
        yield module
    finally:
        with torch.no_grad():
            for parameter, values in zip(chosen, originals, strict=True):
                parameter.copy_(values)


def cascade(module: nn.Module, stages: int = 4) -> list[tuple[str, tuple[str, ...], float]]:
    """Layers to randomise, from the output of the denoiser to its input, in growing sets.

    Returns: (name of the set, layers with weights of their own, share of all weights) per stage.
    """
    ordered = sorted(_weighted(module), key=_depth, reverse=True)
    sizes = [_size(module.get_submodule(name)) for name in ordered]
    ends = np.cumsum(sizes) / sum(sizes)
    chosen = []
    for stage in range(1, stages + 1):
        count = int(np.searchsorted(ends, stage / stages - 1e-9)) + 1
        last = "all layers" if count == len(ordered) else f"output to {_short(ordered[count - 1])}"
        chosen.append((last, tuple(ordered[:count]), float(ends[count - 1])))
    return chosen


def _weighted(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_modules() if _size(part) and name]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _depth(name: str) -> tuple:
    """The order in which a denoiser runs its layers, told by their names."""
    parts = name.split(".")
    first, rest = parts[0], parts[1:]
    number = int(rest[0]) if rest and rest[0].isdigit() else 0
    kinds = rest[1:] if first in ("down_blocks", "up_blocks") else rest
    inside = (0, 0, 0)
    if len(kinds) > 1 and kinds[1].isdigit():
        inside = (kinds[0].endswith("samplers"), int(kinds[1]), kinds[0] == "attentions")
    return _stage(first), number, inside, name


def _stage(first: str) -> int:
    if first in ("transformer_blocks", "joint_transformer_blocks", "blocks"):
        return 1
    stages = ("down", "single_", "mid", "up", "conv_norm_out", "norm_out", "conv_out", "proj_out")
    return next((i for i, start in enumerate(stages, 1) if first.startswith(start)), 0)


def _short(name: str) -> str:
    return ".".join(name.split(".")[:4])
