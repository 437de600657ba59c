"""Rollups, cells and correlation tables: what a page reads instead of millions of curves.

Everything is computed a few concepts at a time, so that memory does not grow with the bank.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from pipeline.database.tables import floats, lists_of, wholes
from pipeline.metrics import trajectories
from pipeline.metrics.emergence import OUTCOMES
from pipeline.metrics.trajectories import Moments

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
    figures: Float[ndarray, "n 4"]  # rise, spearman, auc, restricted emergence_step; NaN where NULL
    outcome: Int[ndarray, " n"]  # place in OUTCOMES; -1 where unknown

    def where(self, keep: Bool[ndarray, " n"]) -> "Curves":
        """Only some of them."""
        return Curves(
            self.model_id,
            self.concept_id,
            self.prompt_id[keep],
            self.seed[keep],
            self.similarity[keep],
            self.figures[keep],
            self.outcome[keep],
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
    outcome = pc.index_in(table["outcome"], pa.array(OUTCOMES)).fill_null(-1).to_numpy()
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
            outcome[part],
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

    def __len__(self) -> int:
        return sum(map(len, next(iter(self.columns.values()), [])))

    def table(self) -> pa.Table:
        """All pieces as one table; numbers that are NaN become NULL."""
        return pa.table({name: _column(pieces) for name, pieces in self.columns.items()})


def _column(pieces: list[Any]) -> Any:
    first = pieces[0]
    if isinstance(first, pa.Array):
        return pa.concat_arrays(pieces)  # DuckDB gave each of 26,000 short chunks 35 kB
    values = np.concatenate([np.atleast_1d(piece) for piece in pieces])
    return floats(values) if values.dtype.kind == "f" else pa.array(values)


def prompt_rows(curves: Curves, rows: Rows) -> tuple[Int[ndarray, " p"], Float[ndarray, "p s"]]:
    """Adds the rows of `rollup_prompt`: seeds averaged. Returns the prompts and their means."""
    both = np.concatenate([curves.similarity, curves.figures], axis=1)
    prompts, means, counts = trajectories.mean_by_group(both, curves.prompt_id)
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
    parts = trajectories.group_moments(means, 2 * categories.of_prompt[prompts] + mark)
    category = parts.group // 2
    return parts.pooled(category), parts.pooled(np.where(parts.group % 2, category, -1))


def samples_of(curves: Curves, categories: Categories, keep: Int[ndarray, " k"]) -> ndarray:
    """The number of samples of some prompts in each category."""
    prompt_ids = curves.prompt_id[np.isin(curves.prompt_id, keep)]
    return np.bincount(categories.of_prompt[prompt_ids], minlength=len(categories.names))


def cell_rows(
    curves: Curves,
    names: Sequence[str],
    moments: Moments,
    samples: Int[ndarray, " c"],
    named: bool,
    seeds: tuple[Float[ndarray, "c s"], Float[ndarray, "c s"]],
    rows: Rows,
) -> None:
    """Adds the rows of `cell_curve`, a category each.

    Args:
        curves: the trajectories.
        names: of the categories.
        moments: of the prompts of each category.
        samples: of each category.
        named: whether these are the prompts that name the concept.
        seeds: of `over_seeds`, of each category.
        rows: where the rows go.
    """
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
            seed_square=lists_of(seeds[0][moments.group], pa.float64()),
            seed_product=lists_of(seeds[1][moments.group], pa.float64()),
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


def over_seeds(
    curves: Curves,
    prompts: Int[ndarray, " p"],
    means: Float[ndarray, "p s"],
    categories: Categories,
) -> tuple[Float[ndarray, "c s"], Float[ndarray, "c s"]]:
    """What seeds add within a prompt, summed over the prompts of each category; 0 for one seed.

    Args:
        curves: the trajectories.
        prompts: prompt_id of each row of `means`.
        means: the curves, seeds averaged.
        categories: of the prompts.

    Returns:
        per step: squared deviations from the prompt's mean, and their products with those of the last step.
    """
    square = np.zeros((len(categories.names), curves.similarity.shape[1]))
    product = np.zeros_like(square)
    if len(np.unique(curves.prompt_id)) < len(curves.prompt_id):
        gaps = curves.similarity - means[np.searchsorted(prompts, curves.prompt_id)]
        groups = categories.of_prompt[curves.prompt_id]
        for group in np.unique(groups):
            deviations = gaps[groups == group].astype(np.float64)
            square[group] = np.einsum("ij,ij->j", deviations, deviations)
            product[group] = deviations[:, -1] @ deviations
    return square, product


def trajectory_rows(
    curves: Curves,
    category: str,
    means: Float[ndarray, "p k"],
    naming: Bool[ndarray, " p"],
    predictable: tuple[int | None, int | None],
    rows: Rows,
) -> None:
    """Adds the row of `rollup_trajectory` of a category.

    Args:
        curves: the category's trajectories.
        category: its name, "" for all prompts.
        means: per prompt: final, rise, spearman, auc, emergence_step.
        naming: whether each prompt names the concept.
        predictable: first step from which the final value is predictable: over prompts, over seeds.
        rows: where the row goes.
    """
    mean, low, high, _ = trajectories.interval(means)
    step, step_low, step_high, _ = trajectories.interval(means[naming, 4:])
    over_prompts, within = (np.nan if each is None else float(each) for each in predictable)
    rows.add(
        **_constants(curves, category, 1),
        prompts=len(means),
        samples=len(curves.prompt_id),
        **{
            f"{name}_{part}": values[index]
            for name, index in (("final", 0), ("spearman", 2), ("auc", 3))
            for part, values in (("mean", mean), ("low", low), ("high", high))
        },
        **_outcome_shares(curves, np.unique(curves.prompt_id)[naming]),
        emergence_mean=step[0],
        emergence_low=step_low[0],
        emergence_high=step_high[0],
        predictable_from=wholes(np.array([over_prompts])),
        predictable_over_seeds=wholes(np.array([within])),
        seed_noise=trajectories.seed_noise(
            curves.similarity[:, -1].astype(float), curves.prompt_id
        ),
    )


def _outcome_shares(curves: Curves, naming: Int[ndarray, " k"]) -> dict[str, float | int]:
    """Prompts that name the concept, and the mean over them of each outcome's share; NaN where it is unknown."""
    keep = np.isin(curves.prompt_id, naming)
    outcome, prompts = curves.outcome[keep], curves.prompt_id[keep]
    kinds = np.stack([outcome == code for code in range(len(OUTCOMES))], axis=1).astype(float)
    if not len(outcome) or not kinds.any():
        share = np.full(3, np.nan)
    else:
        share = trajectories.mean_by_group(kinds, prompts)[1].mean(0)
    names = (f"{name}_share" for name in OUTCOMES)
    return {"naming": len(naming), **dict(zip(names, share.tolist(), strict=True))}


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
    seeds = over_seeds(curves, prompts, means[:, :steps], categories)
    cell_rows(curves, categories.names, cells, samples, False, seeds, tables["cell_curve"])
    named_samples, named_seeds = samples_of(curves, categories, named), seeds
    if len(named):
        named_curves = curves.where(np.isin(curves.prompt_id, named))
        named_seeds = over_seeds(named_curves, prompts, means[:, :steps], categories)
    table = tables["cell_curve"]
    cell_rows(curves, categories.names, named_cells, named_samples, True, named_seeds, table)
    # Every prompt is asked for the whole prompt; a concept only by those that name it.
    asked = (cells, seeds) if curves.concept_id == 0 else (named_cells, named_seeds)
    naming = np.isin(prompts, prompts if curves.concept_id == 0 else named, assume_unique=True)
    figures, of_prompt = means[:, steps - 1 :], categories.of_prompt
    groups = {"": cells.group} | {
        categories.names[g]: [g] for g in cells.group if categories.names[g]
    }
    for name, chosen in groups.items():
        part = curves if not name else curves.where(np.isin(of_prompt[curves.prompt_id], chosen))
        rows = slice(None) if not name else np.isin(of_prompt[prompts], chosen)
        one = cells.pooled(np.where(np.isin(cells.group, chosen), 0, -1))
        step_rows(part, name, one, len(part.prompt_id), tables["rollup_step"])
        predictable = _predictable(*asked, chosen)
        table = tables["rollup_trajectory"]
        trajectory_rows(part, name, figures[rows], naming[rows], predictable, table)


