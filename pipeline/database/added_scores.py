"""The tables `metric` and `score`: what `scores add` has put beside the shards."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.database.build import Build, first_line, insert
from pipeline.database.snapshots import sql_text
from pipeline.errors import StoreError
from pipeline.results.scores import Metric, ScoreFiles

INSERT = {"image": "score_images.sql", "prompt": "score_prompts.sql", "step": "score_steps.sql"}


def insert_scores(build: Build) -> None:
    """Adds every metric, and its values of samples that are done.

    Raises:
        StoreError: a file is damaged or not the one that was written.
    """
    files = ScoreFiles(build.results)
    for metric_id, metric in enumerate(files.metrics(), start=1):
        rows = _with_ids(build, files.table(metric))
        try:
            unused = len(rows) - _insert_values(build, metric_id, metric, rows)
            insert(
                build.db,
                "metric",
                pa.Table.from_pylist([_metric_row(metric_id, metric, unused)], _METRIC),
            )
        except duckdb.Error as error:
            raise StoreError(
                f"{files.folder / metric.file}: cannot be put into the database: {first_line(error)}. Add the scores again."
            ) from None


def _with_ids(build: Build, table: pa.Table) -> pa.Table:
    """The rows of the study's models and prompts, with model_id and prompt_id."""
    models = pa.array([spec.name for spec in build.plan.study.models], pa.string())
    prompts = pa.array([prompt.prompt_key for prompt in build.plan.prompts], pa.string())
    ids = {
        "model_id": pc.add(pc.index_in(table["model"], models), 1),
        "prompt_id": pc.add(pc.index_in(table["prompt_key"], prompts), 1),
    }
    return pa.table({**ids, **{name: table[name] for name in ("seed", "step", "value")}})


def _insert_values(build: Build, metric_id: int, metric: Metric, rows: pa.Table) -> int:
    """Returns how many of the rows belong to samples that are done."""
    db = build.db
    db.register("added", rows)
    try:
        db.execute(sql_text(INSERT[metric.level]), {"metric_id": metric_id})
        counted = db.execute(sql_text("score_count.sql"), {"metric_id": metric_id}).fetchall()
    finally:
        db.unregister("added")
    return int(counted[0][0])


_METRIC = pa.schema(
    {
        "metric_id": pa.int32(),
        "name": pa.string(),
        "title": pa.string(),
        "lower_is_better": pa.bool_(),
        "low": pa.float64(),
        "high": pa.float64(),
        "source": pa.string(),
        "preprocessing": pa.string(),
        "level": pa.string(),
        "sha256": pa.string(),
        "added_at": pa.string(),
        "unused": pa.int64(),
    }
)


def _metric_row(metric_id: int, metric: Metric, unused: int) -> dict[str, object]:
    columns = {name: getattr(metric, name) for name in _METRIC.names if hasattr(metric, name)}
    return {**columns, "metric_id": metric_id, "unused": unused}
