"""Builds a new snapshot of the database from the shards, checks it, and points readers to it.

One process, one pass over the shards in the order of the plan, a chunk of them in memory at a time.
The new file appears whole, under a name of its own, and only then does `current.json` name it.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float
from numpy import ndarray

from pipeline.database import projection, rollups, tables
from pipeline.database.tables import Chunk, Keys
from pipeline.errors import StoreError
from pipeline.plan import Plan, WorkUnit, canonical
from pipeline.results import load_plan, load_workers, roles_json
from pipeline.settings import show
from pipeline.shards import (
    ROW_HASH,
    STORED,
    LedgerEntry,
    Results,
    explain_os_error,
    failed_row,
    fsync_folder,
    now,
    parse_shard,
    table_of,
    write_whole,
)
from pipeline.study import MAX_SCORERS, study_spec
from pipeline.unpacking import refuse_bomb

SQL = Path(__file__).resolve().parent
SCHEMA_VERSION = 2
CHUNK_BYTES = 32 * 2**20  # of shards, held at a time
CHUNK_ROWS = 4096
KEPT_SNAPSHOTS = 3
MAX_EXTRA = 10_000_000  # rows of a table of extra/
# By the scorer's place in the study file: names of schemas are ours, never a user's text.
CREATE_SCHEMA = {n: f"CREATE SCHEMA scorer_{n}" for n in range(2, MAX_SCORERS + 1)}

# The copy that DuckDB warns of is of one range of concepts; the other way to Arrow leaves a result open.
warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Published:
    """A new snapshot and what it holds."""

    path: Path
    number: int
    planned: int
    done: int
    failed: int
    damaged_units: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Samples that were not tried yet, or whose shard is damaged."""
        return self.planned - self.done - self.failed


@dataclass
class _Build:
    """What one pass over the shards gathers."""

    plan: Plan
    keys: Keys
    results: Results
    entries: dict[str, LedgerEntry]
    db: duckdb.DuckDBPyConnection
    done: int = 0
    failed: int = 0
    damaged: list[str] = field(default_factory=list)
    content: Any = field(default_factory=hashlib.sha256)
    subset: frozenset[int] = frozenset()
    vectors: list[ndarray] = field(default_factory=list)

    @property
    def scorers(self) -> range:
        """The study's scorers by number, from 1."""
        return range(1, 1 + len(self.plan.study.scorers))


def publish(
    folder: Path, memory: str = "1GB", threads: int = 2, progress: Progress | None = None
) -> Published:
    """Builds and publishes the next snapshot of a results folder.

    Args:
        folder: the results folder.
        memory: DuckDB's memory limit; what does not fit goes to a temporary folder beside.
        threads: DuckDB's threads.
        progress: called with (units read, units planned).

    Raises:
        StoreError: nothing to publish, a full disk, a snapshot that fails its checks, another
            publisher at work.
    """
    results = Results(folder)
    plan = load_plan(results)
    results.create()
    with results.locked("publish.lock", "a publisher"):
        _remove_stale(results)
        entries = dict(results.read_ledger().entries)
        if not any(entries[u.unit_id].has_shard for u in plan if u.unit_id in entries):
            raise StoreError(
                f"{folder}: nothing to publish, no work unit is finished. Run the study first: "
                "`python -m pipeline run STUDY.toml`."
            )
        number = _next_number(results)
        path = results.snapshots / f"{plan.study.name}-{number:06d}.duckdb"
        temp = path.with_name(f".{path.name}.tmp")
        try:
            published = _build(plan, results, entries, temp, number, memory, threads, progress)
            sha256 = _sync(temp)
            temp.replace(path)
            fsync_folder(path.parent)
            _point_to(results, path, number, sha256)
        except duckdb.Error as error:
            raise StoreError(f"{temp}: cannot be built: {_first_line(error)}") from error
        except OSError as error:
            raise StoreError(explain_os_error(temp, error)) from error
        finally:
            _remove_stale(results)
        _remove_old(results, number)
    return replace(published, path=path)


