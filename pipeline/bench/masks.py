"""How few denoiser calls a DF-RISE map needs: `python -m pipeline.bench.masks`.

The truth is the map of many independent masks. Designs of masks and estimators are judged by their error against it at the
same number of calls: 1 - Spearman's correlation over positions, and the RMSE of the min-max scaled maps. Scores are cached
as they are made, so that a killed run resumes and a larger one adds to a smaller one.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from pipeline.demo.known import GUIDANCE, NAMES, known_scenes, show_noised
from pipeline.diffusion.watch import StepView
from pipeline.explain.maps import scale_map
from pipeline.explain.masks import DESIGNS
from pipeline.explain.rise import (
    DEFAULT_DESIGN,
    RiseOptions,
    make_masks,
    map_of_scores,
    park2024,
    rise_scores,
    score_masks,
)
from pipeline.explain.tools import clean_of, predict_of
from pipeline.metrics.localisation import map_spearman
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.spec import ModelSpec, ScorerSpec
from pipeline.tables import markdown_table

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 250  # truth masks scored at a time, each block from a seed of its own
TRUTH_SEED = 1_000_000
REFERENCE = 500  # independent masks, whose error is to be reached with fewer calls
WANTED = 100
PAPER = "paper's protocol"


@dataclass(frozen=True)
class Sizes:
    """How much is run: truth masks, counts of masks in the table, sets of masks per design; whether the truth is computed in bfloat16."""

    truth: int = 2000
    counts: tuple[int, ...] = (32, 64, 100, 128)
    repeats: int = 1
    bfloat16: bool = False


@dataclass(frozen=True)
class Case:
    """One explained step of one scene under one model."""

    name: str
    view: StepView
    item: int = 0

    def scores(self, options: RiseOptions) -> Float[Tensor, "n r c"]:
        """Scores of the options' masks by x0."""
        outcome, latents = clean_of(self.view.denoiser, self.item), self.view.latents[self.item]
        return score_masks(outcome, latents, options, self.view.denoised[self.item])

    def paper_map(self, masks: int, seed: int) -> Float[Tensor, "h w"]:
        """The map of the paper's protocol."""
        options = park2024(RiseOptions(masks=masks, seed=seed))
        predict, latents = predict_of(self.view.denoiser, self.item), self.view.latents[self.item]
        return rise_scores(predict, latents, options, self.view.next_latents[self.item])


class Cache:
    """Tensors by name in a folder, a safetensors file for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str, make: Any) -> Tensor:
        """The tensor of that name; made and written, atomically, if it is not there."""
        path = self._folder / f"{name}.safetensors"
        if path.is_file():
            return load_file(path)["values"]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial, values = path.with_suffix(".tmp"), make()
        save_file({"values": values.contiguous()}, partial)
        partial.replace(path)
        return values


def cases(folder: Path, names: Sequence[str], steps: Sequence[int], scenes: int) -> Iterator[Case]:
    """Known scenes noised to each step's level: all models of a scene, then the next scene."""
    scorer = Scorer(ScorerSpec(str(folder / "scenes-clip")))
    for scene in range(scenes):
        for name in names:
            spec = ModelSpec(name, name, str(folder / name), guidance=GUIDANCE)
            pipeline = loading.open_pipeline(spec, torch.device("cpu"))
            for view in _views(pipeline, spec, scorer, scene, steps):
                yield Case(f"{name}/scene-{scene}/step-{view.step}", view)


def _views(
    pipeline: Any, spec: ModelSpec, scorer: Scorer, scene: int, steps: Sequence[int]
) -> list[StepView]:
    known = known_scenes(scene + 1)[scene:]
    views: list[StepView] = []
    show_noised(pipeline, spec, scorer, known, scene, steps, views.append)
    return views


@dataclass(frozen=True)
class Row:
    """One map's error: design and estimator, number of calls, 1 - Spearman, RMSE."""

    what: str
    calls: int
    distance: float
    rmse: float


