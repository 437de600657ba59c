"""Turns the rows of shards into rows of the database's tables, column by column through Arrow."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from numpy import ndarray

from pipeline.errors import StoreError
from pipeline.metrics import trajectories
from pipeline.results.rows import MEMORY_KINDS
from pipeline.study.plan import Plan

FLOAT = pa.float32()


@dataclass(frozen=True)
class Keys:
    """The database's keys, all given by the plan: no look-up table is needed."""

    plan: Plan

    def model(self, name: str) -> int:
        """model_id, from 1 in the order of the study file."""
        return [m.name for m in self.plan.study.models].index(name) + 1

    def samples(
        self, model_id: int, positions: Int[ndarray, " n"], seeds: Int[ndarray, " n"]
    ) -> Int[ndarray, " n"]:
        """sample_id, from 1 in the order (model, prompt, seed); a gap where one is missing."""
        order = np.argsort(self.plan.study.seeds)
        index = order[np.searchsorted(np.asarray(self.plan.study.seeds)[order], seeds)]
        block = (model_id - 1) * len(self.plan.prompts) + positions
        return block * len(self.plan.study.seeds) + index + 1


@dataclass(frozen=True)
class Chunk:
    """Some samples of one model: their shard columns and their keys, in the order of sample_id."""

    table: pa.Table
    model_id: int
    prompt_id: Int[ndarray, " n"]
    seed: Int[ndarray, " n"]
    sample_id: Int[ndarray, " n"]

    def done(self) -> "Chunk":
        """Only the samples that ended well."""
        keep = pc.equal(self.table["status"], "done").to_numpy()
        return self if keep.all() else self.take(np.flatnonzero(keep))

    def take(self, rows: Int[ndarray, " k"]) -> "Chunk":
        """Some of the samples."""
        return Chunk(
            self.table.take(pa.array(rows)),
            self.model_id,
            self.prompt_id[rows],
            self.seed[rows],
            self.sample_id[rows],
        )


def chunk_of(table: pa.Table, keys: Keys, model_id: int, positions: Int[ndarray, " n"]) -> Chunk:
    """Gives the rows of shards their keys and puts them in order."""
    seeds = table["seed"].to_numpy()
    sample_id = keys.samples(model_id, positions, seeds)
    chunk = Chunk(table, model_id, positions + 1, seeds, sample_id)
    ordered = bool((np.diff(sample_id) > 0).all())
    return chunk if ordered else chunk.take(np.argsort(sample_id, kind="stable"))


def sample_rows(chunk: Chunk) -> pa.Table:
    """Rows of `sample`."""
    table = chunk.table
    done = pc.equal(table["status"], "done")
    return pa.table(
        {
            **_keys(chunk, "sample_id", "model_id", "prompt_id", "seed"),
            "status": table["status"],
            "error": pc.if_else(done, "", table["error"]),
            **{name: table[name] for name in ("notice", "seconds", "clip_score")},
            **_memory_columns(table),
            **{name: table[name] for name in ("width", "height", "image")},
        }
    )


def _memory_columns(table: pa.Table) -> dict[str, Any]:
    """Peak memory and what it counts; NULL in shards of older versions, of images that exist, and where a stranger wrote something else."""
    peak, kind = table["peak_memory"], table["memory_kind"]
    known = pc.and_(pc.greater(pc.fill_null(peak, 0), 0), pc.is_in(kind, pa.array(MEMORY_KINDS)))
    return {
        "peak_memory": pc.if_else(known, peak, None),
        "memory_kind": pc.if_else(known, kind, None),
    }


def failure_rows(chunk: Chunk, tries: Int[ndarray, " n"]) -> pa.Table:
    """Rows of `failure`: the samples of a chunk that failed."""
    failed = np.flatnonzero(pc.not_equal(chunk.table["status"], "done").to_numpy())
    part = chunk.take(failed)
    return pa.table(
        {
            **_keys(part, "model_id", "prompt_id", "seed"),
            "stage": part.table["stage"],
            "error": part.table["error"],
            "tries": pa.array(tries[failed], pa.int32()),
        }
    )


def step_rows(chunk: Chunk) -> pa.Table | None:
    """Rows of `step`, from the first sample that has any; None when none has."""
    for row in range(len(chunk.table)):
        steps = chunk.table["steps"][row].values
        if steps is not None and len(steps):
            columns = dict(zip(steps.type.names, steps.flatten(), strict=True))
            model = pa.array(np.full(len(steps), chunk.model_id), pa.int32())
            calls = pc.fill_null(columns.pop("call"), 1)
            axis = pa.array(axis_log_snr(columns["log_snr"].to_numpy(zero_copy_only=False)))
            columns |= {"axis_log_snr": axis, "call": calls}
            return pa.table({"model_id": model, **columns})
    return None


CLIPPED = 60.0  # where log-SNR is cut: NoiseLevel.log_snr


