"""Curves of a few concepts at a time, and which prompts name them, so that memory does not grow with the bank."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from pipeline.database import rollups
from pipeline.database.build import Build
from pipeline.database.snapshots import sql_text


def concept_ranges(build: Build) -> Iterator[range]:
    """Ranges of concept ids, each as large as one model's curves fit into memory together."""
    plan = build.plan
    steps = max(model.steps for model in plan.study.models)
    rows = len(plan.prompts) * len(plan.study.seeds)
    return rollups.concept_ranges(len(plan.bank.concepts) + 1, rows, steps)


def prompts_naming(build: Build, concepts: range) -> dict[int, Int[ndarray, " p"]]:
    """prompt_ids that name each concept of a range, ascending; none for one that no prompt names."""
    bounds = {"first": concepts.start, "last": concepts.stop - 1}
    table = rollups.read_table(build.db, sql_text("mentions.sql"), bounds)
    keys, starts = np.unique(table["concept_id"].to_numpy(), return_index=True)
    parts = np.split(table["prompt_id"].to_numpy(), starts[1:])
    return dict(zip(keys.tolist(), parts, strict=False))
