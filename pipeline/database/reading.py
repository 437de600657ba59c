"""From shards to rows that can be inserted, a chunk of samples at a time, the next one while one is inserted."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy import ndarray

from pipeline.database import tables
from pipeline.database.build import Build, first_line
from pipeline.database.tables import Chunk
from pipeline.errors import StoreError
from pipeline.results.rows import STORED, failed_row, table_of
from pipeline.results.shards import parse_shard
from pipeline.study.plan import WorkUnit
from pipeline.study.settings import show
from pipeline.study.spec import ModelSpec

CHUNK_BYTES = 16 * 2**20  # of shards, held at a time; the next chunk is read beside
CHUNK_ROWS = 4096
CHUNK_UNITS = 512
AT_ONCE = 16  # work units whose shards are read together, where they are small


@dataclass(frozen=True)
class ReadChunk:
    """The samples of a model that were tried, of some work units, with the rows that take long to make."""

    model_id: int
    last: bool  # of its model
    work_units: int
    tries: ndarray  # of each sample
    chunk: Chunk | None = None  # None where no work unit was tried
    done: Chunk | None = None  # the samples that ended well
    staged: Sequence[tuple[pa.Table, pa.Table]] = ()  # each scorer's final scores and curves


@dataclass(frozen=True)
class Shard:
    """The rows of a work unit and its tries; no rows where it was not tried or its shard is damaged."""

    work_unit: WorkUnit
    table: pa.Table | None
    tries: int
    damage: str | None = None  # what is wrong with it


def read_ahead(build: Build) -> Iterator[ReadChunk]:
    """The chunks of all models, each made by other threads while the one before is inserted."""
    with ThreadPoolExecutor(build.threads) as shards, ThreadPoolExecutor(1) as chunks:
        unread = _read_chunks(build, shards)
        coming = chunks.submit(next, unread, None)
        while (chunk := coming.result()) is not None:
            coming = chunks.submit(next, unread, None)
            yield chunk


def _read_chunks(build: Build, threads: ThreadPoolExecutor) -> Iterator[ReadChunk]:
    """The samples of each model that were tried, in order, as much at a time as fits."""
    seeds = build.plan.study.seeds
    total = build.plan.blocks * len(seeds)
    for model_id, spec in enumerate(build.plan.study.models, start=1):
        shards: list[Shard] = []
        size = rows = 0
        for read, shard in enumerate(_read_shards(build, spec, threads), start=1):
            shards.append(shard)
            size += shard.table.nbytes if shard.table else 0
            rows += len(shard.table) if shard.table else 0
            full = size >= CHUNK_BYTES or rows >= CHUNK_ROWS or len(shards) >= CHUNK_UNITS
            if read == total or (full and shard.work_unit.seed == seeds[-1]):
                yield _chunk_of(build, model_id, shards, read == total)
                shards, size, rows = [], 0, 0


def _read_shards(build: Build, model: ModelSpec, threads: ThreadPoolExecutor) -> Iterator[Shard]:
    """A model's work units in the order of the plan, as many read at a time as have the bytes of a chunk."""
    work_units, at_once, largest = build.plan.of_model(model), 1, 0
    while some := list(islice(work_units, at_once)):
        for shard in threads.map(partial(_read_work_unit, build), some):
            if shard.damage:
                build.damaged[shard.work_unit.unit_id] = shard.damage
            largest = max(largest, shard.table.nbytes if shard.table else 0)
            yield shard
        if largest:  # of the shards seen so far
            at_once = min(max(CHUNK_BYTES // largest, 1), AT_ONCE)


def _chunk_of(build: Build, model_id: int, shards: Sequence[Shard], last: bool) -> ReadChunk:
    tried = [shard for shard in shards if shard.table is not None]
    if not tried:
        return ReadChunk(model_id, last, len(shards), np.zeros(0, int))
    with one_line(build, model_id):
        chunk, tries = _join(build, model_id, tried)
        done = chunk.done()
        staged = _staged(build, done) if len(done.table) else ()
        return ReadChunk(model_id, last, len(shards), tries, chunk, done, staged)


def _staged(build: Build, done: Chunk) -> list[tuple[pa.Table, pa.Table]]:
    names = tuple(concept.key for concept in build.plan.bank.concepts)
    return [
        (
            tables.score_rows(part),
            tables.trajectory_rows(part, tables.curves_of(part, names), scorer),
        )
        for scorer, part in enumerate(tables.by_scorer(done, len(build.scorers)), start=1)
    ]


@contextmanager
def one_line(build: Build, model_id: int) -> Iterator[None]:
    """What a stranger's shards make the work with their rows raise becomes one line. Raises StoreError."""
    try:
        yield
    except (
        pa.ArrowException,
        ValueError,
        TypeError,
        LookupError,
        duckdb.ConstraintException,
    ) as error:
        model = build.plan.study.models[model_id - 1].name
        raise StoreError(
            f"shards of model {show(model)}: cannot be put into the database: {first_line(error)}. Remove them and run the "
            "study again."
        ) from error


def _join(build: Build, model_id: int, shards: Sequence[Shard]) -> tuple[Chunk, ndarray]:
    table = pa.concat_tables([shard.table for shard in shards]).combine_chunks()
    positions = np.array([p.position for shard in shards for p in shard.work_unit.prompts])
    tries = np.array([shard.tries for shard in shards for _ in shard.work_unit.prompts])
    seeds = table["seed"].to_numpy()
    order = np.argsort(build.keys.samples(model_id, positions, seeds), kind="stable")
    return tables.chunk_of(table, build.keys, model_id, positions), tries[order]


def _read_work_unit(build: Build, work_unit: WorkUnit) -> Shard:
    entry = build.entries.get(work_unit.unit_id)
    if entry is None or entry.status == "damaged":
        return Shard(work_unit, None, 0)
    if not entry.has_shard:
        rows = [
            failed_row(work_unit, prompt, entry.error, entry.stage) for prompt in work_unit.prompts
        ]
        return Shard(work_unit, table_of(rows), entry.tries)
    try:
        data = build.results.store.read(work_unit.unit_id)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise StoreError("its bytes are not those that were written")
        columns = [name for name in STORED.names if name != "embedding" or build.subset]
        table = parse_shard(data, work_unit.unit_id, columns)
        _refuse_foreign(table, work_unit)
        tables.refuse_ragged(table)
    except StoreError as error:
        return Shard(work_unit, None, 0, str(error))
    return Shard(work_unit, table, entry.tries)


def _refuse_foreign(table: pa.Table, work_unit: WorkUnit) -> None:
    keys = pa.array([prompt.prompt_key for prompt in work_unit.prompts], pa.string())
    same = table["prompt_key"].combine_chunks().equals(keys)
    if not same or pc.any(pc.not_equal(table["seed"], work_unit.seed)).as_py():
        raise StoreError("other prompts or another seed than its name says")
