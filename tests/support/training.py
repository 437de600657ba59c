"""A published study of one training run with planted effects: what is learned and forgotten is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np

from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.study.spec import Study
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

STEPS = tuple(range(1000, 9000, 1000))
PROMPTS = 48
LIFT = 0.1  # of a concept that is there
NOISE = 0.02


def run_study(steps: tuple[int, ...] = STEPS, prompts: int = PROMPTS, seeds: int = 1) -> Study:
    """The small study with checkpoints of one run as its models."""
    study = small_study(models=1, prompts=prompts, seeds=seeds, steps=3)
    entries = tuple(
        replace(study.models[0], name=f"run-{step}", label=f"run {step:,}", run="run", training_step=step)
        for step in steps
    )  # fmt: skip
    return replace(study, models=entries)


def publish_run(folder: Path, study: Study) -> Path:
    """Runs and publishes the study with a worker made of arithmetic; returns the snapshot."""
    engine.run(plan_of(study), folder, "cpu", FakeWorker)
    return publish(folder).path


def plant(snapshot: Path, there: dict[str, range], seed: int = 0) -> None:
    """Gives images the similarities of a run that has learned each family at some of its checkpoints.

    Args:
        snapshot: the database, which is changed.
        there: family -> the places of the checkpoints, from 1, at which images show its concepts; other families never.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    with duckdb.connect(str(snapshot)) as db:
        rows = db.sql(
            "SELECT t.sample_id, t.model_id, t.concept_id, c.family, m.prompt_id IS NOT NULL AS named FROM trajectory t "
            "JOIN concept c USING (concept_id) LEFT JOIN mention m USING (prompt_id, concept_id) ORDER BY ALL"
        ).df()
        shown = [number in there.get(family, ()) for family, number in zip(rows["family"], rows["model_id"], strict=True)]  # fmt: skip
        lift = LIFT * (np.array(shown) & rows["named"].to_numpy(bool))
        rows["final"] = 0.2 + lift + rng.normal(0, NOISE, len(rows))
        db.register("planted", rows)
        db.execute(
            "UPDATE trajectory SET final = p.final FROM planted p "
            "WHERE trajectory.sample_id = p.sample_id AND trajectory.concept_id = p.concept_id"
        )
        samples = db.sql("SELECT sample_id, model_id, prompt_id FROM sample ORDER BY ALL").df()
        hard = rng.normal(0, 0.05, samples["prompt_id"].max() + 1)  # the same at every checkpoint
        better = 0.02 * np.minimum(samples["model_id"], 5)
        samples["score"] = 0.2 + hard[samples["prompt_id"]] + better + rng.normal(0, 0.01, len(samples))  # fmt: skip
        db.register("scored", samples)
        db.execute("UPDATE sample SET clip_score = s.score FROM scored s WHERE sample.sample_id = s.sample_id")  # fmt: skip
