"""From staged curves to `trajectory` and `contrast`: when each concept emerges needs all prompts of a model."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy import ndarray

from pipeline.database import rollups
from pipeline.database.build import Build, insert
from pipeline.database.concepts import concept_ranges, prompts_naming
from pipeline.database.snapshots import sql_text
from pipeline.database.tables import floats, wholes
from pipeline.metrics.emergence import OUTCOMES, Contrast, emergence_of, outcomes


def insert_trajectories(build: Build, model_id: int, scorer: int) -> None:
    """One scorer's staged curves of a model, sorted by concept, prompt and seed, with their emergence."""
    query = sql_text("staged.sql")
    for concepts in concept_ranges(build):
        bounds = {"scorer": scorer, "first": concepts.start, "last": concepts.stop - 1}
        table = rollups.read_table(build.db, query, bounds)
        if not len(table):
            continue
        first, crossed, outcome, contrasts = _emergence(table, prompts_naming(build, concepts))
        table = table.append_column("emergence_step", wholes(first))
        table = table.append_column("crossing", floats(crossed))
        table = table.append_column("outcome", _texts(outcome))
        insert(build.db, "trajectory", table)
        insert(build.db, "contrast", _contrast_rows(model_id, contrasts))


def _emergence(
    table: Any, naming: dict[int, ndarray]
) -> tuple[ndarray, ndarray, ndarray, dict[int, Contrast]]:
    """First step, crossing and outcome of each row (NaN and -1 where unknown), and the contrast of each concept."""
    concept, prompt = table["concept_id"].to_numpy(), table["prompt_id"].to_numpy()
    curves = rollups.matrix_of(table["similarity"])
    step, crossed = np.full((2, len(table)), np.nan)
    outcome = np.full(len(table), -1, np.int8)
    contrasts: dict[int, Contrast] = {}
    edges = [0, *(np.flatnonzero(np.diff(concept)) + 1).tolist(), len(concept)]
    for start, stop in pairwise(edges):
        each, rows = int(concept[start]), slice(start, stop)
        if each == 0:  # every prompt is its own: there is nothing to contrast it with
            continue
        named = np.isin(prompt[rows], naming.get(each, np.zeros(0, int)))
        contrasts[each], first, between = emergence_of(curves[rows], prompt[rows], named)
        if first is not None:
            step[rows], crossed[rows], outcome[rows] = first, between, outcomes(first)
    return step, crossed, outcome, contrasts


def _texts(outcome: ndarray) -> pa.Array:
    """Places in OUTCOMES as their names; NULL for -1."""
    return pa.array(OUTCOMES, pa.string()).take(pa.array(outcome, mask=outcome < 0))


def _contrast_rows(model_id: int, contrasts: dict[int, Contrast]) -> pa.Table:
    if not contrasts:
        return pa.table({})
    count = len(contrasts)
    each = list(contrasts.values())
    return pa.table(
        {
            "model_id": np.full(count, model_id, np.int32),
            "concept_id": np.array(list(contrasts), np.int32),
            "unnamed": np.array([c.unnamed for c in each], np.int32),
            "baseline": _lists([c.baseline for c in each]),
            "threshold": _lists([c.threshold for c in each]),
        }
    )


def _lists(rows: list[ndarray]) -> pa.Array:
    """Lists per step; NULL where they are unknown."""
    matrix = np.stack(rows)
    known = np.isfinite(matrix).all(1)
    offsets = pa.array(np.arange(len(rows) + 1) * matrix.shape[1], pa.int32())
    values = pa.array(matrix.reshape(-1), pa.float32())
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(~known))
