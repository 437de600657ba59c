"""data/studies/causes.toml, cut to one model, two prompts and a few steps, and run twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.engine import run as engine
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study
from pipeline.study.spec import Measures, Study


def causes(measures: Measures, steps: int, *, model: str = "scenes-unet", batch_size: int = 4) -> Study:  # fmt: skip
    """The study with other measures, its prompts in one work unit."""
    study = load_study("data/studies/causes.toml")
    chosen = next(each for each in study.models if each.name == model)
    return replace(
        study,
        models=(replace(chosen, steps=steps),),
        prompts=replace(study.prompts, limit=2),
        measures=measures,
        run=replace(study.run, unit_prompts=2, batch_size=batch_size),
    )


def run_twice(study: Study, folder: Path) -> Path:
    """Runs a study of one work unit into two folders, asserts that they have the same content, and returns the first."""
    first, second = folder / "first", folder / "second"
    for out in (first, second):
        engine.run(plan_study(study), out, "cpu")
    contents = [
        {key: entry.content_sha256 for key, entry in Results(out).read_ledger().entries.items()}
        for out in (first, second)
    ]
    assert contents[0] == contents[1] and len(contents[0]) == 1
    assert [work_unit.unit_id for work_unit in load_plan(Results(first))] == list(contents[0])
    return first
