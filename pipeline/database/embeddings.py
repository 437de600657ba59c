"""The CLIP vectors that a study recorded (`embeddings = true`), out of its shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from numpy import ndarray

from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.shards import parse_shard
from pipeline.study.plan import Plan, WorkUnit

COLUMNS = ("prompt_key", "seed", "status", "embedding")
ADVICE = "Set embeddings = true under [measures] in the study file and run it again."


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors of the primary scorer of some samples of one model.

    Attributes:
        model: its name.
        prompt_keys: one per sample.
        seeds: one per sample.
        vectors: of the predicted clean image at each step; the last is the final image's.
    """

    model: str
    prompt_keys: tuple[str, ...]
    seeds: tuple[int, ...]
    vectors: Float[ndarray, "n s d"]


def recorded(results: Results, plan: Plan, model: str) -> Iterator[Embeddings]:
    """The embeddings of a model's samples that are done, a work unit at a time.

    Raises:
        StoreError: a shard is damaged, or holds vectors of several lengths.
    """
    entries = results.read_ledger().entries
    spec = next(spec for spec in plan.study.models if spec.name == model)
    for work_unit in plan.of_model(spec):
        entry = entries.get(work_unit.unit_id)
        if entry is None or not entry.has_shard:
            continue
        data = results.store.read(work_unit.unit_id)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise StoreError(
                f"shards/{work_unit.unit_id}.parquet: its bytes are not those that were written. Use `python -m pipeline verify`."
            )
        part = _of_table(parse_shard(data, work_unit.unit_id, COLUMNS), work_unit)
        if part is not None:
            yield part


def _of_table(table: pa.Table, work_unit: WorkUnit) -> Embeddings | None:
    """The samples of a shard that are done and have embeddings; None where none has."""
    rows = [row for row in table.to_pylist() if row["status"] == "done" and row["embedding"]]
    if not rows:
        return None
    try:
        vectors = np.array([row["embedding"] for row in rows], np.float32)
        if vectors.ndim != 3 or not np.isfinite(vectors).all():
            raise ValueError("not finite, or of several lengths")
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise StoreError(
            f"shards/{work_unit.unit_id}.parquet: embeddings that cannot be used ({reason}). Run the study again."
        ) from None
    keys = tuple(str(row["prompt_key"]) for row in rows)
    return Embeddings(work_unit.model.name, keys, tuple(int(row["seed"]) for row in rows), vectors)


def final_vectors(
    results: Results, plan: Plan, model: str
) -> tuple[Float[ndarray, "n d"], list[str]]:
    """The final images' vectors of a model, and the prompt of each.

    Raises:
        StoreError: none was recorded, or as `recorded`.
    """
    parts = list(recorded(results, plan, model))
    if not parts:
        raise StoreError(f"{results.folder}: model {model!r} has no recorded embeddings. {ADVICE}")
    keys = [key for part in parts for key in part.prompt_keys]
    return np.concatenate([part.vectors[:, -1] for part in parts]), keys
