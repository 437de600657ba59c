"""Rollups and correlation tables: what a page reads instead of millions of curves.

Everything is computed a few concepts at a time, so that memory does not grow with the bank.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from numpy import ndarray

from pipeline import correlation
from pipeline.database.tables import floats, lists_of, wholes

FLOATS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Curves:
    """The trajectories of one (model, concept), sorted by prompt and seed."""

    model_id: int
    concept_id: int
    prompt_id: Int[ndarray, " n"]
    seed: Int[ndarray, " n"]
    similarity: Float[ndarray, "n s"]
    figures: Float[ndarray, "n 4"]  # rise, spearman, auc, emergence_step; NaN where NULL

    def of_prompts(self, prompts: Int[ndarray, " p"]) -> "Curves":
        """Only those of some prompts."""
        keep = np.isin(self.prompt_id, prompts)
        return Curves(
            self.model_id,
            self.concept_id,
            self.prompt_id[keep],
            self.seed[keep],
            self.similarity[keep],
            self.figures[keep],
        )


FIGURES = ("rise", "spearman", "auc", "emergence_step")


def read_table(db: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, int]) -> Any:
    """The result of a query as an Arrow table, without the copy that `execute` makes of it."""
    relation = db.sql(query, params=dict(values))
    try:
        return relation.to_arrow_table()
    finally:
        relation.close()  # an open result would keep the database open after `db.close`


def read_curves(
    db: duckdb.DuckDBPyConnection, query: str, model_id: int, concepts: range
) -> Iterator[Curves]:
    """The trajectories of some concepts of a model, one concept after the other."""
    bounds = {"model": model_id, "first": concepts.start, "last": concepts.stop - 1}
    table = read_table(db, query, bounds)
    if not len(table):
        return
    concept = table["concept_id"].to_numpy()
    similarity = matrix_of(table["similarity"])
    figures = np.stack([_with_nan(table[name]) for name in FIGURES], axis=1)
    prompt, seed = table["prompt_id"].to_numpy(), table["seed"].to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(concept)) + 1).tolist(), len(concept)]
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        yield Curves(
            model_id,
            int(concept[start]),
            prompt[part],
            seed[part],
            similarity[part],
            figures[part],
        )


def matrix_of(column: Any) -> Float[ndarray, "n s"]:
    """A column of equally long lists as a matrix."""
    values = pa.chunked_array(column.chunks, column.type).combine_chunks()
    flat = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(values), -1)


def _with_nan(column: Any) -> Float[ndarray, " n"]:
    return column.to_numpy().astype(np.float64)


class Rows:
    """Columns of a table to be, gathered piece by piece."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = defaultdict(list)

    def add(self, **columns: Any) -> None:
        """Adds equally long pieces of all columns."""
        for name, values in columns.items():
            self.columns[name].append(values)

    def table(self) -> pa.Table:
        """All pieces as one table; numbers that are NaN become NULL."""
        return pa.table({name: _column(pieces) for name, pieces in self.columns.items()})


def _column(pieces: list[Any]) -> Any:
    first = pieces[0]
    if isinstance(first, pa.Array):
        return pa.chunked_array(pieces)
    values = np.concatenate([np.atleast_1d(piece) for piece in pieces])
    return floats(values) if values.dtype.kind == "f" else pa.array(values)


def prompt_rows(curves: Curves, rows: Rows) -> tuple[Int[ndarray, " p"], Float[ndarray, "p s"]]:
    """Adds the rows of `rollup_prompt`: seeds averaged. Returns the prompts and their means."""
    both = np.concatenate([curves.similarity, curves.figures], axis=1)
    prompts, means, counts = correlation.mean_by_group(both, curves.prompt_id)
    steps = curves.similarity.shape[1]
    mean, figures = means[:, :steps], means[:, steps:]
    rows.add(
        model_id=np.full(len(prompts), curves.model_id),
        concept_id=np.full(len(prompts), curves.concept_id),
        prompt_id=prompts,
        seeds=counts,
        similarity=lists_of(mean),
        final=mean[:, -1],
        **{name: figures[:, index] for index, name in enumerate(FIGURES)},
    )
    return prompts, np.concatenate([mean, figures], axis=1)


def step_rows(curves: Curves, category: str, means: Float[ndarray, "p s"], rows: Rows) -> ndarray:
    """Adds the rows of `rollup_step` of a category. Returns the correlation with the final step."""
    steps = means.shape[1]
    mean, low, high, sd = correlation.interval(means)
    r_final = correlation.correlation_with_final(means)
    rows.add(
        **_constants(curves, category, steps),
        step=np.arange(steps),
        prompts=np.full(steps, len(means)),
        samples=np.full(steps, len(curves.prompt_id)),
        mean=mean,
        low=low,
        high=high,
        sd=sd,
        r_final=r_final,
    )
    return r_final


