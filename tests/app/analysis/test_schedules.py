"""Entries that differ in their timestep schedule only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import schedules
from app.figures.source import Choice, open_study
from tests.support.database import asked_by_hand

MODELS = pd.DataFrame(
    {
        "model_id": [1, 2, 3],
        "label": ["a", "b", "c"],
        "source": ["x", "x", "y"],
        "revision": "r",
        "schedule": ["default", "late", "uniform"],
        "scheduler": "DDIMScheduler",
        "gamma": [np.nan, 60, np.nan],
        "steps": 30,
    }
)


def test_only_entries_of_the_same_weights_are_compared() -> None:
    assert schedules.comparable(MODELS) == {"a": [1, 2]}
    assert schedules.comparable(MODELS[MODELS["model_id"] != 2]) == {}


def test_one_entry_per_kind_with_the_largest_gamma() -> None:
    more = MODELS.iloc[[1]].assign(model_id=4, gamma=10.0)
    models = pd.concat([MODELS, more])
    assert schedules.entries(models)["model_id"].tolist() == [1, 4, 2]
    assert schedules.one_per_kind(models)["model_id"].tolist() == [1, 2]
    assert schedules.one_per_kind(models)["kind"].tolist() == ["uniform", "late"]


def test_a_familys_interval_has_the_prompt_as_its_unit(results: Path, tmp_path: Path) -> None:
    """Concepts of a family share prompts: they are averaged within a prompt before anything else."""
    study = open_study(str(results), Choice())
    concepts = list(study.scope.concepts)
    together = schedules.family_curves(study.ask_scope, concepts, every_seed=True)
    by_seed = schedules.family_curves(study.ask_scope, concepts, every_seed=False)
    pd.testing.assert_frame_equal(together, by_seed, rtol=1e-5)
    values = asked_by_hand(
        study.snapshot.path,
        tmp_path,
        "SELECT avg(t.similarity[3]) AS value FROM trajectory t JOIN mention USING (prompt_id, concept_id) "
        "JOIN concept c USING (concept_id) WHERE c.family = 'object' AND t.model_id = 1 GROUP BY t.prompt_id",
    )["value"]
    row = together.query("model_id == 1 and family == 'object' and step == 2").iloc[0]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert row["prompts"] == len(values)
    assert row["mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-5)
