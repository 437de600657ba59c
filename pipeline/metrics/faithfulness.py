"""Insertion and deletion: does a map's order of pixels matter to the denoiser in the order it says?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.metrics.similarity import SsimTerms, smoothing

GAMES = ("insertion", "deletion")
BLUR_WINDOW, BLUR_SIGMA = 11, 5.0

Predict = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]]
Score = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, " n"]]
PairScore = Callable[[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"]], Float[Tensor, " n"]]
"""(points, what they lead to) -> one score each."""
Remove = Callable[[Bool[Tensor, "n 1 h w"]], Float[Tensor, "n c h w"]]
"""Removed positions of n points -> their latents (`pipeline.metrics.baselines`)."""
CHUNK = 128


@dataclass(frozen=True)
class Curve:
    """One game's curve: h + 1 points over the fraction of pixels changed, 0 to 1, and its area.

    `scaled` is the area of the min-max scaled curve; None for a constant one.
    """

    points: Float[Tensor, " point"]
    area: float
    scaled: float | None


def order_curves(
    outcome: Predict,
    latents: Float[Tensor, "c h w"],
    orders: Mapping[str, Float[Tensor, "h w"]],
    game: str,
    scores: Mapping[str, PairScore],
    chunk: int = CHUNK,
    remove: Remove | None = None,
) -> dict[str, dict[str, Curve]]:
    """The curves of one game for several maps, order -> score -> curve, from shared batched calls.

    Deletion sets pixels of x_t to 0, most salient first; insertion starts at the blurred x_t and
    puts the pixels of x_t back, most salient first. With similarities to the untouched outcome
    (higher = closer) a LOWER deletion and a HIGHER insertion area are better; with distances the
    other way round.

    Source: Petsiuk et al. 2018 (arXiv 1806.07421), on latents as in Park et al. 2024.

    Args:
        outcome: latents -> what is scored, such as the clean latents that the prediction implies.
        latents: x_t.
        orders: maps by name; ties go in reading order.
        game: "insertion" or "deletion".
        scores: (points, outcomes) -> one number each, by name.
        chunk: most points at a time.
        remove: what stands in removed positions; None = zeros, and for insertion the blurred x_t.
    """
    if not orders:
        return {}
    points = torch.cat(
        [game_points(latents, saliency, game, remove) for saliency in orders.values()]
    )
    parts: dict[str, list[Tensor]] = {name: [] for name in scores}
    for part in points.split(chunk):
        predicted = outcome(part)
        for name, score in scores.items():
            parts[name].append(score(part, predicted).detach().float().cpu())
    split = {name: torch.cat(values).chunk(len(orders)) for name, values in parts.items()}
    return {
        order: {name: summarise(split[name][index]) for name in scores}
        for index, order in enumerate(orders)
    }


def game_curves(
    outcome: Predict,
    latents: Float[Tensor, "c h w"],
    saliency: Float[Tensor, "h w"],
    game: str,
    scores: Mapping[str, Score],
) -> dict[str, Curve]:
    """`order_curves` of a single map, with scores of the outcome alone."""
    pairs = {name: _of_outcome(score) for name, score in scores.items()}
    return order_curves(outcome, latents, {"": saliency}, game, pairs)[""]


def _of_outcome(score: Score) -> PairScore:
    return lambda _points, outcomes: score(outcomes)


def game_points(
    latents: Float[Tensor, "c h w"],
    saliency: Float[Tensor, "h w"],
    game: str,
    remove: Remove | None = None,
) -> Float[Tensor, "point c h w"]:
    """The h + 1 latents of a game, one row's worth of pixels changing at a time.

    Args:
        remove: what stands in removed positions; None = zeros, and for insertion the blurred x_t.
    """
    removed = removed_positions(saliency, game)
    if remove is not None:
        return remove(removed)
    if game == "deletion":
        return torch.where(removed, 0.0, latents[None])
    return torch.where(removed, blur(latents)[None], latents[None])


def removed_positions(saliency: Float[Tensor, "h w"], game: str) -> Bool[Tensor, "point 1 h w"]:
    """What is removed at each point: by deletion more and more, most salient first; by insertion less and less.

    Raises:
        ValueError: an unknown game.
    """
    if game not in GAMES:
        raise ValueError(f"game {game!r} is not known; it is one of {', '.join(GAMES)}")
    height, width = saliency.shape
    order = saliency.flatten().float().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    changed = torch.arange(height + 1, device=order.device)[:, None] * width > rank[None]
    changed = changed.view(-1, 1, height, width)
    return changed if game == "deletion" else ~changed


def blur(latents: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """An 11 x 11 Gaussian of sigma 5 on every channel, borders mirrored."""
    rows, columns = (smoothing(n, BLUR_WINDOW, BLUR_SIGMA, latents) for n in latents.shape[-2:])
    return rows @ latents @ columns.T


def summarise(points: Float[Tensor, " point"]) -> Curve:
    """Area under a curve by the trapezoid rule over [0, 1], raw and of the min-max scaled curve."""
    points = points.detach().float().cpu()
    low, high = float(points.min()), float(points.max())
    scaled = None if high - low <= 1e-9 else area((points - low) / (high - low))
    return Curve(points, area(points), scaled)


def area(points: Float[Tensor, " point"]) -> float:
    """The trapezoid rule over equal steps from 0 to 1."""
    return float(torch.trapezoid(points.double(), dx=1 / (len(points) - 1)))


def structure_score(reference: Float[Tensor, "c h w"]) -> Score:
    """Mean SSIM structure term to the reference latents; [-1, 1], higher = closer."""
    terms = SsimTerms(reference, "structure")
    return lambda outcomes: terms(outcomes).mean((1, 2))


def embedding_score(
    embed: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d"]],
    reference: Float[Tensor, "c h w"],
) -> Score:
    """Cosine of CLIP image embeddings to the reference's; [-1, 1], higher = closer."""
    target = embed(reference[None])
    return lambda outcomes: (embed(outcomes) * target).sum(-1)


def distance_score(
    embed: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d"]],
    reference: Float[Tensor, "c h w"],
) -> Score:
    """Squared distance of features to the reference's: LOWER = closer, so better and worse are reversed.

    With Inception's features this is the Frechet distance at batch 1: one image each has no covariance.

    Source: Park et al. 2024's protocol; Heusel et al. 2017 (arXiv 1706.08500), equation 6.
    """
    target = embed(reference[None])
    return lambda outcomes: (embed(outcomes) - target).square().sum(-1)