def trajectory_rows(
    curves: Curves, category: str, means: Float[ndarray, "p k"], r_final: ndarray, rows: Rows
) -> None:
    """Adds the row of `rollup_trajectory` of a category.

    Args:
        curves: the category's trajectories.
        category: its name, "" for all prompts.
        means: per prompt: final, rise, spearman, auc, emergence_step.
        r_final: correlation of each step with the final one.
        rows: where the row goes.
    """
    mean, low, high, _ = correlation.interval(means)
    emergence = curves.figures[:, FIGURES.index("emergence_step")]
    emerged = emergence[~np.isnan(emergence)]
    quartiles = np.percentile(emerged, [25, 50, 75]) if len(emerged) else np.full(3, np.nan)
    first = correlation.predictable_from(r_final)
    rows.add(
        **_constants(curves, category, 1),
        prompts=len(means),
        samples=len(curves.prompt_id),
        **{
            f"{name}_{part}": values[index]
            for name, index in (("final", 0), ("spearman", 2), ("auc", 3))
            for part, values in (("mean", mean), ("low", low), ("high", high))
        },
        emerged_share=len(emerged) / len(emergence),
        emergence_median=quartiles[1],
        emergence_q1=quartiles[0],
        emergence_q3=quartiles[2],
        predictable_from=wholes(np.array([np.nan if first is None else float(first)])),
        seed_noise=correlation.seed_noise(curves.similarity[:, -1].astype(float), curves.prompt_id),
    )


def _constants(curves: Curves, category: str, count: int) -> dict[str, Any]:
    return {
        "model_id": np.full(count, curves.model_id),
        "concept_id": np.full(count, curves.concept_id),
        "category": pa.array([category] * count, pa.string()),
    }


def concept_ranges(concepts: int, rows_each: int, steps: int) -> Iterator[range]:
    """Ranges of concept ids whose curves fit into memory together."""
    size = max(1, FLOATS_AT_ONCE // max(1, rows_each * steps))
    for first in range(0, concepts, size):
        yield range(first, min(first + size, concepts))


def roll_up(
    curves: Curves, categories: Mapping[str, Int[ndarray, " p"]], tables: Mapping[str, Rows]
) -> None:
    """Adds the rows of the three rollups for one (model, concept)."""
    prompts, means = prompt_rows(curves, tables["rollup_prompt"])
    steps = curves.similarity.shape[1]
    for category, members in {"": prompts, **categories}.items():
        keep = np.isin(prompts, members) if category else np.ones(len(prompts), bool)
        if keep.any():
            part = curves.of_prompts(members) if category else curves
            r_final = step_rows(part, category, means[keep, :steps], tables["rollup_step"])
            figures = means[keep, steps - 1 :]
            trajectory_rows(part, category, figures, r_final, tables["rollup_trajectory"])


def concept_correlations(
    model_id: int, concepts: Int[ndarray, " k"], means: Float[ndarray, "k p s"], first_step: int
) -> pa.Table:
    """Rows of `correlation_concept` for some steps of a model."""
    k, prompts, steps = means.shape
    rows = Rows()
    a, b = np.triu_indices(k, 1)
    for step in range(steps):
        pearson = correlation.concept_correlation(means[:, :, step].astype(float))
        rows.add(
            model_id=np.full(len(a), model_id),
            step=np.full(len(a), first_step + step),
            concept_a=concepts[a],
            concept_b=concepts[b],
            pearson=pearson[a, b],
            prompts=np.full(len(a), prompts),
        )
    return rows.table()


def model_correlations(curves: Mapping[int, Curves], rows: Rows) -> None:
    """Adds the rows of `correlation_model` for one concept and every pair of models.

    Paired over shared (prompt, seed). Steps are matched by index, or by relative progress where
    the models have different numbers of steps.
    """
    for a, b in combinations(sorted(curves), 2):
        first, second = curves[a], curves[b]
        rows_a, rows_b = _shared(first, second)
        x, y = first.similarity[rows_a], second.similarity[rows_b]
        steps = x.shape[1]
        matched = y[:, correlation.matching_steps(steps, y.shape[1])]
        enough = len(x) > 2
        pearson = (
            correlation.pearson_rows(x.T.astype(float), matched.T.astype(float))
            if enough
            else np.full(steps, np.nan)
        )
        rows.add(
            model_a=np.full(steps, a),
            model_b=np.full(steps, b),
            concept_id=np.full(steps, first.concept_id),
            step=np.arange(steps),
            pearson=pearson,
            pairs=np.full(steps, len(x)),
        )


def _shared(a: Curves, b: Curves) -> tuple[ndarray, ndarray]:
    """Rows of a and of b with the same prompt and seed, in the same order."""
    seeds, place = np.unique(np.concatenate([a.seed, b.seed]), return_inverse=True)
    keys_a = a.prompt_id.astype(np.int64) * len(seeds) + place[: len(a.seed)]
    keys_b = b.prompt_id.astype(np.int64) * len(seeds) + place[len(a.seed) :]
    _, rows_a, rows_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    return rows_a, rows_b
