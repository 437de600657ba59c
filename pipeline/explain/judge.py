"""What maps are worth: insertion and deletion against random and inverse maps, and agreement."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pipeline.explain.baseline import inverse
from pipeline.explain.tools import clean_of, embed_images
from pipeline.faithfulness import (
    GAMES,
    PairScore,
    distance_score,
    embedding_score,
    next_step,
    order_curves,
    structure_score,
)
from pipeline.localisation import map_spearman, top_iou
from pipeline.observe import StepView
from pipeline.study import ToolSpec

DEFAULT_SCORES = {"ours": ("clip", "structure"), "park2024": ("fid",)}


def faithfulness_rows(
    view: StepView,
    item: int,
    maps: Mapping[str, Float[Tensor, "h w"]],
    random: Float[Tensor, "h w"],
    spec: ToolSpec,
    protocol: str,
) -> list[dict[str, Any]]:
    """Rows of the shard's `faithfulness` for one item at one step.

    All maps, their inverses and the random map play each game in the same batched calls.
    """
    games = _named(spec, "games", GAMES)
    scores = item_scores(view, item, _named(spec, "scores", DEFAULT_SCORES[protocol]), protocol)
    orders = {"random baseline": random.to(view.latents.device)}
    for method, values in maps.items():
        orders |= {method: values, f"inverse {method}": inverse(values)}

    outcome = clean_of(view.denoiser, item)
    rows = []
    for game in games:
        curves = order_curves(outcome, view.latents[item], orders, game, scores)
        rows += [
            {
                "step": view.step,
                "method": method,
                "game": game,
                "score": score,
                "curve": curves[method][score].points.numpy(),
                "auc": curves[method][score].area,
                "auc_scaled": curves[method][score].scaled,
                "auc_random": curves["random baseline"][score].area,
                "auc_inverse": curves[f"inverse {method}"][score].area,
            }
            for method in maps
            for score in scores
        ]
    return rows


def item_scores(
    view: StepView, item: int, names: tuple[str, ...], protocol: str
) -> dict[str, PairScore]:
    """The scores of a game's points, by name, each of (points, clean latents they lead to)."""
    makers: dict[str, Callable[[], PairScore]] = {
        "structure": lambda: _of_clean(structure_score(view.denoised[item])),
        "clip": lambda: _of_clean(embedding_score(embed_images(view.batch), view.denoised[item])),
        "fid": lambda: _distance(view, item, protocol),
    }
    return {name: makers[name]() for name in names}


def _of_clean(score: Callable[[Tensor], Tensor]) -> PairScore:
    return lambda _points, clean: score(clean)


def _distance(view: StepView, item: int, protocol: str) -> PairScore:
    """Distance of decoded x0; in the paper's protocol, of the decoded next step."""
    embed = embed_images(view.batch)
    if protocol != "park2024":
        return _of_clean(distance_score(embed, view.denoised[item]))
    following = next_step(view.latents, view.denoised, view.next_latents)
    score = distance_score(embed, view.next_latents[item])
    return lambda points, clean: score(following(points, clean, item))


def agreement_rows(step: int, maps: Mapping[str, Float[Tensor, "h w"]]) -> list[dict[str, Any]]:
    """Rows of the shard's `agreement`: Spearman and top-20 % overlap of every pair of methods."""
    arrays = {method: np.asarray(values.cpu(), np.float64) for method, values in maps.items()}
    return [
        {
            "step": step,
            "method_a": first,
            "method_b": second,
            "spearman": map_spearman(arrays[first], arrays[second]),
            "iou": top_iou(arrays[first], arrays[second]),
        }
        for first, second in itertools.combinations(arrays, 2)
    ]


def _named(spec: ToolSpec, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = spec.options.get(key)
    return value if isinstance(value, tuple) else default
