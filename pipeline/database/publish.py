"""Builds a new snapshot of the database from the shards, checks it, and points readers to it.

One process, one pass over the shards in the order of the plan, a chunk of them in memory at a time.
The new file appears whole, under a name of its own, and only then does `current.json` name it.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.database import projection
from pipeline.database.added_scores import insert_scores
from pipeline.database.build import Build, first_line, insert, of_scorer
from pipeline.database.extra import insert_extra
from pipeline.database.image_sets import insert_sets
from pipeline.database.ingest import Progress, insert_descriptions, insert_shards
from pipeline.database.snapshots import (
    SCHEMA_VERSION,
    next_number,
    point_to,
    remove_old,
    remove_stale,
    sql_text,
    sync,
)
from pipeline.database.summaries import insert_paths, insert_rollups
from pipeline.database.tables import Keys
from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.folder import LEDGER, Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.record import load_plan, load_workers
from pipeline.results.shards import explain_os_error, now
from pipeline.study.plan import Plan, canonical
from pipeline.study.spec import MAX_SCORERS, ScorerSpec, study_spec

# By the scorer's place in the study file: names of schemas are ours, never a user's text.
CREATE_SCHEMA = {n: f"CREATE SCHEMA scorer_{n}" for n in range(2, MAX_SCORERS + 1)}
# The copy that DuckDB warns of is of one range of concepts; the other way to Arrow leaves a result open.
warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)


@dataclass(frozen=True)
class Published:
    """A new snapshot and what it holds."""

    path: Path
    number: int
    planned: int
    done: int
    failed: int
    damaged: Mapping[str, str] = field(
        default_factory=dict
    )  # unit id -> what is wrong with its shard

    @property
    def missing(self) -> int:
        """Samples that were not tried yet, or whose shard is damaged."""
        return self.planned - self.done - self.failed


def publish(
    folder: Path, memory: str = "1GB", threads: int = 2, progress: Progress | None = None
) -> Published:
    """Builds and publishes the next snapshot of a results folder.

    Args:
        folder: the results folder.
        memory: DuckDB's memory limit; what does not fit goes to a temporary folder beside.
        threads: DuckDB's threads.
        progress: called with (work units read, work units planned).

    Raises:
        StoreError: nothing to publish, a full disk, a snapshot that fails its checks, another
            publisher at work.
    """
    results = Results(folder)
    results.require_store()
    plan = load_plan(results)
    results.create()
    with results.locked("publish.lock", "a publisher"):
        remove_stale(results)
        results.merge_idle_parts()
        entries = dict(results.read_ledger().entries)
        if not any(entries[u.unit_id].has_shard for u in plan if u.unit_id in entries):
            raise StoreError(
                f"{folder}: nothing to publish, no work unit is finished. Run the study first: "
                "`python -m pipeline run STUDY.toml`."
            )
        number = next_number(results)
        path = results.snapshots / f"{plan.study.name}-{number:06d}.duckdb"
        temp = path  # for messages
        try:
            temp = safe_files.make_build_folder(results.snapshots) / path.name
            published = _build(plan, results, entries, temp, number, memory, threads, progress)
            sha256 = sync(temp)
            safe_files.move(temp, path)
            point_to(results, path, number, sha256)
        except duckdb.Error as error:
            raise StoreError(f"{temp}: cannot be built: {first_line(error)}") from error
        except OSError as error:
            raise StoreError(explain_os_error(temp, error)) from error
        finally:
            remove_stale(results)
        remove_old(results, number)
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
        build = Build(plan, Keys(plan), results, entries, db, threads, subset=subset_of(plan))
        insert_descriptions(build)
        insert_shards(build, progress)
        for scorer in build.scorers:
            with of_scorer(db, scorer):
                insert_rollups(build)
        insert_paths(build)
        insert_extra(build)
        insert_scores(build)
        insert_sets(build)
        for scorer in build.scorers:
            with of_scorer(db, scorer):
                _insert_study(build, number, scorer)
                _check(db)
        db.execute("CHECKPOINT")
    _report_damage(build)
    return Published(temp, number, plan.samples, build.done, build.failed, build.damaged)


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
    db.execute(sql_text("schema.sql"))
    db.execute(sql_text("staging.sql"))
    for scorer in range(2, scorers + 1):
        db.execute(CREATE_SCHEMA[scorer])
        with of_scorer(db, scorer):
            db.execute(sql_text("scorer.sql"))
    return db


def subset_of(plan: Plan) -> frozenset[int]:
    """sample_ids whose embeddings decide the projection: a random subset with a fixed seed."""
    if not plan.study.measures.embeddings:
        return frozenset()
    steps = max(model.steps for model in plan.study.models)
    count = min(plan.samples, max(1, projection.VECTORS // steps))
    chosen = np.random.default_rng(0).choice(plan.samples, count, replace=False)
    return frozenset((chosen + 1).tolist())


def _insert_study(build: Build, number: int, scorer: int = 1) -> None:
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
        "environment": json.dumps(_environment(build)),
        "scorer": scorer_text(used),
        "seeds": list(study.seeds),
        "planned_samples": build.plan.samples,
        "done_samples": build.done,
        "failed_samples": build.failed,
    }
    insert(build.db, "study", pa.Table.from_pylist([row]))


def _environment(build: Build) -> dict[str, Any]:
    """Where it was measured, and what defines the measures: versions of the tools' definitions, revisions of the scorers."""
    plan = build.plan
    revisions = plan.revisions.scorer, *plan.revisions.further_scorers
    scorers = zip(map(scorer_text, plan.study.scorers), revisions, strict=True)
    defined = {"definitions": plan.definitions, "scorer_revisions": dict(scorers)}
    return {**load_workers(build.results)["environment"], **defined}


def scorer_text(scorer: ScorerSpec) -> str:
    """A scorer as the table `study` names it."""
    return scorer.source + (f" ({scorer.pretrained})" if scorer.pretrained else "")


def _check(db: duckdb.DuckDBPyConnection) -> None:
    """Raises StoreError if the new snapshot contradicts itself."""
    broken = [(name, bad) for name, bad in db.execute(sql_text("checks.sql")).fetchall() if bad]
    if broken:
        list_ = "; ".join(f"{name} ({bad} rows do not)" for name, bad in broken)
        raise StoreError(f"the new snapshot fails its checks and was not published: {list_}.")


def _report_damage(build: Build) -> None:
    """Notes damaged shards in the ledger, so that the next run makes them anew.

    Not while parts are running, whose own ledgers count: a later publish notes them.
    """
    if build.results.part_files(LEDGER):
        return
    entries = [
        replace(build.entries[unit_id], status="damaged", tries=0, finished_at=now())
        for unit_id in build.damaged
    ]
    if entries:
        build.results.append(entries)
