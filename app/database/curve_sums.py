"""Statistics of the curves of a slice, from arrays in memory: the rows that the SQL files of the same names give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from app.database.curve_arrays import Block, CurvesError
from app.database.sources import Rows, Source, column_sums, moments


@dataclass(frozen=True)
class Means:
    """One curve per prompt.

    Attributes:
        value: (n, steps).
        final: (n,), float64.
        samples: number of samples of all of them together.
    """

    value: np.ndarray
    final: np.ndarray
    samples: int


def curves(source: Source) -> pd.DataFrame:
    """`curves.sql` and `curves_prompts.sql`: mean similarity per (model, concept, step), the prompt as the unit."""
    rows = Rows("model_id", "concept_id", "step", "prompts", "samples", "mean", "sd", "r_final")
    counted = list(source.counted(named=source.parameters["named"]))
    for model in sorted(set(source.parameters["models"])):
        seeds = source.blocks(model)
        for concept, marks in counted:
            blocks = _blocks_of(seeds, concept, marks)
            means = _averaged(blocks, len(marks))
            n = len(means.final)
            if n:
                last = means.final - means.final.mean()
                mean, sd, product = moments(means.value, last)
                r = _correlation(sd, product, last)
                rows.add(model, concept, np.arange(len(mean)), n, means.samples, mean, sd, r)
    return rows.table()


def family_curves(source: Source) -> pd.DataFrame:
    """`family_curves.sql`: mean similarity per (model, family, step); a prompt's named concepts and seeds averaged first."""
    rows = Rows("model_id", "family", "step", "prompts", "mean", "sd")
    families: dict[str, list[tuple[int, np.ndarray]]] = {}
    for concept, marks in source.counted(named=True):
        if concept:
            families.setdefault(source.families[concept], []).append((concept, marks))
    for model in sorted(set(source.parameters["models"])):
        seeds = source.blocks(model)
        for family in sorted(families):
            pairs = [
                (each[c], marks) for c, marks in families[family] for each in seeds if c in each
            ]
            value = _averaged([_within(*pair) for pair in pairs], len(source.prompts.ids)).value
            if len(value):
                mean, sd, _ = moments(value)
                rows.add(model, family, np.arange(len(mean)), len(value), mean, sd)
    return rows.table()


def seed_correlation(source: Source) -> pd.DataFrame:
    """`seed_correlation.sql`: per (model, concept, step) the correlation with the last similarity over the seeds of a prompt.

    The means of each prompt are removed first.
    """
    rows = Rows("model_id", "concept_id", "step", "freedom", "r")
    if len(source.parameters["seeds"]) < 2:
        return rows.table()
    counted = list(source.counted(named=source.parameters["named"]))
    for model in sorted(set(source.parameters["models"])):
        seeds = source.blocks(model)
        for concept, marks in counted:
            blocks = _blocks_of(seeds, concept, marks)
            freedom = sum(len(each.prompts) for each in blocks) - len(
                np.unique(np.concatenate([[], *(each.prompts for each in blocks)]))
            )
            if freedom > 0:
                square, last, product = _within_prompts(blocks, len(marks))
                size = np.sqrt(square * last)
                r = np.divide(product, size, out=np.full_like(size, np.nan), where=size > 1e-12)
                rows.add(model, concept, np.arange(len(r)), freedom, r)
    return rows.table()


def paired_grid(source: Source) -> pd.DataFrame:
    """`paired_grid_prompts.sql` and `paired_grid_seeds.sql`: moments of the paired differences to the baseline.

    Per (candidate, concept, step of the baseline), over shared prompts and seeds; the candidate's curve is read between its steps.
    """
    rows = Rows("model_id", "concept_id", "step", "prompts", "mean", "sd", "win_rate")
    asked = source.parameters
    counted = list(source.counted(named=asked["named"]))
    names = ("baseline", "candidates", "axis")
    matched = source.table("matched_steps", **{name: asked[name] for name in names}).to_pylist()
    baseline = source.blocks(asked["baseline"])
    first_of = {concept: _as_one(baseline, concept, marks) for concept, marks in counted}
    for match in sorted(matched, key=lambda row: row["model_id"]):
        candidate = source.blocks(match["model_id"])
        for concept, marks in counted:
            a, b = first_of[concept], _as_one(candidate, concept, marks)
            if a is not None and b is not None:
                blocks = [_difference(a, b, match)]
            else:
                both = zip(baseline, candidate, strict=True)
                pairs = [_blocks_of(seed, concept, marks) for seed in both]
                blocks = [_difference(p[0], p[1], match) for p in pairs if len(p) == 2]
            value = _averaged(blocks, len(marks)).value
            if len(value):
                mean, sd, _ = moments(value)
                wins = (1 + column_sums(np.sign(value)) / len(value)) / 2
                rows.add(match["model_id"], concept, match["steps"], len(value), mean, sd, wins)
    return rows.table()