def judge(case: Case, cache: Cache, sizes: Sizes) -> tuple[list[Row], Row]:
    """(errors of all designs, estimators and counts against the truth, error of one half of the truth against the other)."""
    truth = _truth(case, cache, sizes)
    rows = []
    for design in DESIGNS:
        most = REFERENCE if design == "independent" else max(sizes.counts)
        for seed in range(sizes.repeats):
            options = RiseOptions(masks=most, design=design, seed=seed)
            name = f"{case.name}/{design}-{most}-{seed}"
            scores = cache.get(name, lambda options=options: case.scores(options))
            for estimator in ("mean", "effects"):
                for calls in sorted({*sizes.counts, most}):
                    saliency = _first(case, options, scores, calls, estimator)
                    rows.append(Row(f"{design}, {estimator}", calls, *errors(saliency, truth[0])))
    for calls in (WANTED, REFERENCE):
        name = f"{case.name}/paper-{calls}"
        saliency = scale_map(cache.get(name, lambda calls=calls: case.paper_map(calls, 0)))
        rows.append(Row(PAPER, calls, *errors(saliency, truth[0])))
    return rows, Row("truth", sizes.truth // 2, *errors(*truth[1:]))


def _first(
    case: Case, options: RiseOptions, scores: Tensor, calls: int, estimator: str
) -> Float[Tensor, "h w"]:
    """The map of a set's first masks; the beginning of a set is a smaller set of the same design."""
    height, width = case.view.latents.shape[-2:]
    masks = make_masks(height, width, options)[:calls]
    return scale_map(map_of_scores(masks, scores[:calls], replace(options, estimator=estimator)))


def _truth(case: Case, cache: Cache, sizes: Sizes) -> list[Float[Tensor, "h w"]]:
    """The maps of all truth masks, of the first and of the second half.

    By the regression without reach, which tends to the same map as the mean and has less sampling error.
    """
    masks, scores = [], []
    height, width = case.view.latents.shape[-2:]
    for block in range(sizes.truth // BLOCK):
        masks.append(make_masks(height, width, _truth_options(block)))
        scores.append(_truth_scores(case, cache, block, bfloat16=sizes.bfloat16))
    half = len(masks) // 2
    parts = (slice(None), slice(half), slice(half, None))
    return [_plain(torch.cat(masks[part]), torch.cat(scores[part])) for part in parts]


def _truth_options(block: int) -> RiseOptions:
    return RiseOptions(masks=BLOCK, design="independent", seed=TRUTH_SEED + block)


def _truth_scores(
    case: Case, cache: Cache, block: int, *, bfloat16: bool
) -> Float[Tensor, "n r c"]:
    """Scores of a block of truth masks; in bfloat16 in half of the time where the processor has it (`rounding` says at which loss)."""

    def make() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return case.scores(_truth_options(block)).float()

    return cache.get(f"{case.name}/truth-{'bfloat16-' if bfloat16 else ''}{block}", make)


def rounding(case: Case, cache: Cache) -> float:
    """Standard deviation of what bfloat16 changes in a mask's score, over that of the scores: of the first block of the truth."""
    exact, rounded = (_truth_scores(case, cache, 0, bfloat16=each) for each in (False, True))
    return float((rounded - exact).mean((1, 2)).std() / exact.mean((1, 2)).std())


def _plain(masks: Tensor, scores: Tensor) -> Float[Tensor, "h w"]:
    averages = scores.mean((1, 2), keepdim=True)  # the bundled models' parts are all of one size
    return scale_map(map_of_scores(masks, averages, RiseOptions(masks=len(masks))))


def errors(saliency: Float[Tensor, "h w"], truth: Float[Tensor, "h w"]) -> tuple[float, float]:
    """(1 - Spearman, RMSE) of a scaled map; a constant map has Spearman 0."""
    correlation = map_spearman(saliency.numpy(), truth.numpy()) or 0.0
    return 1 - correlation, float((saliency - truth).square().mean().sqrt())


def mean_errors(rows: Sequence[Row]) -> dict[str, dict[int, tuple[float, float]]]:
    """what -> calls -> (1 - Spearman, RMSE), means over cases and sets."""
    by_setting: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        by_setting.setdefault(row.what, {}).setdefault(row.calls, []).append(row)
    return {
        what: {
            calls: (
                float(np.mean([r.distance for r in some])),
                float(np.mean([r.rmse for r in some])),
            )
            for calls, some in by_calls.items()
        }
        for what, by_calls in by_setting.items()
    }


def calls_needed(
    by_calls: Mapping[int, tuple[float, float]], reference: tuple[float, float]
) -> int | None:
    """The fewest calls at which both errors are at most the reference's, and stay so."""
    enough = None
    for calls in sorted(by_calls, reverse=True):
        if any(a > b for a, b in zip(by_calls[calls], reference, strict=True)):
            break
        enough = calls
    return enough


def table(means: Mapping[str, Mapping[int, tuple[float, float]]]) -> str:
    """Errors by design, estimator and calls as Markdown: "1 - Spearman / RMSE"."""
    counts = sorted({calls for by_calls in means.values() for calls in by_calls})
    reference = means["independent, mean"][REFERENCE]
    head = ["masks, estimator", *map(str, counts), f"calls for the error of {REFERENCE}"]
    rows = []
    for what, by_calls in means.items():
        cells = [
            f"{by_calls[n][0]:.3f} / {by_calls[n][1]:.3f}" if n in by_calls else "" for n in counts
        ]
        needed = calls_needed(by_calls, reference)
        needed_text = f"more than {max(by_calls)}" if needed is None else f"{needed}"
        rows.append([what, *cells, needed_text])
    return markdown_table(head, rows)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command line, read."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.masks", description=__doc__)
    parser.add_argument("--models", type=Path, default=ROOT / "data" / "models")
    parser.add_argument("--model", action="append", help="only this one; may be repeated")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 18, 26])
    parser.add_argument("--scenes", type=int, default=1)
    parser.add_argument("--truth", type=int, default=Sizes.truth, help="independent masks")
    parser.add_argument("--bfloat16", action="store_true", help="compute the truth in bfloat16")
    parser.add_argument("--counts", type=int, nargs="+", default=list(Sizes.counts))
    parser.add_argument("--repeats", type=int, default=Sizes.repeats, help="sets of masks")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / "data" / "results" / "masks", help="folder of scores"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; exits 1 if the default needs more than 100 calls for the error of 500 independent masks."""
    options = _options(arguments)
    sizes = Sizes(
        options.truth // (2 * BLOCK) * 2 * BLOCK,
        tuple(options.counts),
        options.repeats,
        options.bfloat16,
    )
    names = tuple(options.model or NAMES)
    rows: list[Row] = []
    halves: list[Row] = []
    losses: list[float] = []
    total = options.scenes * len(names) * len(options.steps)
    for case in tqdm(
        cases(options.models, names, options.steps, options.scenes), total=total, unit=" step"
    ):
        cache = Cache(options.cache)
        errors_of_case, half = judge(case, cache, sizes)
        losses += [rounding(case, cache)] if sizes.bfloat16 else []
        rows += errors_of_case
        halves.append(half)
    means = mean_errors(rows)
    print(
        f"{', '.join(names)}; steps {', '.join(map(str, options.steps))}; {options.scenes} scenes; truth of {sizes.truth} "
        f"independent masks, {sizes.repeats} set(s) of masks per design. Each figure: 1 - Spearman / RMSE.\n"
    )
    print(table(means))
    half_distance, half_rmse = mean_errors(halves)["truth"][sizes.truth // 2]
    print(f"\nHalf of the truth against the other half: {half_distance:.3f} / {half_rmse:.3f}.")
    if losses:
        print(
            f"The truth is in bfloat16, which changes a mask's score by {max(losses):.1%} of the scores' standard deviation at most."
        )
    default = means[f"{DEFAULT_DESIGN}, {RiseOptions().estimator}"]
    needed = calls_needed(default, means["independent, mean"][REFERENCE])
    return 0 if needed is not None and needed <= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