def _build(
    plan: Plan,
    results: Results,
    entries: dict[str, LedgerEntry],
    temp: Path,
    number: int,
    memory: str,
    threads: int,
    progress: Progress | None,
) -> Published:
    """Fills a new database file and checks it."""
    with _open(temp, memory, threads, len(plan.study.scorers)) as db:
        build = _Build(plan, Keys(plan), results, entries, db, subset=_subset(plan))
        _insert_descriptions(build)
        _insert_shards(build, progress)
        for scorer in build.scorers:
            with of_scorer(db, scorer):
                _insert_rollups(build)
        _insert_paths(build)
        _insert_extra(build)
        for scorer in build.scorers:
            with of_scorer(db, scorer):
                _insert_study(build, number, scorer)
                _check(db)
        db.execute("CHECKPOINT")
    _report_damage(build)
    return Published(temp, number, plan.samples, build.done, build.failed, tuple(build.damaged))


def _open(temp: Path, memory: str, threads: int, scorers: int = 1) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "threads": threads,
        "temp_directory": f"{temp}.spill.tmp",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "checkpoint_threshold": "64MB",
    }
    db = duckdb.connect(str(temp), config=settings)
    db.execute(_sql("schema.sql"))
    db.execute(_sql("staging.sql"))
    for scorer in range(2, scorers + 1):
        db.execute(CREATE_SCHEMA[scorer])
        with of_scorer(db, scorer):
            db.execute(_sql("scorer.sql"))
    return db


@contextmanager
def of_scorer(db: duckdb.DuckDBPyConnection, scorer: int) -> Iterator[None]:
    """Makes table names mean those of a scorer, 1 = the first; what it has none of its own of stays main's."""
    use = _sql("use_scorer.sql")
    db.execute(use, {"schema": f"scorer_{scorer:d}" if scorer > 1 else "main"})
    try:
        yield
    finally:
        db.execute(use, {"schema": "main"})


def _sql(name: str) -> str:
    return (SQL / name).read_text()


