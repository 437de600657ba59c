"""Builds a new DuckDB snapshot from the shards of a results folder, checks it, and points readers to it.

The shards of a block of prompts (all seeds of a model) are read together, flattened to rows by Arrow, and inserted; then
the trajectories are sorted and every rollup is computed per (model, concept). Memory is bounded by one block and by the
curves of one model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import correlation
from pipeline.database.rollups import Rollups, list_array
from pipeline.errors import StoreError
from pipeline.plan import Plan, WorkUnit
from pipeline.results import environment, load_plan, load_workers
from pipeline.shards import ROW_HASH, Ledger, LedgerEntry, Results, fsync_folder, read_shard, write_whole
from pipeline.study import study_spec

SCHEMA_VERSION = 1
SCHEMA = Path(__file__).with_name("schema.sql")
KEEP = 3  # snapshots
MEMORY_LIMIT = "1500MB"
PCA_ROWS = 20_000  # embeddings that the two components are fitted on
INSERT = {
    name: f"INSERT INTO {name} BY NAME SELECT * FROM batch"  # noqa: S608 - fixed names, no data
    for name in (
        "study", "model", "prompt", "concept", "sample", "step", "staged", "frame", "failure",
        "token_attention", "explanation", "faithfulness", "agreement", "localisation",
        "randomisation", "spectrum", "path", "projection", "rollup_prompt", "rollup_step",
        "rollup_trajectory", "correlation_concept", "correlation_model",
    )
}  # fmt: skip


def publish(folder: Path) -> Path:
    """Publish what a results folder holds now; returns the new snapshot's path.

    Raises:
        StoreError: no study, no finished shard, damaged shards, or the snapshot cannot be written.
    """
    results = Results(folder)
    made = load_plan(results)
    ledger = results.read_ledger()
    results.create()
    with results.locked("publish.lock", "a publish"):
        number = _next_number(results)
        path = results.snapshots / f"{made.study.name}-{number:06d}.duckdb"
        temp = path.with_suffix(".duckdb.tmp")
        for leftover in results.snapshots.glob("*.tmp*"):
            leftover.unlink()
        try:
            _Snapshot(results, made, ledger, temp, number).build()
        except duckdb.Error as error:
            raise StoreError(f"{temp}: the snapshot could not be built ({error}). Free some space and publish again.") from error
        with temp.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        temp.replace(path)
        fsync_folder(results.snapshots)
        pointer = {"snapshot": f"snapshots/{path.name}", "number": number, "sha256": digest}
        write_whole(results.current, json.dumps(pointer).encode())
        _remove_old(results, path)
    return path


def _next_number(results: Results) -> int:
    numbers = [int(path.stem[-6:]) for path in results.snapshots.glob("*-[0-9][0-9][0-9][0-9][0-9][0-9].duckdb")]
    return max(numbers, default=0) + 1


def _remove_old(results: Results, current: Path) -> None:
    """Keep the newest snapshots; a reader that has an older one open keeps its file until it closes it."""
    for path in sorted(results.snapshots.glob("*.duckdb"))[:-KEEP]:
        if path != current:
            path.unlink()


class _Snapshot:
    """One snapshot under construction."""

    def __init__(self, results: Results, made: Plan, ledger: Ledger, path: Path, number: int) -> None:
        self.results, self.made, self.ledger = results, made, ledger
        self.path, self.number = path, number
        self.prompt_ids = {p.prompt_key: i + 1 for i, p in enumerate(made.prompts)}
        self.model_ids = {m.name: i + 1 for i, m in enumerate(made.study.models)}
        self.seeds = {seed: i for i, seed in enumerate(made.study.seeds)}
        self.concepts = ["(whole prompt)", *(f"{c.family}/{c.name}" for c in made.bank.concepts)]
        self.digest = hashlib.sha256()
        self.done = self.failed = 0
        self.projection: tuple[np.ndarray, np.ndarray] | None = None

    def build(self) -> None:
        if not any(True for _ in self._blocks()):
            raise StoreError(
                f"{self.results.folder}: no finished work to publish. Run the study first: "
                f"python -m pipeline run {self.made.study.path}"
            )
        with duckdb.connect(self.path, config={"memory_limit": MEMORY_LIMIT, "threads": 2}) as self.con:
            self.con.execute(SCHEMA.read_text())
            self.con.execute("CREATE TEMP TABLE staged AS FROM trajectory LIMIT 0")
            self._insert_names()
            self._fit_projection()
            for units in self._blocks():
                self._insert_block(units)
            self._insert_failed_units()
            self._sort_trajectories()
            Rollups(self.con, self._insert, self.made).build()
            self._insert_extra()
            self._insert_study()
            self._check()
            self.con.execute("CHECKPOINT")

    # -- reading ---------------------------------------------------------------------------------

    def _stored(self, unit: WorkUnit) -> bool:
        entry = self.ledger.entries.get(unit.unit_id)
        return entry is not None and self.results.holds(entry)

    def _blocks(self) -> Iterator[list[WorkUnit]]:
        """The stored units of each (model, block of prompts), its seeds together."""
        for _, units in groupby(self.made, key=lambda u: (u.model.name, u.prompts[0].position)):
            stored = [unit for unit in units if self._stored(unit)]
            if stored:
                yield stored

    def _read(self, units: list[WorkUnit], columns: list[str] | None = None) -> pa.Table:
        parts = [read_shard(self.results.shard(unit.unit_id), columns) for unit in units]
        return pa.concat_tables(parts).combine_chunks()

    # -- writing ---------------------------------------------------------------------------------

    def _insert(self, table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            self.con.register("batch", rows)
            self.con.execute(INSERT[table])
            self.con.unregister("batch")

    def _insert_names(self) -> None:
        workers = load_workers(self.results)
        models = []
        for model in self.made.study.models:
            known = workers.get(model.name, {})
            models.append(
                {
                    "model_id": self.model_ids[model.name],
                    "name": model.name,
                    "label": model.label,
                    "source": model.source,
                    "revision": self.made.revisions.models[model.name],
                    "schedule": model.schedule,
                    "gamma": model.gamma,
                    "steps": model.steps,
                    "guidance": model.guidance if model.guidance > 1 else None,
                    "pipeline": known.get("pipeline", ""),
                    "family": known.get("family", "unknown"),
                    "prediction_type": known.get("prediction_type", ""),
                    "scheduler": known.get("scheduler", model.scheduler or ""),
                    "dtype": known.get("dtype", model.dtype),
                    "parameters": known.get("parameters", 0),
                }
            )
        self._insert("model", pa.Table.from_pylist(models))
        prompts = [
            {
                "prompt_id": self.prompt_ids[p.prompt_key],
                "prompt_key": p.prompt_key,
                "text": p.text,
                "source": p.source,
                "category": p.category,
                "roles": json.dumps({k: list(v) for k, v in p.roles.items()}, ensure_ascii=False),
                "words": len(p.text.split()),
            }
            for p in self.made.prompts
        ]
        self._insert("prompt", pa.Table.from_pylist(prompts))
        whole = {"concept_id": 0, "name": self.concepts[0], "family": "prompt", "phrasings": []}
        bank = [
            {"concept_id": i + 1, "name": c.name, "family": c.family, "phrasings": list(c.phrasings)}
            for i, c in enumerate(self.made.bank.concepts)
        ]
        schema = pa.schema(
            {"concept_id": pa.int32(), "name": pa.string(), "family": pa.string(), "phrasings": pa.list_(pa.string())}
        )
        self._insert("concept", pa.Table.from_pylist([whole, *bank], schema))

    def _insert_block(self, units: list[WorkUnit]) -> None:
        rows = self._read(units)
        seed_index = np.array([self.seeds[s] for s in rows["seed"].to_pylist()])
        prompt = np.array([self.prompt_ids[k] for k in rows["prompt_key"].to_pylist()])
        order = np.lexsort((seed_index, prompt))
        rows, prompt, seed_index = rows.take(order), prompt[order], seed_index[order]
        model = self.model_ids[units[0].model.name]
        sample = ((model - 1) * len(self.prompt_ids) + prompt - 1) * len(self.seeds) + seed_index + 1
        keys = pa.table(
            {
                "sample_id": sample,
                "model_id": pa.array(np.full(len(prompt), model), pa.int32()),
                "prompt_id": pa.array(prompt, pa.int32()),
                "seed": rows["seed"],
            }
        )
        for value in rows[ROW_HASH].to_pylist():
            self.digest.update(value.encode())
        self._insert_samples(keys, rows)
        good = pc.equal(rows["status"], "done")
        keys, rows = keys.filter(good), rows.filter(good).combine_chunks()
        if rows.num_rows:
            self._insert_steps(model, rows)
            self._insert_trajectories(keys, rows)
            self._insert_lists(keys, rows)
            self._insert_paths(keys, rows)

    def _insert_samples(self, keys: pa.Table, rows: pa.Table) -> None:
        names = ("status", "error", "notice", "seconds", "clip_score", "width", "height", "image")
        sample = keys
        for name in names:
            sample = sample.append_column(name, rows[name])
        self._insert("sample", sample)
        bad = pc.not_equal(rows["status"], "done")
        failed = keys.drop_columns(["sample_id"]).filter(bad)
        entries = [self.ledger.entries[unit] for unit in rows["unit_id"].filter(bad).to_pylist()]
        failed = failed.append_column("stage", rows["stage"].filter(bad))
        failed = failed.append_column("error", rows["error"].filter(bad))
        failed = failed.append_column("tries", pa.array([e.tries for e in entries], pa.int32()))
        self._insert("failure", failed)
        self.failed += failed.num_rows
        self.done += rows.num_rows - failed.num_rows

    def _insert_steps(self, model: int, rows: pa.Table) -> None:
        known = self.con.execute("SELECT count(*) FROM step WHERE model_id = $model", {"model": model})
        if known.fetchone()[0] == 0:  # type: ignore[index]
            steps = rows["steps"][0].as_py()
            self._insert("step", pa.Table.from_pylist([{"model_id": model, **step} for step in steps]))

    def _insert_trajectories(self, keys: pa.Table, rows: pa.Table) -> None:
        """Concept by concept: the curves of the block's samples as one matrix."""
        trajectories = pc.list_flatten(rows["trajectories"].combine_chunks())
        k = len(self.concepts) - 1
        if len(trajectories) != rows.num_rows * k:
            raise StoreError("a shard holds another number of concepts than its study. Run the study again.")
        values = trajectories.field("similarity").flatten().to_numpy(zero_copy_only=False)
        curves = values.reshape(rows.num_rows, k, -1)
        prompt = rows["prompt_similarity"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        curves = np.concatenate([prompt.reshape(rows.num_rows, 1, -1), curves], axis=1)
        n, k, steps = curves.shape
        flat = curves.reshape(n * k, steps)
        staged = keys.take(np.repeat(np.arange(n), k))
        columns = {
            "concept_id": pa.array(np.tile(np.arange(k), n), pa.int32()),
            "similarity": list_array(flat),
            "final": flat[:, -1],
            "rise": flat[:, -1] - flat[:, 0],
            "spearman": pa.array(correlation.spearman_with_step(flat).astype(np.float32), from_pandas=True),
            "auc": pa.array(correlation.area(flat).astype(np.float32), from_pandas=True),
            "emergence_step": pa.array(correlation.emergence_step(flat), from_pandas=True),
        }
        for name, column in columns.items():
            staged = staged.append_column(name, column if isinstance(column, pa.Array) else pa.array(column))
        self._insert("staged", staged)

    def _insert_lists(self, keys: pa.Table, rows: pa.Table) -> None:
        """Each nested column becomes the rows of its own table."""
        for column, table, wanted in (
            ("frames", "frame", ["sample_id"]),
            ("words", "token_attention", ["sample_id", "model_id", "prompt_id"]),
            ("explanations", "explanation", ["sample_id"]),
            ("faithfulness", "faithfulness", ["sample_id", "model_id", "prompt_id"]),
            ("agreement", "agreement", ["sample_id", "model_id", "prompt_id"]),
            ("spectrum", "spectrum", ["sample_id", "model_id", "prompt_id"]),
        ):
            nested = rows[column].combine_chunks()
            flat = pa.Table.from_struct_array(pc.list_flatten(nested))
            parents = keys.select(wanted).take(pc.list_parent_indices(nested))
            for name in wanted:
                flat = flat.append_column(name, parents[name])
            self._insert(table, flat)

    # -- embeddings ------------------------------------------------------------------------------

    def _fit_projection(self) -> None:
        """Two principal components of the CLIP embeddings of all steps, on a bounded sample of the study."""
        if not self.made.study.measures.embeddings:
            return
        vectors, seen = [], 0
        for units in self._blocks():
            nested = self._read(units, ["embedding"])["embedding"].combine_chunks().flatten()
            if len(nested) and seen < PCA_ROWS:
                block = nested.flatten().to_numpy(zero_copy_only=False).reshape(len(nested), -1)
                vectors.append(block)
                seen += len(block)
        if not vectors:
            return
        data = np.concatenate(vectors)[:PCA_ROWS]
        mean = data.mean(0)
        _, size, directions = np.linalg.svd(data - mean, full_matrices=False)
        directions = directions[:2]
        directions *= np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])[:, None]
        self.projection = mean, directions
        share = size**2 / max(float((size**2).sum()), 1e-12)
        self._insert(
            "projection",
            pa.table(
                {
                    "component": pa.array(range(len(directions)), pa.int32()),
                    "explained_variance": share[: len(directions)],
                    "direction": list_array(directions),
                    "mean": list_array(np.tile(mean, (len(directions), 1))),
                }
            ),
        )

    def _insert_paths(self, keys: pa.Table, rows: pa.Table) -> None:
        if self.projection is None:
            return
        mean, directions = self.projection
        nested = rows["embedding"].combine_chunks().flatten()
        vectors = nested.flatten().to_numpy(zero_copy_only=False).reshape(len(nested), -1)
        points = ((vectors - mean) @ directions.T).reshape(rows.num_rows, -1, 2)
        paths = keys.append_column("x", list_array(points[..., 0])).append_column("y", list_array(points[..., 1]))
        self._insert("path", paths)

    # -- after all shards ------------------------------------------------------------------------

    def _insert_failed_units(self) -> None:
        """Units that ended in an error leave no shard; their samples are listed as failures all the same."""
        rows = [
            {
                "model_id": self.model_ids[unit.model.name],
                "prompt_id": self.prompt_ids[prompt.prompt_key],
                "seed": unit.seed,
                "stage": entry.stage or "unit",
                "error": entry.error,
                "tries": entry.tries,
            }
            for unit, entry in self._errors()
            for prompt in unit.prompts
        ]
        if rows:
            self._insert("failure", pa.Table.from_pylist(rows))

    def _errors(self) -> Iterator[tuple[WorkUnit, LedgerEntry]]:
        for unit in self.made:
            entry = self.ledger.entries.get(unit.unit_id)
            if entry is not None and entry.status == "error":
                yield unit, entry

    def _sort_trajectories(self) -> None:
        """Sort, and take back emergence where the rise is within the noise of the seeds."""
        self.con.execute((SCHEMA.parent / "sort_trajectories.sql").read_text())
        self.con.execute("DROP TABLE staged")

    def _insert_extra(self) -> None:
        """Tables that were measured apart from the samples: localisation and randomisation of the tools."""
        for name in ("localisation", "randomisation"):
            file = self.results.extra / f"{name}.parquet"
            if file.is_file():
                rows = pq.read_table(file)
                known = [row in self.model_ids for row in rows["model"].to_pylist()]
                rows = rows.filter(pa.array(known))
                ids = [self.model_ids[row] for row in rows["model"].to_pylist()]
                self._insert(name, rows.drop_columns(["model"]).append_column("model_id", pa.array(ids, pa.int32())))

    def _insert_study(self) -> None:
        study = self.made.study
        workers = load_workers(self.results)
        where = {"publisher": environment(), "workers": workers}
        row: dict[str, Any] = {
            "name": study.name,
            "title": study.title,
            "description": study.description,
            "schema_version": SCHEMA_VERSION,
            "snapshot": self.number,
            "published_at": datetime.now(UTC).replace(tzinfo=None, microsecond=0),
            "content_hash": self.digest.hexdigest(),
            "spec": json.dumps(study_spec(study), sort_keys=True),
            "environment": json.dumps(where, sort_keys=True),
            "scorer": study.scorer.source,
            "seeds": list(study.seeds),
            "planned_samples": self.made.samples,
            "done_samples": self.done,
            "failed_samples": self.failed,
        }
        self._insert("study", pa.Table.from_pylist([row]))

    def _check(self) -> None:
        """What must hold of every snapshot; a broken one is never pointed to."""
        for name, problem in _CHECKS.items():
            count = self.con.execute(problem).fetchone()[0]  # type: ignore[index]
            if count:
                raise StoreError(f"{self.path}: {count} {name}. The snapshot is not published; please report this.")
        stored = self.con.execute("SELECT count(*) FROM sample").fetchone()[0]  # type: ignore[index]
        if stored != self.done + self.failed:
            raise StoreError(f"{self.path}: {stored} samples in place of {self.done + self.failed}. Not published.")


_CHECKS = {
    "trajectories without a sample": "SELECT count(*) FROM trajectory ANTI JOIN sample USING (sample_id)",
    "doubled trajectories": """SELECT count(*) FROM
        (SELECT 1 FROM trajectory GROUP BY sample_id, concept_id HAVING count(*) > 1)""",
    "samples without a model or prompt": """SELECT count(*) FROM sample
        WHERE model_id NOT IN (SELECT model_id FROM model) OR prompt_id NOT IN (SELECT prompt_id FROM prompt)""",
    "done samples without trajectories": """SELECT count(*) FROM
        (SELECT sample_id FROM sample WHERE status = 'done') ANTI JOIN trajectory USING (sample_id)""",
    "frames without a sample": "SELECT count(*) FROM frame ANTI JOIN sample USING (sample_id)",
}
