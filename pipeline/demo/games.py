"""Does a tool that wins at insertion also find the objects? Both, of the same maps, on scenes whose masks are known.

Real scenes are noised to a step's level and explained by every tool. The maps are held against the objects' masks
(localisation) and play insertion under each baseline for removed regions. See `run_games`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pipeline.demo.known import GUIDANCE, NAMES, KnownScene, known_scenes, show_noised, targets
from pipeline.demo.trust import Maps, enlarge, explain
from pipeline.demo.trust_tables import show, t_interval
from pipeline.diffusion.watch import StepView
from pipeline.explain.maps import resize_map
from pipeline.explain.removal import removals
from pipeline.explain.tools import clean_of
from pipeline.metrics.faithfulness import PairScore, embedding_score, order_curves, structure_score
from pipeline.metrics.localisation import localise, map_spearman
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.spec import BASELINES, ModelSpec, ScorerSpec, ToolSpec
from pipeline.tables import markdown_table

Row = dict[str, Any]
RANDOM = "random"
TOOLS = ("df-rise", "df-cam", "lime", "attention", "relevance")


@dataclass(frozen=True)
class GameOptions:
    """What is run: scenes explained at steps, masks per map, the baselines of insertion."""

    scenes: int = 8
    steps: int = 30
    at: tuple[int, ...] = (10,)
    masks: int = 64
    baselines: tuple[str, ...] = BASELINES
    batch: int = 8


def run_games(
    folder: Path, names: Sequence[str] = NAMES, options: GameOptions = GameOptions()
) -> list[Row]:
    """One row per (model, scene, step, method, baseline, score): what a map gains by insertion and by localisation.

    Args:
        folder: of the models.
        names: of the models.
        options: how much.

    Returns:
        model, scene, step, method, baseline, score (clip | structure); gain: insertion area minus that of a random map of the
        same scene; over_chance: average precision minus the share of the objects. Higher is better for both.
    """
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    scorer = Scorer(ScorerSpec(str(folder / "scenes-clip")))
    known = known_scenes(options.scenes)
    rows: list[Row] = []
    total = len(names) * len(known) * len(options.at)
    with tqdm(total=total, unit=" scene steps", desc="games") as bar:
        for name in names:
            spec = ModelSpec(name, name, str(folder / name), steps=options.steps, guidance=GUIDANCE)
            pipeline = loading.open_pipeline(spec, torch.device("cpu"))
            for first in range(0, len(known), options.batch):
                part = known[first : first + options.batch]
                player = _Player(name, part, first, options, rows, bar)
                show_noised(pipeline, spec, scorer, part, first, options.at, player.see)
    return rows


@dataclass
class _Player:
    """Plays the games of a batch of scenes at each step that it is shown."""

    name: str
    known: Sequence[KnownScene]
    first: int
    options: GameOptions
    rows: list[Row]
    bar: Any

    def see(self, view: StepView) -> None:
        """Explains the step and judges its maps, one scene after the other."""
        for item, known in enumerate(self.known):
            (maps,) = explain(view, [item], self.options.masks)
            keys = {"model": self.name, "scene": self.first + item, "step": view.step}
            self.rows += scene_rows(view, item, known, maps, keys, self.options.baselines)
            self.bar.update(1)


def scene_rows(
    view: StepView,
    item: int,
    known: KnownScene,
    maps: Maps,
    keys: Mapping[str, Any],
    baselines: Sequence[str],
) -> Iterator[Row]:
    """The rows of a scene at a step, of each tool's map of the whole prediction and of a random map."""
    mask = targets(known)[""]
    maps_of_image = {
        method: maps[method, ""] for method in (*TOOLS, RANDOM) if (method, "") in maps
    }
    over_chance = {
        method: localise(enlarge(values, mask.shape), mask).average_precision - float(mask.mean())
        for method, values in maps_of_image.items()
    }
    size = (view.latents.shape[-2], view.latents.shape[-1])
    orders = {m: resize_map(torch.from_numpy(v), size) for m, v in maps_of_image.items()}
    outcome, scores = clean_of(view.denoiser, item), _scores(view, item)
    wanted = ToolSpec(options={"baselines": tuple(baselines)})
    for baseline, remove in removals(view, item, wanted).items():
        curves = order_curves(
            outcome, view.latents[item], orders, "insertion", scores, remove=remove
        )
        for method in maps_of_image:
            for score in scores:
                yield {
                    **keys,
                    "method": method,
                    "baseline": baseline,
                    "score": score,
                    "gain": curves[method][score].area - curves[RANDOM][score].area,
                    "over_chance": over_chance[method],
                }


