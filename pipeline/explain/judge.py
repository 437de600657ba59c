"""What maps are worth: insertion and deletion against random and inverse maps, and agreement."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pipeline.diffusion.watch import Batch, StepView
from pipeline.explain.baseline import inverse
from pipeline.explain.removal import removals
from pipeline.explain.tools import image_features, outcome_of
from pipeline.metrics.faithfulness import (
    GAMES,
    PairScore,
    Score,
    distance_score,
    embedding_score,
    order_curves,
    structure_score,
)
from pipeline.metrics.localisation import map_spearman, top_iou
from pipeline.study.spec import ToolSpec


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
    outcome, reference = outcome_of(view, item, protocol)
    names = _named(spec, "scores", default_scores(view.batch, protocol))
    scores = item_scores(view.batch, reference, names)
    orders = {"random baseline": random.to(view.latents.device)}
    for method, values in maps.items():
        orders |= {method: values, f"inverse {method}": inverse(values)}

    rows = []
    removing = removals(view, item, spec)
    for game, (baseline, remove) in itertools.product(games, removing.items()):
        curves = order_curves(outcome, view.latents[item], orders, game, scores, remove=remove)
        rows += [
            {
                "step": view.step,
                "method": method,
                "game": game,
                "score": score,
                "baseline": None if baseline == "zero" else baseline,
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


def default_scores(batch: Batch, protocol: str) -> tuple[str, ...]:
    """The scores of a study that names none; the paper's is a distance of Inception's features, where the study has its weights."""
    if protocol != "park2024":
        return ("clip", "structure")
    return ("inception",) if batch.inception is not None else ("clip",)


def item_scores(
    batch: Batch, reference: Float[Tensor, "c h w"], names: Sequence[str]
) -> dict[str, PairScore]:
    """The scores of a game's points, by name, each of (points, latents that they lead to).

    Args:
        batch: what is sampled.
        reference: the latents that the untouched point leads to.
        names: clip and structure (higher = closer), inception (a distance: lower = closer).
    """
    makers: dict[str, Callable[[], Score]] = {
        "structure": lambda: structure_score(reference),
        "clip": lambda: embedding_score(image_features(batch), reference),
        "inception": lambda: distance_score(image_features(batch, "inception"), reference),
    }
    return {name: _of_outcome(makers[name]()) for name in names}


def _of_outcome(score: Score) -> PairScore:
    return lambda _points, outcome: score(outcome)


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
