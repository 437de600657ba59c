"""From the tables of a snapshot to its rollups, correlations and paths."""

import numpy as np
from numpy import ndarray

from pipeline.database import pairs, projection, rollups, tables
from pipeline.database.build import Build, insert
from pipeline.database.concepts import concept_ranges, prompts_naming
from pipeline.database.snapshots import sql_text
from pipeline.results.shards import parse_shard
from pipeline.study.plan import Plan

NOBODY = np.zeros(0, int)  # prompts that name a concept
ROWS_AT_ONCE = 50_000  # of pairs: as many as the square of the models


def insert_rollups(build: Build) -> None:
    """The rollups, cells and correlation tables, from `trajectory`."""
    categories = _categories(build.plan)
    for model_id in range(1, len(build.plan.study.models) + 1):
        gathered = _gathered("rollup_step", "rollup_trajectory", "cell_curve")
        for concepts in concept_ranges(build):
            named = prompts_naming(build, concepts)
            prompts = _gathered("rollup_prompt")
            for curves in rollups.read_curves(build.db, sql_text("curves.sql"), model_id, concepts):
                naming = named.get(curves.concept_id, NOBODY)
                rollups.roll_up(curves, categories, naming, {**gathered, **prompts})
            _insert_gathered(build, prompts)
        _insert_gathered(build, gathered)
        _insert_concept_correlations(build, model_id)
    _compare_models(build, categories)


def _gathered(*names: str) -> dict[str, rollups.Rows]:
    return {name: rollups.Rows() for name in names}


def _insert_gathered(build: Build, gathered: dict[str, rollups.Rows]) -> None:
    for name, rows in gathered.items():
        if len(rows):
            insert(build.db, name, rows.table())


def _categories(plan: Plan) -> rollups.Categories:
    """The categories in the order of the prompts."""
    names = tuple(dict.fromkeys(prompt.category for prompt in plan.prompts))
    position = {name: index for index, name in enumerate(names)}
    of_prompt = np.zeros(len(plan.prompts) + 1, int)
    for prompt in plan.prompts:
        of_prompt[prompt.position + 1] = position[prompt.category]
    return rollups.Categories(names, of_prompt)


def _insert_concept_correlations(build: Build, model_id: int) -> None:
    # All of the result: DuckDB refuses other work while one is unfinished.
    [(steps,)] = build.db.execute(sql_text("steps.sql"), {"model": model_id}).fetchall()
    total = steps or 0
    each = (len(build.plan.bank.concepts) + 1) * len(build.plan.prompts)
    at_once = max(1, rollups.FLOATS_AT_ONCE // max(1, each))
    for first in range(0, total, at_once):
        bounds = {"model": model_id, "first": first + 1, "last": min(first + at_once, total)}
        table = rollups.read_table(build.db, sql_text("prompt_curves.sql"), bounds)
        concepts = np.unique(table["concept_id"].to_numpy())
        means = rollups.matrix_of(table["similarity"])
        means = means.reshape(len(concepts), -1, means.shape[1])
        if means.shape[1] > 2:
            rows = rollups.concept_correlations(model_id, concepts, means, first)
            insert(build.db, "correlation_concept", rows)


def _compare_models(build: Build, categories: rollups.Categories) -> None:
    """What is told of pairs of models: `correlation_model` and `cell_pair`."""
    models = range(1, len(build.plan.study.models) + 1)
    if len(models) < 2:
        return
    query, log_snr = sql_text("curves.sql"), _log_snr(build)
    for concepts in concept_ranges(build):
        gathered = _gathered("correlation_model", "cell_pair")
        named = prompts_naming(build, concepts)
        by_concept: dict[int, dict[int, rollups.Curves]] = {}
        for model_id in models:
            for curves in rollups.read_curves(build.db, query, model_id, concepts):
                by_concept.setdefault(curves.concept_id, {})[model_id] = curves
        for concept, by_model in by_concept.items():
            naming = named.get(concept, NOBODY)
            pairs.compare_models(by_model, log_snr, categories, naming, gathered)
            rows = sum(map(len, gathered.values()))
            if rows > ROWS_AT_ONCE:
                _insert_gathered(build, gathered)
                gathered = _gathered(*gathered)
        _insert_gathered(build, gathered)


def _log_snr(build: Build) -> dict[int, ndarray]:
    """Each model's log-SNR per step, by model_id."""
    rows = build.db.execute(sql_text("log_snr.sql")).fetchall()
    return {model_id: np.array(levels) for model_id, levels in rows}


def insert_paths(build: Build) -> None:
    """`projection`, and `path` in a second look at the shards' embeddings alone."""
    if not build.vectors:
        return
    plane = projection.fit(np.concatenate(build.vectors))
    insert(build.db, "projection", plane.rows())
    columns = ["prompt_key", "seed", "status", "embedding"]
    for model_id, spec in enumerate(build.plan.study.models, start=1):
        for work_unit in build.plan.of_model(spec):
            entry = build.entries.get(work_unit.unit_id)
            if entry is None or not entry.has_shard or work_unit.unit_id in build.damaged:
                continue
            data = build.results.store.read(work_unit.unit_id)
            table = parse_shard(data, work_unit.unit_id, columns)
            positions = np.array([prompt.position for prompt in work_unit.prompts])
            chunk = tables.chunk_of(table, build.keys, model_id, positions).done()
            if len(chunk.table):
                part, embeddings = projection.embeddings_of(chunk)
                if len(embeddings):
                    insert(build.db, "path", plane.paths(part, embeddings))