def _scores(view: StepView, item: int) -> dict[str, PairScore]:
    clean, batch = view.denoised[item], view.batch
    structure = structure_score(clean)
    clip = embedding_score(lambda latents: batch.scorer.images(batch.decode(latents)), clean)
    return {
        "clip": lambda _, predicted: clip(predicted),
        "structure": lambda _, predicted: structure(predicted),
    }


def tools_table(rows: Sequence[Row]) -> str:
    """Per model, step and tool: localisation, and what it gains by insertion under each baseline, with 95 % t intervals."""
    columns = list(dict.fromkeys((r["score"], r["baseline"]) for r in rows))
    head = ["model", "step", "tool", "localisation", *[f"{s}, {b}" for s, b in columns]]
    lines = []
    for model, step, method in dict.fromkeys((r["model"], r["step"], r["method"]) for r in rows):
        chosen = [r for r in rows if (r["model"], r["step"], r["method"]) == (model, step, method)]
        gains = [interval(_of(chosen, s, b), "gain") for s, b in columns]
        precision = interval(_of(chosen, *columns[0]), "over_chance")
        lines.append([model, step, method, show(precision), *map(show, gains)])
    return markdown_table(head, lines)


def agreement_table(rows: Sequence[Row]) -> str:
    """Spearman over tools of insertion with localisation, per model, step, score and baseline.

    Of the tools' means over scenes, and within a scene: mean over scenes with its 95 % t interval.
    """
    lines = []
    keys = ("model", "step", "score", "baseline")
    for key in dict.fromkeys(tuple(r[k] for k in keys) for r in rows):
        chosen = [r for r in rows if tuple(r[k] for k in keys) == key]
        within = [rank_correlation(part) for part in _groups(chosen, "scene")]
        known = np.array([value for value in within if value is not None])
        of_means = rank_correlation([_mean(part) for part in _groups(chosen, "method")])
        mean = "" if of_means is None else f"{of_means:+.2f}"
        lines.append([*key, mean, show(t_interval(known)), len(known)])
    head = ["model", "step", "score", "baseline", "of means", "within a scene", "n"]
    return markdown_table(head, lines)


def rank_correlation(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Spearman over tools of what they gain by insertion and by localisation; the random map is the zero of both, left out."""
    tools = [r for r in rows if r["method"] != RANDOM]
    gain, precision = (np.array([[r[k] for r in tools]]) for k in ("gain", "over_chance"))
    return map_spearman(gain, precision) if len(tools) > 2 else None


def interval(rows: Sequence[Row], column: str) -> tuple[float, float, float]:
    """(mean, low, high) over scenes."""
    return t_interval(np.array([r[column] for r in rows]))


def _of(rows: Sequence[Row], score: str, baseline: str) -> list[Row]:
    return [r for r in rows if (r["score"], r["baseline"]) == (score, baseline)]


def _groups(rows: Sequence[Row], key: str) -> list[list[Row]]:
    return [[r for r in rows if r[key] == value] for value in dict.fromkeys(r[key] for r in rows)]


def _mean(rows: Sequence[Row]) -> Row:
    means = {k: float(np.mean([r[k] for r in rows])) for k in ("gain", "over_chance")}
    return {"method": rows[0]["method"], **means}