def _predictable(
    cells: Moments,
    seeds: tuple[Float[ndarray, "c s"], Float[ndarray, "c s"]],
    chosen: Sequence[int] | Int[ndarray, " c"],
) -> tuple[int | None, int | None]:
    """First step from which the final value is predictable over the prompts, and over the seeds, of some categories."""
    into = np.where(np.isin(cells.group, chosen), 0, -1)
    if (into < 0).all():
        return None, None
    square, product = (each[chosen].sum(0) for each in seeds)
    over_prompts = cells.pooled(into).r_last()[0]
    return (
        trajectories.predictable_from(over_prompts),
        trajectories.predictable_from(trajectories.correlation(product, square)),
    )


def concept_correlations(
    model_id: int, concepts: Int[ndarray, " k"], means: Float[ndarray, "k p s"], first_step: int
) -> pa.Table:
    """Rows of `correlation_concept` for some steps of a model."""
    k, prompts, steps = means.shape
    rows = Rows()
    a, b = np.triu_indices(k, 1)
    for step in range(steps):
        pearson = trajectories.concept_correlation(means[:, :, step].astype(float))
        rows.add(
            model_id=np.full(len(a), model_id),
            step=np.full(len(a), first_step + step),
            concept_a=concepts[a],
            concept_b=concepts[b],
            pearson=pearson[a, b],
            prompts=np.full(len(a), prompts),
        )
    return rows.table()
