"""Emergence on the page: Kaplan-Meier against statsmodels, and schedules compared at the same noise."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from app.analysis import comparison, emergence
from app.figures.source import Choice, FigureStudy, open_study
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

STEPS = 24


def levels(schedule: int) -> np.ndarray:
    """Log-SNR per step: evenly spaced, dense near the noise, dense near the image."""
    u = np.linspace(0, 1, STEPS)
    return -6 + 12 * (u, u**1.6, 1 - (1 - u) ** 1.6)[schedule]


class SameInLogSnr(FakeWorker):
    """Three schedules of one model, whose trajectories are the same function of log-SNR but for their noise."""

    def _measured(self, work_unit, prompt):
        out = super()._measured(work_unit, prompt)
        similarities = levels([m.name for m in self.study.models].index(work_unit.model.name))
        rng = np.random.default_rng(prompt.position)
        noise = np.random.default_rng([prompt.position, len(work_unit.model.name), work_unit.seed])
        for trajectory in out["trajectories"]:
            onset = rng.normal(0, 0.8)
            named = trajectory["concept"].split("/")[-1] in prompt.text.split()
            rise = 0.1 / (1 + np.exp(-2 * (similarities - onset))) if named else 0
            curve = 0.15 + rise + noise.normal(0, 0.001, STEPS)
            trajectory["similarity"] = curve.astype(np.float32)
        for step, level in zip(out["steps"], similarities, strict=True):
            step["log_snr"] = float(level)
        return out


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FigureStudy:
    folder = Path(tmp_path_factory.mktemp("schedules"))
    plan = small_study(models=3, prompts=60, seeds=1, steps=STEPS, unit_prompts=30)
    measures = replace(plan.measures, embeddings=False)
    engine.run(plan_of(replace(plan, measures=measures)), folder, "cpu", SameInLogSnr)
    publish(folder)
    return open_study(str(folder), Choice())


def test_the_same_trajectory_differs_in_steps_and_not_in_log_snr(study: FigureStudy) -> None:
    outcomes = {}
    for axis in ("log_snr", "step"):
        table = comparison.what_differs(study, 1, axis=axis)
        title = comparison.EMERGENCE[axis].title
        outcomes[axis] = table[table["measure"].str.startswith(title)]
        assert outcomes[axis]["prompts"].max() > 20
    assert not (outcomes["log_snr"]["verdict"] == "separable").any()
    assert (outcomes["step"]["verdict"] == "separable").any()


def test_curves_at_the_same_noise_do_not_differ(study: FigureStudy) -> None:
    for axis, expected in (("log_snr", False), ("step", True)):
        grid = comparison.difference_grid(study, 1, [2, 3], axis=axis)
        cells = comparison.of_concepts(study, grid)
        assert (cells["significant"].mean() > 0.05) == expected


def test_restricted_means_are_those_of_kaplan_and_meier(study: FigureStudy, tmp_path: Path) -> None:
    """The area under statsmodels' survival function up to the last step; from the start is an event at step 0."""
    table = emergence.table(study, emergence.CONCEPT, named=False)
    copied = shutil.copy(study.snapshot.path, tmp_path)
    with duckdb.connect(copied, read_only=True) as con:
        for row in table[table["model_id"] == 1].head(8).itertuples():
            known = con.execute(
                "SELECT coalesce(emergence_step, len(similarity) - 1), outcome <> 'never' FROM trajectory "
                "WHERE model_id = 1 AND concept_id = ?",
                [row.concept_id],
            ).fetchall()
            time, event = (np.array(each) for each in zip(*known, strict=True))
            last = STEPS - 1
            curve = SurvfuncRight(time, event.astype(int))
            edges = np.array([0, *curve.surv_times, last], float)
            survival = np.array([1, *curve.surv_prob], float)
            area = float((survival * np.diff(edges)).sum())
            assert row.mean == pytest.approx(area)


def test_too_few_unnamed_prompts_are_said_and_not_counted(study: FigureStudy) -> None:
    table = emergence.table(study, emergence.CONCEPT, named=True)
    assert emergence.unknown_concepts(study, table) == 0
    one = replace(study, scope=replace(study.scope, models=(1,)))
    assert len(emergence.table(one, emergence.CONCEPT, named=True)) > 10