def axis_log_snr(log_snr: Float[ndarray, " s"]) -> Float[ndarray, " s"]:
    """Log-SNR for axes and means: a clipped end, pure noise or no noise, stands one step's distance beyond its neighbour."""
    out = np.array(log_snr, np.float64)
    for end, near, far in ((0, 1, 2), (-1, -2, -3)):
        if len(out) > 2 and abs(out[end]) >= CLIPPED > abs(out[near]):
            out[end] = out[near] + (out[near] - out[far])
    return out


def curves_of(chunk: Chunk, concepts: tuple[str, ...]) -> Float[ndarray, "n k s"]:
    """Similarity of every sample of a chunk to the whole prompt and to every concept, per step.

    Raises:
        StoreError: a sample has other concepts, or another number of steps, than the others.
    """
    prompt_curves = _matrix(
        chunk, chunk.table["prompt_similarity"], len(chunk.table), "prompt_similarity"
    )
    parts = _flat(chunk.table["trajectories"])
    names = parts.field("concept")
    expected = pa.array(list(concepts) * len(chunk.table), pa.string())
    if not names.equals(expected):
        raise StoreError(f"{_where(chunk)}: other concepts than the study's. Run the study again.")
    curves = _matrix(chunk, parts.field("similarity"), len(names), "trajectories")
    steps = prompt_curves.shape[1]
    if curves.shape[1] not in (steps, 0):
        raise StoreError(
            f"{_where(chunk)}: {curves.shape[1]} steps of concepts, {steps} of prompts"
        )
    return np.concatenate(
        [prompt_curves[:, None], curves.reshape(len(prompt_curves), -1, steps)], axis=1
    )


def _matrix(chunk: Chunk, lists: Any, rows: int, column: str) -> Float[ndarray, "n s"]:
    lists = _whole(lists)
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    if rows and len(np.unique(lengths)) > 1:
        lengths_text = f"{int(np.min(lengths))} and {int(np.max(lengths))}"
        raise StoreError(f"{_where(chunk)}: {column} of {lengths_text} steps in one model")
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(rows, -1 if rows else 0)


def refuse_ragged(table: pa.Table) -> None:
    """Checks that the lists of a shard fit each other, for each column that it has.

    Raises:
        StoreError: names the first column in which a value is missing, or lists differ in length.
    """
    done = table.filter(pc.equal(table["status"], "done"))
    if not len(done):
        return
    for column, path in REGULAR:
        if column in done.column_names:
            _refuse_lengths(_whole(done[column]), column, path)
    if "explanations" in done.column_names:
        _refuse_cut_maps(_flat(done["explanations"]))


# Lists that have one length in a whole shard: column -> field of its records, "" = the column itself.
REGULAR = (
    ("prompt_similarity", ""), ("trajectories", ""), ("trajectories", "similarity"), ("further_scorers", ""),
    ("embedding", ""), ("embedding", "each"), ("spectrum", "power"),
)  # fmt: skip


def _refuse_lengths(lists: Any, column: str, path: str) -> None:
    name = column if path in ("", "each") else f"{column}.{path}"
    if path:
        records = pc.list_flatten(lists)
        lists = records if path == "each" else records.field(path)
    if lists.null_count or pc.list_flatten(lists).null_count:
        raise StoreError(f"column {name} has values missing")
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if column == "embedding" and not path:
        lengths = [length for length in lengths if length]  # samples beyond the subset have none
    if len(lengths) > 1:
        raise StoreError(f"column {name} has lists of {min(lengths)} and {max(lengths)} values")


def _refuse_cut_maps(maps: Any) -> None:
    """Raises StoreError where a map has not two bytes for each of its cells."""
    bytes_ = pc.binary_length(maps.field("map"))
    cells = pc.multiply(maps.field("height"), maps.field("width"))
    if not pc.all(pc.equal(bytes_, pc.multiply(cells, 2)), min_count=0).as_py():
        raise StoreError("column explanations.map: not height x width values of 2 bytes")


def by_scorer(chunk: Chunk, scorers: int) -> list[Chunk]:
    """The same samples as each scorer saw them, the first one's as they are: only the scores and curves differ.

    Raises:
        StoreError: a sample has another number of scorers than the study.
    """
    records = _whole(chunk.table["further_scorers"])
    counts = pc.fill_null(pc.list_value_length(records), 0).to_numpy()
    if (counts != scorers - 1).any():
        raise StoreError(
            f"{_where(chunk)}: {1 + int(counts.max())} scorers, the study has {scorers}. Run the study again."
        )
    if scorers == 1:
        return [chunk]
    flat = pc.list_flatten(records)
    fields = dict(zip(flat.type.names, flat.flatten(), strict=True))
    return [chunk, *(_seen_by(chunk, fields, index, scorers) for index in range(scorers - 1))]


