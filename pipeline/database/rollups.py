"""Rollups, cells and correlation tables: what a page reads instead of millions of curves.

Everything is computed a few concepts at a time, so that memory does not grow with the bank.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from pipeline import correlation
from pipeline.correlation import Moments
from pipeline.database.tables import floats, lists_of, wholes

# Half as many: 15.5 s in place of 12.7 for 50 million similarities, read more often. 13 million: 2.06 GB in place of 1.84.
FLOATS_AT_ONCE = 8_000_000


@dataclass(frozen=True)
class Curves:
    """The trajectories of one (model, concept), sorted by prompt and seed."""

    model_id: int
    concept_id: int
    prompt_id: Int[ndarray, " n"]
    seed: Int[ndarray, " n"]
    similarity: Float[ndarray, "n s"]
    figures: Float[ndarray, "n 4"]  # rise, spearman, auc, emergence_step; NaN where NULL

    def where(self, keep: Bool[ndarray, " n"]) -> "Curves":
        """Only some of them."""
        return Curves(
            self.model_id,
            self.concept_id,
            self.prompt_id[keep],
            self.seed[keep],
            self.similarity[keep],
            self.figures[keep],
        )


@dataclass(frozen=True)
class Categories:
    """How a study's prompts are cut into categories.

    Attributes:
        names: of the categories; '' stands for the prompts that have none.
        of_prompt: each prompt's place in `names`, by prompt_id; 0 is no prompt's.
    """

    names: tuple[str, ...]
    of_prompt: Int[ndarray, " p"]


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


def cells_of(
    curves: Curves,
    prompts: Int[ndarray, " p"],
    means: Float[ndarray, "p s"],
    categories: Categories,
    named: Int[ndarray, " k"],
) -> tuple[Moments, Moments]:
    """Moments of the curves by category: of all prompts, and of those that name the concept.

    Args:
        curves: the trajectories.
        prompts: prompt_id of each row of `means`.
        means: the curves, seeds averaged.
        categories: of the prompts.
        named: prompt_ids that name the concept.
    """
    mark = np.isin(prompts, named, assume_unique=True)
    parts = correlation.group_moments(means, 2 * categories.of_prompt[prompts] + mark)
    category = parts.group // 2
    return parts.pooled(category), parts.pooled(np.where(parts.group % 2, category, -1))


def samples_of(curves: Curves, categories: Categories, keep: Int[ndarray, " k"]) -> ndarray:
    """The number of samples of some prompts in each category."""
    own = curves.prompt_id[np.isin(curves.prompt_id, keep)]
    return np.bincount(categories.of_prompt[own], minlength=len(categories.names))


def cell_rows(
    curves: Curves,
    names: Sequence[str],
    moments: Moments,
    samples: Int[ndarray, " c"],
    named: bool,
    rows: Rows,
) -> None:
    """Adds the rows of `cell_curve`, a category each."""
    count = len(moments.group)
    if count:
        rows.add(
            model_id=np.full(count, curves.model_id),
            concept_id=np.full(count, curves.concept_id),
            category=pa.array([names[g] for g in moments.group], pa.string()),
            named=np.full(count, named),
            prompts=moments.count,
            samples=samples[moments.group],
            mean=lists_of(moments.mean, pa.float64()),
            sd=lists_of(np.nan_to_num(moments.sd)),
            covariance=lists_of(np.nan_to_num(moments.covariance)),
        )


def step_rows(
    curves: Curves, category: str, moments: Moments, samples: int, rows: Rows
) -> Float[ndarray, " s"]:
    """Adds the rows of `rollup_step` of a category, of which these are the moments. Returns the correlation with the final step."""
    steps = moments.mean.shape[1]
    low, high = moments.limits()
    r_final = moments.r_last()[0]
    rows.add(
        **_constants(curves, category, steps),
        step=np.arange(steps),
        prompts=np.full(steps, moments.count[0]),
        samples=np.full(steps, samples),
        mean=moments.mean[0],
        low=low[0],
        high=high[0],
        sd=moments.sd[0],
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
    curves: Curves,
    categories: Categories,
    named: Int[ndarray, " k"],
    tables: Mapping[str, Rows],
) -> None:
    """Adds the rows of the rollups and of `cell_curve` for one (model, concept).

    Args:
        curves: the trajectories.
        categories: of the study's prompts.
        named: prompt_ids that name the concept.
        tables: where the rows go.
    """
    prompts, means = prompt_rows(curves, tables["rollup_prompt"])
    steps = curves.similarity.shape[1]
    cells, named_cells = cells_of(curves, prompts, means[:, :steps], categories, named)
    samples = samples_of(curves, categories, prompts)
    cell_rows(curves, categories.names, cells, samples, False, tables["cell_curve"])
    own = samples_of(curves, categories, named)
    cell_rows(curves, categories.names, named_cells, own, True, tables["cell_curve"])
    figures = means[:, steps - 1 :]
    whole = cells.pooled(np.zeros(len(cells.group), int))
    r_final = step_rows(curves, "", whole, len(curves.prompt_id), tables["rollup_step"])
    trajectory_rows(curves, "", figures, r_final, tables["rollup_trajectory"])
    for place, name in ((int(g), categories.names[g]) for g in cells.group):
        if name:
            one = cells.pooled(np.where(cells.group == place, 0, -1))
            part = curves.where(categories.of_prompt[curves.prompt_id] == place)
            r_final = step_rows(part, name, one, len(part.prompt_id), tables["rollup_step"])
            own = figures[categories.of_prompt[prompts] == place]
            trajectory_rows(part, name, own, r_final, tables["rollup_trajectory"])


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


def compare_models(
    curves: Mapping[int, Curves], categories: Categories, tables: Mapping[str, Rows]
) -> None:
    """Adds the rows of `correlation_model` and `cell_pair` for one concept and every pair of models.

    Paired over shared (prompt, seed). Steps are matched by index, or by relative progress where
    the models have different numbers of steps.
    """
    for a, b in combinations(sorted(curves), 2):
        first, second = curves[a], curves[b]
        rows_a, rows_b = _shared(first, second)
        prompts = first.prompt_id[rows_a]
        x, y = first.similarity[rows_a], second.similarity[rows_b]
        matched = _matched(x, y)
        _correlate(first, second, x, matched, tables["correlation_model"])
        if len(prompts):
            pair_rows(first, second, prompts, matched - x, categories, tables["cell_pair"])
            if x.shape[1] != y.shape[1]:
                gap = _matched(y, x) - y
                pair_rows(second, first, prompts, gap, categories, tables["cell_pair"])


def _matched(x: Float[ndarray, "n s"], y: Float[ndarray, "n r"]) -> Float[ndarray, "n s"]:
    """The second curves at the steps of the first."""
    steps, others = x.shape[1], y.shape[1]
    return y if steps == others else y[:, correlation.matching_steps(steps, others)]


def _correlate(
    first: Curves, second: Curves, x: Float[ndarray, "n s"], y: Float[ndarray, "n s"], rows: Rows
) -> None:
    steps = x.shape[1]
    rows.add(
        model_a=np.full(steps, first.model_id),
        model_b=np.full(steps, second.model_id),
        concept_id=np.full(steps, first.concept_id),
        step=np.arange(steps),
        pearson=correlation.pearson_columns(x, y),
        pairs=np.full(steps, len(x)),
    )


def pair_rows(
    first: Curves,
    second: Curves,
    prompts: Int[ndarray, " n"],
    gap: Float[ndarray, "n s"],
    categories: Categories,
    rows: Rows,
) -> None:
    """Adds the rows of `cell_pair` for two models and a concept, a category each.

    Args:
        first: of the baseline.
        second: of the candidate.
        prompts: prompt_id of each shared sample.
        gap: candidate minus baseline.
        categories: of the study's prompts.
        rows: where the rows go.
    """
    units, mean, _ = correlation.mean_by_group(gap, prompts)
    groups = categories.of_prompt[units]
    moments = correlation.group_moments(mean, groups)
    lead = correlation.group_means(np.sign(mean), groups)  # wins less losses
    count = len(moments.group)
    rows.add(
        model_a=np.full(count, first.model_id),
        model_b=np.full(count, second.model_id),
        concept_id=np.full(count, first.concept_id),
        category=pa.array([categories.names[g] for g in moments.group], pa.string()),
        prompts=moments.count,
        mean=lists_of(moments.mean),
        sd=lists_of(np.nan_to_num(moments.sd)),
        win_rate=lists_of((1 + lead) / 2),
    )


def _shared(a: Curves, b: Curves) -> tuple[ndarray, ndarray]:
    """Rows of a and of b with the same prompt and seed, in the same order."""
    seeds, place = np.unique(np.concatenate([a.seed, b.seed]), return_inverse=True)
    keys_a = a.prompt_id.astype(np.int64) * len(seeds) + place[: len(a.seed)]
    keys_b = b.prompt_id.astype(np.int64) * len(seeds) + place[len(a.seed) :]
    _, rows_a, rows_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    return rows_a, rows_b
