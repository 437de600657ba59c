"""From the plan and the shards to the tables of a snapshot, a chunk of samples in memory at a time."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float
from numpy import ndarray

from pipeline.database import projection, tables
from pipeline.database.build import Build, first_line, insert, of_scorer
from pipeline.database.emergence import insert_trajectories
from pipeline.database.snapshots import sql_text
from pipeline.database.tables import Chunk
from pipeline.errors import StoreError
from pipeline.results.record import load_workers, roles_json
from pipeline.results.rows import ROW_HASH, STORED, failed_row, table_of
from pipeline.results.shards import parse_shard
from pipeline.study.plan import WorkUnit
from pipeline.study.settings import show
from pipeline.study.spec import ModelSpec

CHUNK_BYTES = 32 * 2**20  # of shards, held at a time
CHUNK_ROWS = 4096

Progress = Callable[[int, int], None]


def insert_descriptions(build: Build) -> None:
    """The tables `model`, `prompt` and `concept`, from the plan."""
    plan, workers = build.plan, load_workers(build.results)["models"]
    models = [_model_row(build, index, workers) for index in range(len(plan.study.models))]
    insert(build.db, "model", pa.Table.from_pylist(models, _MODEL))
    prompts = {
        "prompt_id": pa.array(range(1, len(plan.prompts) + 1), pa.int32()),
        **{
            name: pa.array([getattr(p, name) for p in plan.prompts], pa.string())
            for name in ("prompt_key", "text", "source", "category")
        },
        "roles": pa.array([roles_json(p) for p in plan.prompts], pa.string()),
        "words": pa.array([len(p.text.split()) for p in plan.prompts], pa.int32()),
    }
    insert(build.db, "prompt", pa.table(prompts))
    concepts: list[tuple[int, str, str, list[str]]] = [(0, "(whole prompt)", "prompt", [])] + [
        (index, c.name, c.family, list(c.phrasings))
        for index, c in enumerate(plan.bank.concepts, start=1)
    ]
    rows = [
        dict(zip(("concept_id", "name", "family", "phrasings"), c, strict=True)) for c in concepts
    ]
    insert(build.db, "concept", pa.Table.from_pylist(rows, _CONCEPT))
    build.db.execute(sql_text("mention.sql"))


_MODEL = pa.schema(
    {
        "model_id": pa.int32(),
        **{
            name: pa.string()
            for name in ("name", "label", "source", "revision", "pipeline", "family")
        },
        "prediction_type": pa.string(),
        "scheduler": pa.string(),
        "schedule": pa.string(),
        "gamma": pa.float64(),
        "steps": pa.int32(),
        "guidance": pa.float64(),
        "dtype": pa.string(),
        "parameters": pa.int64(),
        "run": pa.string(),
        "training_step": pa.int64(),
        "x0_levels": pa.float64(),
        "same_bits": pa.bool_(),
        "replay_difference": pa.float64(),
    }
)


_CONCEPT = pa.schema(
    {
        "concept_id": pa.int32(),
        "name": pa.string(),
        "family": pa.string(),
        "phrasings": pa.list_(pa.string()),
    }
)


def _model_row(build: Build, index: int, workers: dict[str, Any]) -> dict[str, Any]:
    spec = build.plan.study.models[index]
    known = workers.get(spec.name, {})
    parameters = known.get("parameters")
    return {
        "model_id": index + 1,
        "name": spec.name,
        "label": spec.label,
        **_origin(build.plan.revisions.models, spec),
        "pipeline": str(known.get("pipeline", "")),
        "family": str(known.get("family", "unknown")),
        "prediction_type": str(known.get("prediction_type", "")),
        "scheduler": str(known.get("scheduler", spec.scheduler or "")),
        "schedule": spec.schedule,
        "gamma": spec.gamma,
        "steps": spec.steps,
        "guidance": spec.guidance if _is_guided(spec, known) else None,
        "dtype": str(known.get("dtype", spec.dtype)),
        "parameters": parameters if _is_count(parameters) else 0,
        "run": spec.run,
        "training_step": spec.training_step,
        **_trial(known.get("trial")),
    }


def _is_guided(spec: ModelSpec, known: Mapping[str, Any]) -> bool:
    """Whether its worker noted that a model is guided; older ones did not, and of their classes none is at 1 or less."""
    noted = known.get("guided")
    return noted if isinstance(noted, bool) else spec.guidance > 1


def _trial(record: object) -> dict[str, float | bool | None]:
    """What a worker noted of its trial; what is not a number or a truth value is left out."""
    known = record if isinstance(record, dict) else {}
    same = known.get("same_bits")
    return {
        "x0_levels": _number(known.get("x0_levels")),
        "same_bits": same if isinstance(same, bool) else None,
        "replay_difference": _number(known.get("replay")),
    }


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _origin(revisions: Mapping[str, str], spec: ModelSpec) -> dict[str, str]:
    """Where a model comes from: its source, then each adapter with its weight."""
    adapters = list(enumerate(spec.adapters or ()))
    embeddings = list(enumerate(spec.embeddings or ()))
    sources = [spec.source, *(f"{each.source} ({each.weight:g})" for _, each in adapters)]
    sources += [f"{each.source} ({each.token})" for _, each in embeddings]
    hashes = [revisions[spec.name], *(revisions[f"{spec.name}/adapters/{i}"] for i, _ in adapters)]
    hashes += [revisions[f"{spec.name}/embeddings/{i}"] for i, _ in embeddings]
    return {"source": " + ".join(sources), "revision": " + ".join(hashes)}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 2**63


def insert_shards(build: Build, progress: Progress | None) -> None:
    """Everything that stands in shards, and `trajectory`, model by model."""
    read = 0
    for model_id, spec in enumerate(build.plan.study.models, start=1):
        stepped = False
        for chunk, tries, count in _chunks(build, model_id, build.plan.of_model(spec)):
            read += count
            if chunk is not None:
                stepped = _insert_checked(build, chunk, tries, stepped) or stepped
            if progress is not None:
                progress(read, len(build.plan))
        for scorer in build.scorers:
            with of_scorer(build.db, scorer):
                insert_trajectories(build, model_id, scorer)
        build.db.execute(sql_text("staging.sql"))


def _chunks(
    build: Build, model_id: int, work_units: Iterator[WorkUnit]
) -> Iterator[tuple[Chunk | None, ndarray, int]]:
    """The samples of a model that were tried, in order, as much at a time as fits.

    Yields: (samples, their tries, how many work units they come from).
    """
    last_seed = build.plan.study.seeds[-1]
    parts: list[tuple[pa.Table, WorkUnit, int]] = []
    size = count = 0
    for work_unit in work_units:
        table, tries = _read_work_unit(build, work_unit)
        count += 1
        if table is not None:
            parts.append((table, work_unit, tries))
            size += table.nbytes
        rows = sum(len(part[0]) for part in parts)
        if work_unit.seed == last_seed and (
            size >= CHUNK_BYTES or rows >= CHUNK_ROWS or count >= 512
        ):
            yield (*_join(build, model_id, parts), count)
            parts, size, count = [], 0, 0
    if count:
        yield (*_join(build, model_id, parts), count)


def _join(
    build: Build, model_id: int, parts: Sequence[tuple[pa.Table, WorkUnit, int]]
) -> tuple[Chunk | None, ndarray]:
    if not parts:
        return None, np.zeros(0, int)
    table = pa.concat_tables([part[0] for part in parts]).combine_chunks()
    positions = np.array([p.position for _, work_unit, _ in parts for p in work_unit.prompts])
    tries = np.array([tries for _, work_unit, tries in parts for _ in work_unit.prompts])
    seeds = table["seed"].to_numpy()
    order = np.argsort(build.keys.samples(model_id, positions, seeds), kind="stable")
    return tables.chunk_of(table, build.keys, model_id, positions), tries[order]


def _read_work_unit(build: Build, work_unit: WorkUnit) -> tuple[pa.Table | None, int]:
    """The rows of a work unit and its tries; no rows where it was not tried or its shard is damaged."""
    entry = build.entries.get(work_unit.unit_id)
    if entry is None or entry.status == "damaged":
        return None, 0
    if not entry.has_shard:
        rows = [
            failed_row(work_unit, prompt, entry.error, entry.stage) for prompt in work_unit.prompts
        ]
        return table_of(rows), entry.tries
    try:
        data = build.results.store.read(work_unit.unit_id)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise StoreError("its bytes are not those that were written")
        columns = [name for name in STORED.names if name != "embedding" or build.subset]
        table = parse_shard(data, work_unit.unit_id, columns)
        _refuse_foreign(table, work_unit)
        tables.refuse_ragged(table)
    except StoreError as error:
        build.damaged[work_unit.unit_id] = str(error)
        return None, 0
    return table, entry.tries


def _refuse_foreign(table: pa.Table, work_unit: WorkUnit) -> None:
    keys = pa.array([prompt.prompt_key for prompt in work_unit.prompts], pa.string())
    same = table["prompt_key"].combine_chunks().equals(keys)
    if not same or pc.any(pc.not_equal(table["seed"], work_unit.seed)).as_py():
        raise StoreError("other prompts or another seed than its name says")


def _insert_checked(build: Build, chunk: Chunk, tries: ndarray, stepped: bool) -> bool:
    """`_insert_chunk`; what a stranger's shards make it raise becomes one line."""
    try:
        return _insert_chunk(build, chunk, tries, stepped)
    except (
        pa.ArrowException,
        ValueError,
        TypeError,
        LookupError,
        duckdb.ConstraintException,
    ) as error:
        model = build.plan.study.models[chunk.model_id - 1].name
        raise StoreError(
            f"shards of model {show(model)}: cannot be put into the database: {first_line(error)}. Remove them and run the "
            "study again."
        ) from error


