"""Means over the samples of a slice, and whether it holds anything, from arrays in memory: the rows that the SQL files of the same names give."""

from __future__ import annotations

import numpy as np
import pandas as pd

from app.database.curve_arrays import Samples
from app.database.sources import Source, text_column


def scores(source: Source) -> pd.DataFrame:
    """`scores.sql`: per (model, prompt) the chosen score of the final image, seeds averaged."""
    samples = source.samples("sample_scores", metric=source.parameters["metric"])
    model, at, mean, seeds = _means(source, samples)
    prompts = source.prompts
    return pd.DataFrame(
        {
            "model_id": model,
            "prompt_id": prompts.ids[at],
            "category": text_column(prompts.categories.tolist(), prompts.category[at]),
            "score": mean,
            "seeds": seeds,
        }
    )


def review_seconds(source: Source) -> pd.DataFrame:
    """`review_seconds.sql`: per (model, prompt) seconds per image, seeds averaged."""
    model, at, mean, _ = _means(source, source.samples("sample_seconds"))
    return pd.DataFrame({"model_id": model, "prompt_id": source.prompts.ids[at], "seconds": mean})


def _means(
    source: Source, samples: Samples
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each (model, prompt) within the filters, ascending: model_id, the prompt's place, the mean of its samples, their number."""
    asked = source.parameters
    counts = source.chosen[samples.prompts] & np.isin(samples.models, asked["models"])
    counts &= samples.seedless | np.isin(samples.seeds, asked["seeds"])
    model, at, value = samples.models[counts], samples.prompts[counts], samples.values[counts]
    first = np.ones(len(at), bool)
    first[1:] = (np.diff(at) != 0) | (np.diff(model) != 0)
    starts = np.flatnonzero(first)
    number = np.diff(starts, append=len(at)).astype(np.int32)
    mean = np.add.reduceat(value, starts) / number if len(starts) else value
    return model[starts], at[starts], mean, number


def named_pairs(source: Source) -> pd.DataFrame:
    """`named_pairs.sql`: 1 where any prompt within the filters names one of the concepts, else 0."""
    pairs = any(concept and marks.any() for concept, marks in source.counted(named=True))
    return pd.DataFrame({"pairs": np.array([pairs], np.int32)})


def any_trajectory(source: Source) -> pd.DataFrame:
    """`any_trajectory.sql`: a row where there is a trajectory of a shown concept within the filters, else none."""
    asked = source.parameters
    marks = dict(source.counted(named=False))
    of_models = (source.outcomes(model, seed) for model in asked["models"] for seed in asked["seeds"])  # fmt: skip
    there = any(
        marks[concept].take(each[concept].prompts).any()
        for each in of_models
        for concept in marks.keys() & each.keys()
    )
    return pd.DataFrame({"found": np.ones(int(there), np.int32)})