def _seen_by(chunk: Chunk, fields: Mapping[str, pa.Array], index: int, scorers: int) -> Chunk:
    rows = pa.array(np.arange(len(chunk.table)) * (scorers - 1) + index)
    table = chunk.table
    for name, values in fields.items():
        table = table.set_column(table.column_names.index(name), name, values.take(rows))
    return replace(chunk, table=table)


def score_rows(chunk: Chunk) -> pa.Table:
    """Rows of a further scorer's `score`."""
    return pa.table({**_keys(chunk, "sample_id"), "clip_score": chunk.table["clip_score"]})


def trajectory_rows(chunk: Chunk, curves: Float[ndarray, "n k s"], scorer: int = 1) -> pa.Table:
    """Rows of the staging table: a curve and its figures, without its emergence, which needs all prompts."""
    n, k, s = curves.shape
    flat = np.ascontiguousarray(curves).reshape(n * k, s)
    return pa.table(
        {
            "scorer": pa.array(np.full(n * k, scorer), pa.int32()),
            "model_id": pa.array(np.full(n * k, chunk.model_id), pa.int32()),
            "concept_id": pa.array(np.tile(np.arange(k), n), pa.int32()),
            "prompt_id": pa.array(np.repeat(chunk.prompt_id, k), pa.int32()),
            "seed": pa.array(np.repeat(chunk.seed, k), pa.int64()),
            "sample_id": pa.array(np.repeat(chunk.sample_id, k), pa.int64()),
            "similarity": lists_of(flat),
            "final": floats(flat[:, -1]),
            "rise": floats(flat[:, -1] - flat[:, 0]),
            "spearman": floats(trajectories.spearman_with_step(flat)),
            "auc": floats(trajectories.area(flat)),
        }
    )


# Tables that are a list of records in the shard: table -> (shard column, keys before its fields).
EXPLODED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "frame": ("frames", ("sample_id",)),
    "token_attention": ("words", ("sample_id", "model_id", "prompt_id")),
    "explanation": ("explanations", ("sample_id",)),
    "faithfulness": ("faithfulness", ("sample_id", "model_id", "prompt_id")),
    "agreement": ("agreement", ("sample_id", "model_id", "prompt_id")),
    "spectrum": ("spectrum", ("sample_id", "model_id", "prompt_id")),
    "switch": ("switches", ("sample_id", "model_id", "prompt_id")),
    "switch_image": ("switch_images", ("sample_id",)),
    "concept_attention": ("concept_attention", ("sample_id", "model_id", "prompt_id")),
    "redraw": ("redraws", ("sample_id", "model_id", "prompt_id")),
    "information": ("information", ("sample_id", "model_id", "prompt_id")),
}


# Fields of records that older shards do not have, or leave out where they say nothing new.
ABSENT: Mapping[str, str] = {"baseline": "zero"}


def exploded_rows(chunk: Chunk, column: str, keys: tuple[str, ...]) -> pa.Table:
    """One row per record of a list column, with the keys of its sample."""
    lists = _whole(chunk.table[column])
    parents = np.asarray(pc.list_parent_indices(lists))
    records = pc.list_flatten(lists)
    fields = dict(zip(records.type.names, records.flatten(), strict=True))
    for name in ABSENT.keys() & fields.keys():
        fields[name] = pc.fill_null(fields[name], ABSENT[name])
    return pa.table({**_keys(chunk, *keys, rows=parents), **fields})


def _keys(
    chunk: Chunk, *names: str, rows: Int[ndarray, " k"] | slice = slice(None)
) -> dict[str, pa.Array]:
    """Key columns of a chunk, or of its rows taken in some order."""
    kinds = {"sample_id": pa.int64(), "seed": pa.int64()}
    model_id = np.full(len(chunk.sample_id), chunk.model_id)
    columns = {name: model_id if name == "model_id" else getattr(chunk, name) for name in names}
    return {n: pa.array(values[rows], kinds.get(n, pa.int32())) for n, values in columns.items()}


def _where(chunk: Chunk) -> str:
    return f"shards of model {chunk.table['model'][0].as_py()!r}"


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _flat(column: Any) -> Any:
    return pc.list_flatten(_whole(column))


def lists_of(matrix: Float[ndarray, "n s"], kind: pa.DataType = FLOAT) -> pa.Array:
    """A matrix as an Arrow list column, one row a list."""
    n, s = matrix.shape
    offsets = pa.array(np.arange(n + 1) * s, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.reshape(-1), kind))


def floats(values: Float[ndarray, " n"]) -> pa.Array:
    """Numbers as a FLOAT column; NaN becomes NULL."""
    values = np.asarray(values, np.float64)
    return pa.array(values.astype(np.float32), pa.float32(), mask=~np.isfinite(values))


def wholes(values: Float[ndarray, " n"]) -> pa.Array:
    """Whole numbers as an INTEGER column; NaN becomes NULL."""
    missing = np.isnan(values)
    return pa.array(np.where(missing, 0, values).astype(np.int32), pa.int32(), mask=missing)