def _insert_chunk(build: Build, chunk: Chunk, tries: ndarray, stepped: bool) -> bool:
    """Adds the rows of a chunk to all tables. Returns whether `step` was filled."""
    _digest(build, chunk)
    db, done = build.db, chunk.done()
    insert(db, "sample", tables.sample_rows(chunk))
    insert(db, "failure", tables.failure_rows(chunk, tries))
    build.done += len(done.table)
    build.failed += len(chunk.table) - len(done.table)
    if not len(done.table):
        return False
    steps = None if stepped else tables.step_rows(done)
    if steps is not None:
        insert(db, "step", steps)
    _stage(build, done)
    for table, (column, keys) in tables.EXPLODED.items():
        insert(db, table, tables.exploded_rows(done, column, keys))
    _gather_embeddings(build, done)
    return steps is not None


def _stage(build: Build, done: Chunk) -> None:
    """Stages the curves of every scorer, and adds the final scores of the further ones."""
    names = tuple(concept.key for concept in build.plan.bank.concepts)
    for scorer, part in enumerate(tables.by_scorer(done, len(build.scorers)), start=1):
        rows = tables.trajectory_rows(part, tables.curves_of(part, names), scorer)
        insert(build.db, "staged", rows)
        if scorer > 1:
            with of_scorer(build.db, scorer):
                insert(build.db, "clip_score", tables.score_rows(part))


def _digest(build: Build, chunk: Chunk) -> None:
    """Feeds the content hash: one line per sample, in order."""
    model = build.plan.study.models[chunk.model_id - 1].name
    keys = chunk.table["prompt_key"].to_pylist()
    hashes = chunk.table[ROW_HASH].to_pylist()
    seeds = chunk.seed.tolist()
    lines = (f"{model}\n{k}\n{s}\n{h}\n" for k, s, h in zip(keys, seeds, hashes, strict=True))
    build.content.update("".join(lines).encode())


def _gather_embeddings(build: Build, done: Chunk) -> None:
    if build.subset:
        part, embeddings = projection.embeddings_of(done)
        chosen = [i for i, sample in enumerate(part.sample_id) if int(sample) in build.subset]
        if chosen:
            build.vectors.append(_flat(embeddings[chosen]))


def _flat(embeddings: Float[ndarray, "n s d"]) -> Float[ndarray, "m d"]:
    return embeddings.reshape(-1, embeddings.shape[-1])
