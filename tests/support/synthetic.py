"""Whole results folders without a model: the real plan, engine, shards and publish around a worker made of arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.study.plan import plan_study as plan_of
from pipeline.study.reading import load_study
from pipeline.study.spec import ScorerSpec, Study
from tests.support.fake_worker import FakeWorker

__all__ = ["plan_of"]  # the study's work units, as the command line makes them

NAMES = ("scenes-unet", "scenes-unet-short", "scenes-dit")
LABELS = ("UNet", "UNet (quarter)", "Transformer")
SECOND = ScorerSpec("ViT-B-32", "openai", "ViT-B-32-openai")


def small_study(
    models: int = 2, prompts: int = 8, seeds: int = 2, steps: int = 6, **run: int
) -> Study:
    """The small study with other counts; only its prompts and concepts are read, never its weights."""
    study = load_study("data/studies/small.toml", seeds=range(seeds))
    named = list(zip(NAMES, LABELS, strict=True))[:models]
    entries = tuple(
        replace(study.models[0], name=n, label=label, steps=steps) for n, label in named
    )
    if models > 2:  # the same weights under another schedule
        late = {"scheduler": "DPMSolverMultistepScheduler", "schedule": "late", "gamma": 60.0}
        entries = (*entries[:2], replace(entries[2], **late), *entries[3:])
    source = replace(study.prompts, sample=prompts)
    return replace(
        study, models=entries, prompts=source, run=replace(study.run, **{"unit_prompts": 4, **run})
    )


def with_scorers(study: Study, *further: ScorerSpec) -> Study:
    """The study with names for its scorers: the bundled one first, then others, or one that FakeWorker never loads."""
    first = replace(study.scorer, name="scenes-clip")
    return replace(study, scorer=first, further_scorers=further or (SECOND,))


def of_one_run(study: Study) -> Study:
    """The study whose UNets are what they are: two checkpoints of one training run."""
    steps = {"scenes-unet": 12_000, "scenes-unet-short": 3_000}
    entries = (
        replace(each, run="scenes-unet", training_step=steps[each.name])
        if each.name in steps
        else each
        for each in study.models
    )
    return replace(study, models=tuple(entries))


def build_results(
    folder: Path,
    models: int = 3,
    prompts: int = 24,
    seeds: int = 2,
    steps: int = 12,
    scorers: int = 1,
) -> Path:
    """A results folder, run and published; returns the snapshot."""
    study = of_one_run(small_study(models, prompts, seeds, steps))
    plan = plan_of(with_scorers(study) if scorers > 1 else study)
    engine.run(plan, folder, "cpu", FakeWorker)
    write_trust(folder, NAMES[:models], range(0, steps, 4))
    return publish(folder).path


def write_trust(folder: Path, models, steps) -> None:
    """The tables of `demo trust`."""
    extra = folder / "extra"
    extra.mkdir(exist_ok=True)
    rows = [
        {"model": m, "scene": scene, "step": s, "method": method, "word": "cat", "pointing": 1.0, "iou": 0.5,
         "average_precision": 0.6 if method != "random" else 0.2, "mask_share": 0.2}
        for m in models for scene in range(3) for s in steps for method in ("df-cam", "random")
    ]  # fmt: skip
    of_layers = [row | {"layer": "mid", "average_precision": 0.5} for row in rows]
    rows = [row | {"layer": "all"} for row in rows]
    rows += [row for row in of_layers if row["method"] == "df-cam"]
    pq.write_table(pa.Table.from_pylist(rows), extra / "localisation.parquet")
    rows = [
        {"model": m, "method": "df-cam", "step": s, "layers": "up", "share": 0.5, "spearman": 0.3, "samples": 3}
        for m in models for s in steps
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), extra / "randomisation.parquet")
