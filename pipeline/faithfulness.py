"""Insertion and deletion: does a map's order of pixels matter to the denoiser in the order it says?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.similarity import SsimTerms, smoothing

GAMES = ("insertion", "deletion")
BLUR_WINDOW, BLUR_SIGMA = 11, 5.0

Predict = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]]
Score = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, " n"]]
PairScore = Callable[[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"]], Float[Tensor, " n"]]
"""(points, what they lead to) -> one score each."""
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
    """
    if not orders:
        return {}
    points = torch.cat([game_points(latents, saliency, game) for saliency in orders.values()])
    parts: dict[str, list[Tensor]] = {name: [] for name in scores}
    for part in points.split(chunk):
        found = outcome(part)
        for name, score in scores.items():
            parts[name].append(score(part, found).detach().float().cpu())
    split = {name: torch.cat(values).chunk(len(orders)) for name, values in parts.items()}
    return {
        order: {name: summarise(split[name][place]) for name in scores}
        for place, order in enumerate(orders)
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
    latents: Float[Tensor, "c h w"], saliency: Float[Tensor, "h w"], game: str
) -> Float[Tensor, "point c h w"]:
    """The h + 1 latents of a game, one row's worth of pixels changing at a time."""
    if game not in GAMES:
        raise ValueError(f"game {game!r} is not known; it is one of {', '.join(GAMES)}")
    height, width = latents.shape[-2:]
    order = saliency.flatten().float().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    changed = torch.arange(height + 1, device=order.device)[:, None] * width > rank[None]
    changed = changed.view(-1, 1, height, width)
    if game == "deletion":
        return torch.where(changed, 0.0, latents[None])
    return torch.where(changed, latents[None], blur(latents)[None])


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
    """Frechet distance at batch 1 to the reference: LOWER = closer, so the areas turn round.

    With one image each there is no covariance and only the squared distance of features is left;
    they are the first scorer's.

    Source: Park et al. 2024's protocol; Heusel et al. 2017 (arXiv 1706.08500), equation 6.
    """
    target = embed(reference[None])
    return lambda outcomes: (embed(outcomes) - target).square().sum(-1)


def next_step(
    latents: Float[Tensor, "b c h w"],
    denoised: Float[Tensor, "b c h w"],
    following: Float[Tensor, "b c h w"],
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """What the scheduler's step would have made of other latents of the same items.

    A deterministic first-order step is x' = p x + q x0; p and q are read off the step that was
    taken, and what they leave over (noise, the history of a multistep solver) is kept as it was.

    Returns: (latents n c h w, denoised n c h w, item) -> next latents n c h w.
    """
    columns = torch.stack([latents.flatten(), denoised.flatten()], 1).double()
    solved = torch.linalg.lstsq(columns.cpu(), following.flatten().double().cpu()[:, None])
    p, q = (float(value) for value in solved.solution[:, 0])
    rest = following - p * latents - q * denoised

    def step(other: Tensor, other_denoised: Tensor, item: int) -> Tensor:
        return p * other + q * other_denoised + rest[item]

    return step
