"""From the plan and the shards to the tables of a snapshot, a chunk of samples in memory at a time."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from jaxtyping import Float
from numpy import ndarray

from pipeline.database import projection, tables
from pipeline.database.build import Build, insert, of_scorer
from pipeline.database.emergence import insert_trajectories
from pipeline.database.reading import ReadChunk, one_line, read_ahead
from pipeline.database.snapshots import sql_text
from pipeline.database.tables import Chunk
from pipeline.results.record import load_workers, roles_json
from pipeline.results.rows import ROW_HASH
from pipeline.study.spec import ModelSpec

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
    read, stepped = 0, set[int]()
    for part in read_ahead(build):
        read += part.work_units
        if part.chunk is not None:
            with one_line(build, part.model_id):
                _insert_chunk(build, part, stepped)
        if progress is not None:
            progress(read, len(build.plan))
        if part.last:
            _insert_trajectories(build, part.model_id)


def _insert_trajectories(build: Build, model_id: int) -> None:
    for scorer in build.scorers:
        with of_scorer(build.db, scorer):
            insert_trajectories(build, model_id, scorer)
    build.db.execute(sql_text("staging.sql"))


def _insert_chunk(build: Build, part: ReadChunk, stepped: set[int]) -> None:
    """Adds the rows of a chunk to all tables; to `step` those of the first chunk of a model, which joins `stepped`."""
    chunk, done, db = part.chunk, part.done, build.db
    assert chunk is not None and done is not None
    _digest(build, chunk)
    insert(db, "sample", tables.sample_rows(chunk))
    insert(db, "failure", tables.failure_rows(chunk, part.tries))
    build.done += len(done.table)
    build.failed += len(chunk.table) - len(done.table)
    if not len(done.table):
        return
    steps = None if part.model_id in stepped else tables.step_rows(done)
    if steps is not None:
        insert(db, "step", steps)
        stepped.add(part.model_id)
    for scorer, (scores, curves) in enumerate(part.staged, start=1):
        insert(db, "staged", curves)
        if scorer > 1:
            with of_scorer(db, scorer):
                insert(db, "clip_score", scores)
    for table, (column, keys) in tables.EXPLODED.items():
        insert(db, table, tables.exploded_rows(done, column, keys))
    _gather_embeddings(build, done)


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
