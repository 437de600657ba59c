"""What is told of pairs of models, concept by concept: correlations and paired differences at the same noise level."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from numpy import ndarray

from pipeline.database.rollups import Categories, Curves, Rows
from pipeline.database.tables import floats
from pipeline.metrics import trajectories
from pipeline.metrics.trajectories import Matching, match_noise


def compare_models(
    curves: Mapping[int, Curves],
    log_snr: Mapping[int, Float[ndarray, " s"]],
    categories: Categories,
    named: Int[ndarray, " k"],
    tables: Mapping[str, Rows],
) -> None:
    """Adds the rows of `correlation_model` and `cell_pair` for one concept and every pair of models.

    Paired over shared (prompt, seed), at the noise levels (log-SNR) of one model's steps.

    Args:
        curves: the concept's trajectories by model_id.
        log_snr: of each model's steps.
        categories: of the study's prompts.
        named: prompt_ids that name the concept.
        tables: where the rows go.
    """
    for a, b in combinations(sorted(curves), 2):
        first, second = curves[a], curves[b]
        rows_a, rows_b = _shared(first, second)
        prompts = first.prompt_id[rows_a]
        x, y = first.similarity[rows_a], second.similarity[rows_b]
        there, back = (match_noise(log_snr[m], log_snr[n]) for m, n in ((a, b), (b, a)))
        gap = there.read(y) - x[:, there.known]
        _correlate(first, second, x, there.read(y), there, tables["correlation_model"])
        ways = [((a, b), gap, there)]
        if not same_levels(there, back):
            ways.append(((b, a), back.read(x) - y[:, back.known], back))
        for models, difference, matching in ways:
            # Images that exist have one clean step, a noise level that no sampled step may have.
            if len(prompts) and matching.known.any():
                pair_rows(
                    models,
                    first.concept_id,
                    prompts,
                    difference,
                    matching,
                    categories,
                    named,
                    tables["cell_pair"],
                )


def same_levels(there: Matching, back: Matching) -> bool:
    """Whether two models' steps stand at the same noise levels, so that one is the other's mirror image."""
    return bool(
        there.known.all()
        and back.known.all()
        and len(there.known) == len(back.known)
        and not there.weight.any()
    )


def _correlate(
    first: Curves,
    second: Curves,
    x: Float[ndarray, "n s"],
    y: Float[ndarray, "n k"],
    matching: Matching,
    rows: Rows,
) -> None:
    steps = x.shape[1]
    pearson = np.full(steps, np.nan)
    pearson[matching.known] = trajectories.pearson_columns(x[:, matching.known], y)
    rows.add(
        model_a=np.full(steps, first.model_id),
        model_b=np.full(steps, second.model_id),
        concept_id=np.full(steps, first.concept_id),
        step=np.arange(steps),
        pearson=pearson,
        pairs=np.full(steps, len(x)),
    )


def pair_rows(
    models: tuple[int, int],
    concept_id: int,
    prompts: Int[ndarray, " n"],
    gap: Float[ndarray, "n k"],
    matching: Matching,
    categories: Categories,
    named: Int[ndarray, " k"],
    rows: Rows,
) -> None:
    """Adds the rows of `cell_pair` for two models and a concept, a category each: of all prompts, of those that name it.

    Args:
        models: model_id of the baseline and of the candidate.
        concept_id: of the concept.
        prompts: prompt_id of each shared sample.
        gap: candidate minus baseline, at the baseline's steps whose noise level both reach.
        matching: which steps those are.
        categories: of the study's prompts.
        named: prompt_ids that name the concept.
        rows: where the rows go.
    """
    distinct, mean, _ = trajectories.mean_by_group(gap, prompts)
    naming = np.isin(distinct, named, assume_unique=True)
    for which, keep in ((False, slice(None)), (True, naming)):
        if which and not naming.any():
            continue
        groups = categories.of_prompt[distinct[keep]]
        moments = trajectories.group_moments(mean[keep], groups)
        lead = trajectories.group_means(np.sign(mean[keep]), groups)  # wins less losses
        count = len(moments.group)
        rows.add(
            model_a=np.full(count, models[0]),
            model_b=np.full(count, models[1]),
            concept_id=np.full(count, concept_id),
            category=pa.array([categories.names[g] for g in moments.group], pa.string()),
            named=np.full(count, which),
            prompts=moments.count,
            mean=_at_steps(moments.mean, matching),
            sd=_at_steps(np.nan_to_num(moments.sd), matching),
            win_rate=_at_steps((1 + lead) / 2, matching),
        )


def _at_steps(values: Float[ndarray, "n k"], matching: Matching) -> pa.Array:
    """Values as lists over all of the baseline's steps; NULL where the other model has no such noise level."""
    filled = np.full((len(values), len(matching.known)), np.nan, np.float32)
    filled[:, matching.known] = values
    offsets = pa.array(np.arange(len(values) + 1) * filled.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, floats(filled.reshape(-1)))


def _shared(a: Curves, b: Curves) -> tuple[ndarray, ndarray]:
    """Rows of a and of b with the same prompt and seed, in the same order."""
    seeds, numbers = np.unique(np.concatenate([a.seed, b.seed]), return_inverse=True)
    keys_a = a.prompt_id.astype(np.int64) * len(seeds) + numbers[: len(a.seed)]
    keys_b = b.prompt_id.astype(np.int64) * len(seeds) + numbers[len(a.seed) :]
    _, rows_a, rows_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    return rows_a, rows_b