def _blocks_of(
    parts: Sequence[Mapping[int, Block]], concept: int, marks: np.ndarray
) -> list[Block]:
    """The curves of a concept that count, of each part that has any."""
    return [_within(each[concept], marks) for each in parts if concept in each]


def _as_one(seeds: Sequence[Mapping[int, Block]], concept: int, marks: np.ndarray) -> Block | None:
    """Their mean over the seeds; None where the seeds are not of the same prompts."""
    blocks = _blocks_of(seeds, concept, marks)
    if len(blocks) < len(seeds):
        return None
    if len(blocks) == 1:
        return blocks[0]
    prompts = blocks[0].prompts
    if not all(np.array_equal(each.prompts, prompts) for each in blocks[1:]):
        return None
    means = _averaged(blocks, len(marks))
    seeds_of = np.sum([each.seeds for each in blocks], axis=0)
    return Block(prompts, seeds_of, means.final, means.value)


def _within(block: Block, marks: np.ndarray) -> Block:
    """The curves of the prompts that count."""
    rows = np.flatnonzero(marks.take(block.prompts))
    return block if len(rows) == len(block.prompts) else block.take(rows)


def _difference(a: Block, b: Block, match: Mapping[str, Any]) -> Block:
    """The candidate's curves (b) less the baseline's (a), where both have the prompt, at the steps that they share."""
    if not np.array_equal(a.prompts, b.prompts):
        _, in_a, in_b = np.intersect1d(
            a.prompts, b.prompts, assume_unique=True, return_indices=True
        )
        a, b = a.take(in_a), b.take(in_b)
    steps, below, weight = (np.array(match[name]) for name in ("steps", "below", "weight"))
    for asked, block in ((steps, a), (below, b)):
        if asked.min() < 0 or asked.max() >= block.similarity.shape[1]:
            raise CurvesError("steps beyond those of the curves")
    second = _columns(b.similarity, below)
    if weight.any():
        second = second.astype(float)  # float32 beside float64 takes three times as long
        above = np.minimum(below + 1, b.similarity.shape[1] - 1)
        # In place: new arrays of this size cost more than the sums.
        rise = _columns(b.similarity, above).astype(float)
        rise -= second
        rise *= weight
        second += rise
    difference = np.subtract(second, _columns(a.similarity, steps), dtype=float)
    return Block(a.prompts, a.seeds, a.final, difference)


def _columns(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Some columns; those that follow each other are not copied."""
    if np.array_equal(at, np.arange(at[0], at[0] + len(at))):
        return values[:, at[0] : at[0] + len(at)]
    return values[:, at]


def _within_prompts(blocks: Sequence[Block], prompts: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Sums over all curves of squared deviations from their prompt's mean: per step, of the last, and of their product."""
    means = _averaged(blocks, prompts)
    row = _rows_of(blocks, prompts)
    square, product = np.zeros((2, means.value.shape[1]))
    last = 0.0
    for block in blocks:
        apart = block.similarity - means.value[row[block.prompts]]
        end = block.final - means.final[row[block.prompts]]
        square += np.einsum("ij,ij->j", apart, apart)
        product += np.einsum("i,ij->j", end, apart)
        last += float(end @ end)
    return square, last, product


def _averaged(blocks: Sequence[Block], prompts: int) -> Means:
    """One curve per prompt of several blocks in which it has one each or none: their mean."""
    if not blocks:
        return Means(np.empty((0, 0)), np.empty(0), 0)
    if len({block.similarity.shape[1] for block in blocks}) > 1:
        raise CurvesError("seeds with different numbers of steps")
    samples = sum(int(block.seeds.sum()) for block in blocks)
    if len(blocks) == 1:
        return Means(blocks[0].similarity, blocks[0].final.astype(float), samples)
    if all(np.array_equal(block.prompts, blocks[0].prompts) for block in blocks[1:]):
        value = blocks[0].similarity.astype(float)
        for block in blocks[1:]:
            value += block.similarity
        final = np.mean([block.final for block in blocks], axis=0, dtype=float)
        return Means(value / len(blocks), final, samples)
    row = _rows_of(blocks, prompts)
    times, final = np.zeros((2, row[-1] + 1))
    total = np.zeros((row[-1] + 1, blocks[0].similarity.shape[1]))
    for block in blocks:  # a block has a prompt once
        at = row.take(block.prompts)
        times[at] += 1
        final[at] += block.final
        total[at] += block.similarity
    total /= times[:, None]
    return Means(total, final / times, samples)


def _rows_of(blocks: Sequence[Block], prompts: int) -> np.ndarray:
    """(prompts,), the row of each prompt among those that have a curve; for one that has none, that of the one before."""
    there = np.zeros(prompts, bool)
    for block in blocks:
        there[block.prompts] = True
    return np.cumsum(there) - 1


def _correlation(sd: np.ndarray, product: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Of each step's values with the last similarities (less their mean); NaN where either is constant."""
    spread = np.linalg.norm(last) if np.ptp(last) > 0 else np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sd > 0, product / (sd * np.sqrt(max(len(last) - 1, 1)) * spread), np.nan)