def _insert(db: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Adds an Arrow table, matched to the columns by name."""
    if len(rows):
        names = [c[0] for c in db.table(table).description]
        db.from_arrow(rows.select(names)).insert_into(table)


def _insert_descriptions(build: _Build) -> None:
    """The tables `model`, `prompt` and `concept`, from the plan."""
    plan, workers = build.plan, load_workers(build.results)["models"]
    models = [_model_row(build, index, workers) for index in range(len(plan.study.models))]
    _insert(build.db, "model", pa.Table.from_pylist(models, _MODEL))
    prompts = {
        "prompt_id": pa.array(range(1, len(plan.prompts) + 1), pa.int32()),
        **{
            name: pa.array([getattr(p, name) for p in plan.prompts], pa.string())
            for name in ("prompt_key", "text", "source", "category")
        },
        "roles": pa.array([roles_json(p) for p in plan.prompts], pa.string()),
        "words": pa.array([len(p.text.split()) for p in plan.prompts], pa.int32()),
    }
    _insert(build.db, "prompt", pa.table(prompts))
    concepts: list[tuple[int, str, str, list[str]]] = [(0, "(whole prompt)", "prompt", [])] + [
        (index, c.name, c.family, list(c.phrasings))
        for index, c in enumerate(plan.bank.concepts, start=1)
    ]
    rows = [
        dict(zip(("concept_id", "name", "family", "phrasings"), c, strict=True)) for c in concepts
    ]
    _insert(build.db, "concept", pa.Table.from_pylist(rows, _CONCEPT))
    build.db.execute(_sql("mention.sql"))


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


def _model_row(build: _Build, index: int, workers: dict[str, Any]) -> dict[str, Any]:
    spec = build.plan.study.models[index]
    known = workers.get(spec.name, {})
    parameters = known.get("parameters")
    return {
        "model_id": index + 1,
        "name": spec.name,
        "label": spec.label,
        "source": spec.source,
        "revision": build.plan.revisions.models[spec.name],
        "pipeline": str(known.get("pipeline", "")),
        "family": str(known.get("family", "unknown")),
        "prediction_type": str(known.get("prediction_type", "")),
        "scheduler": str(known.get("scheduler", spec.scheduler or "")),
        "schedule": spec.schedule,
        "gamma": spec.gamma,
        "steps": spec.steps,
        "guidance": spec.guidance if spec.guidance > 1 else None,
        "dtype": str(known.get("dtype", spec.dtype)),
        "parameters": parameters if _is_count(parameters) else 0,
    }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 2**63


def _insert_shards(build: _Build, progress: Progress | None) -> None:
    """Everything that stands in shards, and `trajectory`, model by model."""
    read = 0
    for model_id, spec in enumerate(build.plan.study.models, start=1):
        stepped = False
        for chunk, tries, units in _chunks(build, model_id, build.plan.of_model(spec)):
            read += units
            if chunk is not None:
                stepped = _insert_chunk(build, chunk, tries, stepped) or stepped
            if progress is not None:
                progress(read, len(build.plan))
        for scorer in build.scorers:
            with of_scorer(build.db, scorer):
                build.db.execute(_sql("trajectory.sql"), {"scorer": scorer})
        build.db.execute(_sql("staging.sql"))


def _chunks(
    build: _Build, model_id: int, units: Iterator[WorkUnit]
) -> Iterator[tuple[Chunk | None, ndarray, int]]:
    """The samples of a model that were tried, in order, as much at a time as fits.

    Yields: (samples, their tries, how many units they come from).
    """
    last_seed = build.plan.study.seeds[-1]
    parts: list[tuple[pa.Table, WorkUnit, int]] = []
    size = count = 0
    for unit in units:
        table, tries = _read_unit(build, unit)
        count += 1
        if table is not None:
            parts.append((table, unit, tries))
            size += table.nbytes
        rows = sum(len(part[0]) for part in parts)
        if unit.seed == last_seed and (size >= CHUNK_BYTES or rows >= CHUNK_ROWS or count >= 512):
            yield (*_join(build, model_id, parts), count)
            parts, size, count = [], 0, 0
    if count:
        yield (*_join(build, model_id, parts), count)


def _join(
    build: _Build, model_id: int, parts: Sequence[tuple[pa.Table, WorkUnit, int]]
) -> tuple[Chunk | None, ndarray]:
    if not parts:
        return None, np.zeros(0, int)
    table = pa.concat_tables([part[0] for part in parts]).combine_chunks()
    positions = np.array([p.position for _, unit, _ in parts for p in unit.prompts])
    tries = np.array([tries for _, unit, tries in parts for _ in unit.prompts])
    seeds = table["seed"].to_numpy()
    order = np.argsort(build.keys.samples(model_id, positions, seeds), kind="stable")
    return tables.chunk_of(table, build.keys, model_id, positions), tries[order]


def _read_unit(build: _Build, unit: WorkUnit) -> tuple[pa.Table | None, int]:
    """The rows of a unit and its tries; no rows where it was not tried or its shard is damaged."""
    entry = build.entries.get(unit.unit_id)
    if entry is None or entry.status == "damaged":
        return None, 0
    if not entry.has_shard:
        rows = [failed_row(unit, prompt, entry.error, entry.stage) for prompt in unit.prompts]
        return table_of(rows), entry.tries
    try:
        data = build.results.store.read(unit.unit_id)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise StoreError(f"{unit.unit_id}: damaged")
        columns = [name for name in STORED.names if name != "embedding" or build.subset]
        table = parse_shard(data, unit.unit_id, columns)
        _refuse_foreign(table, unit)
    except StoreError:
        build.damaged.append(unit.unit_id)
        return None, 0
    return table, entry.tries


def _refuse_foreign(table: pa.Table, unit: WorkUnit) -> None:
    keys = pa.array([prompt.prompt_key for prompt in unit.prompts], pa.string())
    same = table["prompt_key"].combine_chunks().equals(keys)
    if not same or pc.any(pc.not_equal(table["seed"], unit.seed)).as_py():
        raise StoreError(f"{unit.unit_id}: other prompts or another seed than its name says")


def _insert_chunk(build: _Build, chunk: Chunk, tries: ndarray, stepped: bool) -> bool:
    """Adds the rows of a chunk to all tables. Returns whether `step` was filled."""
    _digest(build, chunk)
    db, done = build.db, chunk.done()
    _insert(db, "sample", tables.sample_rows(chunk))
    _insert(db, "failure", tables.failure_rows(chunk, tries))
    build.done += len(done.table)
    build.failed += len(chunk.table) - len(done.table)
    if not len(done.table):
        return False
    steps = None if stepped else tables.step_rows(done)
    if steps is not None:
        _insert(db, "step", steps)
    _stage(build, done)
    for table, (column, keys) in tables.EXPLODED.items():
        _insert(db, table, tables.exploded_rows(done, column, keys))
    _gather_embeddings(build, done)
    return steps is not None


def _stage(build: _Build, done: Chunk) -> None:
    """Stages the curves of every scorer, and adds the final scores of the further ones."""
    names = tuple(concept.key for concept in build.plan.bank.concepts)
    for scorer, part in enumerate(tables.by_scorer(done, len(build.scorers)), start=1):
        rows = tables.trajectory_rows(part, tables.curves_of(part, names), scorer)
        _insert(build.db, "staged", rows)
        if scorer > 1:
            with of_scorer(build.db, scorer):
                _insert(build.db, "score", tables.score_rows(part))


def _digest(build: _Build, chunk: Chunk) -> None:
    """Feeds the content hash: one line per sample, in order."""
    model = build.plan.study.models[chunk.model_id - 1].name
    keys = chunk.table["prompt_key"].to_pylist()
    hashes = chunk.table[ROW_HASH].to_pylist()
    seeds = chunk.seed.tolist()
    lines = (f"{model}\n{k}\n{s}\n{h}\n" for k, s, h in zip(keys, seeds, hashes, strict=True))
    build.content.update("".join(lines).encode())


def _insert_rollups(build: _Build) -> None:
    """The rollups, cells and correlation tables, from `trajectory`."""
    categories = _categories(build.plan)
    for model_id in range(1, len(build.plan.study.models) + 1):
        gathered = _gathered("rollup_step", "rollup_trajectory", "cell_curve")
        for concepts in _ranges(build):
            named = _mentions(build, concepts)
            prompts = _gathered("rollup_prompt")
            for curves in rollups.read_curves(build.db, _sql("curves.sql"), model_id, concepts):
                own = named.get(curves.concept_id, np.zeros(0, int))
                rollups.roll_up(curves, categories, own, {**gathered, **prompts})
            _insert_gathered(build, prompts)
        _insert_gathered(build, gathered)
        _insert_concept_correlations(build, model_id)
        build.db.execute(_sql("rollup_family.sql"), {"model": model_id})
        for which in (False, True):
            for name in ("cell_emergence", "cell_family"):
                build.db.execute(_sql(f"{name}.sql"), {"model": model_id, "named": which})
    _compare_models(build, categories)


def _gathered(*names: str) -> dict[str, rollups.Rows]:
    return {name: rollups.Rows() for name in names}


def _insert_gathered(build: _Build, gathered: dict[str, rollups.Rows]) -> None:
    for name, rows in gathered.items():
        _insert(build.db, name, rows.table())


def _mentions(build: _Build, concepts: range) -> dict[int, ndarray]:
    """prompt_ids that name each concept of a range; none for one that no prompt names."""
    bounds = {"first": concepts.start, "last": concepts.stop - 1}
    table = rollups.read_table(build.db, _sql("mentions.sql"), bounds)
    found, starts = np.unique(table["concept_id"].to_numpy(), return_index=True)
    parts = np.split(table["prompt_id"].to_numpy(), starts[1:])
    return dict(zip(found.tolist(), parts, strict=False))


def _ranges(build: _Build) -> Iterator[range]:
    plan = build.plan
    steps = max(model.steps for model in plan.study.models)
    rows = len(plan.prompts) * len(plan.study.seeds)
    return rollups.concept_ranges(len(plan.bank.concepts) + 1, rows, steps)


def _categories(plan: Plan) -> rollups.Categories:
    """The categories in the order of the prompts."""
    names = tuple(dict.fromkeys(prompt.category for prompt in plan.prompts))
    place = {name: index for index, name in enumerate(names)}
    of_prompt = np.zeros(len(plan.prompts) + 1, int)
    for prompt in plan.prompts:
        of_prompt[prompt.position + 1] = place[prompt.category]
    return rollups.Categories(names, of_prompt)


def _insert_concept_correlations(build: _Build, model_id: int) -> None:
    # All of the result: DuckDB refuses other work while one is unfinished.
    [(steps,)] = build.db.execute(_sql("steps.sql"), {"model": model_id}).fetchall()
    total = steps or 0
    each = (len(build.plan.bank.concepts) + 1) * len(build.plan.prompts)
    at_once = max(1, rollups.FLOATS_AT_ONCE // max(1, each))
    for first in range(0, total, at_once):
        bounds = {"model": model_id, "first": first + 1, "last": min(first + at_once, total)}
        table = rollups.read_table(build.db, _sql("prompt_curves.sql"), bounds)
        concepts = np.unique(table["concept_id"].to_numpy())
        means = rollups.matrix_of(table["similarity"])
        means = means.reshape(len(concepts), -1, means.shape[1])
        if means.shape[1] > 2:
            rows = rollups.concept_correlations(model_id, concepts, means, first)
            _insert(build.db, "correlation_concept", rows)


def _compare_models(build: _Build, categories: rollups.Categories) -> None:
    """What is told of pairs of models: `correlation_model` and `cell_pair`."""
    models = range(1, len(build.plan.study.models) + 1)
    if len(models) < 2:
        return
    query = _sql("curves.sql")
    for concepts in _ranges(build):
        gathered = _gathered("correlation_model", "cell_pair")
        found: dict[int, dict[int, rollups.Curves]] = {}
        for model_id in models:
            for curves in rollups.read_curves(build.db, query, model_id, concepts):
                found.setdefault(curves.concept_id, {})[model_id] = curves
        for by_model in found.values():
            rollups.compare_models(by_model, categories, gathered)
        _insert_gathered(build, gathered)


def _subset(plan: Plan) -> frozenset[int]:
    """sample_ids whose embeddings decide the projection: a random subset with a fixed seed."""
    if not plan.study.measures.embeddings:
        return frozenset()
    steps = max(model.steps for model in plan.study.models)
    count = min(plan.samples, max(1, projection.VECTORS // steps))
    chosen = np.random.default_rng(0).choice(plan.samples, count, replace=False)
    return frozenset((chosen + 1).tolist())


def _gather_embeddings(build: _Build, done: Chunk) -> None:
    if build.subset:
        part, embeddings = projection.embeddings_of(done)
        chosen = [i for i, sample in enumerate(part.sample_id) if int(sample) in build.subset]
        if chosen:
            build.vectors.append(_flat(embeddings[chosen]))


def _flat(embeddings: Float[ndarray, "n s d"]) -> Float[ndarray, "m d"]:
    return embeddings.reshape(-1, embeddings.shape[-1])


def _insert_paths(build: _Build) -> None:
    """`projection`, and `path` in a second look at the shards' embeddings alone."""
    if not build.vectors:
        return
    plane = projection.fit(np.concatenate(build.vectors))
    _insert(build.db, "projection", plane.rows())
    columns = ["prompt_key", "seed", "status", "embedding"]
    for model_id, spec in enumerate(build.plan.study.models, start=1):
        for unit in build.plan.of_model(spec):
            entry = build.entries.get(unit.unit_id)
            if entry is None or not entry.has_shard or unit.unit_id in build.damaged:
                continue
            data = build.results.store.read(unit.unit_id)
            table = parse_shard(data, unit.unit_id, columns)
            positions = np.array([prompt.position for prompt in unit.prompts])
            chunk = tables.chunk_of(table, build.keys, model_id, positions).done()
            if len(chunk.table):
                part, embeddings = projection.embeddings_of(chunk)
                if len(embeddings):
                    _insert(build.db, "path", plane.paths(part, embeddings))


def _insert_extra(build: _Build) -> None:
    """Tables that other commands leave in extra/: rows with a model's name instead of its id."""
    for table in ("localisation", "randomisation"):
        path = build.results.extra / f"{table}.parquet"
        if path.exists():
            _insert(build.db, table, _extra_rows(build, path, table))


def _extra_rows(build: _Build, path: Path, table: str) -> pa.Table:
    """The rows of the study's models. Raises StoreError where a column is missing."""
    try:
        with pq.ParquetFile(path) as file:
            refuse_bomb(file, path, MAX_EXTRA)
        rows = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({_first_line(error)}). Remove it.") from None
    needed = ["model", *(c[0] for c in build.db.table(table).description if c[0] != "model_id")]
    missing = [name for name in needed if name not in rows.column_names]
    if missing:
        found = ", ".join(rows.column_names)
        raise StoreError(f"{path}: no column {', '.join(missing)} (found: {found}). Make it anew.")
    names = pa.array([model.name for model in build.plan.study.models])
    index = pc.index_in(rows["model"].cast(pa.string()), names)
    rows = rows.append_column("model_id", pc.add(index, 1).cast(pa.int32()))
    return rows.filter(pc.is_valid(rows["model_id"]))


def _insert_study(build: _Build, number: int, scorer: int = 1) -> None:
    """The row of `study`; in a further scorer's schema the same with that scorer."""
    study = build.plan.study
    used = study.scorers[scorer - 1]
    row = {
        "name": study.name,
        "title": study.title,
        "description": study.description,
        "schema_version": SCHEMA_VERSION,
        "snapshot": number,
        "published_at": datetime.now(UTC).replace(tzinfo=None),
        "content_hash": build.content.hexdigest(),
        "spec": canonical(study_spec(study)),
        "environment": json.dumps(load_workers(build.results)["environment"]),
        "scorer": used.source + (f" ({used.pretrained})" if used.pretrained else ""),
        "seeds": list(study.seeds),
        "planned_samples": build.plan.samples,
        "done_samples": build.done,
        "failed_samples": build.failed,
    }
    _insert(build.db, "study", pa.Table.from_pylist([row]))


def _check(db: duckdb.DuckDBPyConnection) -> None:
    """Raises StoreError if the new snapshot contradicts itself."""
    broken = [(name, bad) for name, bad in db.execute(_sql("checks.sql")).fetchall() if bad]
    if broken:
        list_ = "; ".join(f"{name} ({bad} rows do not)" for name, bad in broken)
        raise StoreError(f"the new snapshot fails its checks and was not published: {list_}.")


def _report_damage(build: _Build) -> None:
    """Notes damaged shards in the ledger, so that the next run makes them anew."""
    entries = [
        replace(build.entries[unit_id], status="damaged", tries=0, finished_at=now())
        for unit_id in build.damaged
    ]
    if entries:
        build.results.append(entries)


def _next_number(results: Results) -> int:
    """One more than any snapshot that is there or was pointed to."""
    numbers = [snapshot_number(path) for path in results.snapshots.glob("*.duckdb")]
    with suppress(StoreError):
        numbers.append(read_pointer(results)[1])
    return max(numbers, default=0) + 1


def snapshot_number(path: Path) -> int:
    """The number in a snapshot's name; 0 if there is none, or one that we would not give."""
    ending = path.stem.rpartition("-")[2]
    return int(ending) if re.fullmatch("[0-9]{6,9}", ending) else 0


def read_pointer(results: Results) -> tuple[Path, int, str]:
    """The current snapshot: path, number, sha256.

    Raises:
        StoreError: there is none, or the pointer is damaged.
    """
    try:
        values = json.loads(results.current.read_text())
        name, number, sha256 = values["snapshot"], values["number"], values["sha256"]
        if not isinstance(number, int) or not 0 < number < 10**9:
            raise ValueError(f"number = {show(number)}")
        return results.snapshots / Path(name).name, number, str(sha256)
    except FileNotFoundError:
        raise StoreError(
            f"{results.folder}: not published yet. Use `python -m pipeline publish`."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{results.current}: damaged ({error}). Publish again.") from None


def schema_version(folder: Path) -> int | None:
    """The schema version of the current snapshot; None where there is none that can be read.

    Raises:
        StoreError: a newer version wrote it.
    """
    try:
        path, _, _ = read_pointer(Results(folder))
        with duckdb.connect(str(path), read_only=True) as db:
            rows = db.execute(_sql("schema_version.sql")).fetchall()
    except (StoreError, duckdb.Error):
        return None
    version = int(rows[0][0]) if rows else None
    if version is not None and version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: schema version {version}, this is {SCHEMA_VERSION}. Use a Stepscope at least as new as the "
            "one that published it."
        )
    return version


def _sync(path: Path) -> str:
    """Brings a file to the disk. Returns its sha256."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _point_to(results: Results, path: Path, number: int, sha256: str) -> None:
    pointer = {"snapshot": f"snapshots/{path.name}", "number": number, "sha256": sha256}
    write_whole(results.current, (json.dumps(pointer) + "\n").encode())


def _remove_stale(results: Results) -> None:
    """Removes what an interrupted publisher left. Only for the holder of publish.lock."""
    for path in results.snapshots.glob(".*.tmp*"):
        if path.is_dir():
            for inner in path.iterdir():
                inner.unlink(missing_ok=True)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def _remove_old(results: Results, number: int) -> None:
    """Keeps the last few snapshots. A reader that has an older one open keeps its file."""
    for path in results.snapshots.glob("*.duckdb"):
        if 0 < snapshot_number(path) <= number - KEPT_SNAPSHOTS:
            path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
