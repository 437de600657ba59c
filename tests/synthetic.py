"""Whole results folders without a model: the real plan, engine, shards and publish around a worker made of arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fake_worker import FakeWorker

from pipeline import engine
from pipeline.concepts import read_concepts
from pipeline.database.publish import publish
from pipeline.plan import Plan, find_revisions, plan
from pipeline.prompts import read_prompts
from pipeline.study import ScorerSpec, Study, load_study

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


def plan_of(study: Study) -> Plan:
    """Its work units."""
    return plan(
        study,
        find_revisions(study),
        read_prompts(study.prompts).prompts,
        read_concepts(study.concepts),
    )


def with_scorers(study: Study, *further: ScorerSpec) -> Study:
    """The study with names for its scorers: the bundled one first, then others, or one that FakeWorker never loads."""
    first = replace(study.scorer, name="scenes-clip")
    return replace(study, scorer=first, further_scorers=further or (SECOND,))


def build_results(
    folder: Path,
    models: int = 3,
    prompts: int = 24,
    seeds: int = 2,
    steps: int = 12,
    scorers: int = 1,
) -> Path:
    """A results folder, run and published; returns the snapshot."""
    study = small_study(models, prompts, seeds, steps)
    made = plan_of(with_scorers(study) if scorers > 1 else study)
    engine.run(made, folder, "cpu", FakeWorker)
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
    pq.write_table(pa.Table.from_pylist(rows), extra / "localisation.parquet")
    rows = [
        {"model": m, "method": "df-cam", "step": s, "layers": "up", "share": 0.5, "spearman": 0.3, "samples": 3}
        for m in models for s in steps
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), extra / "randomisation.parquet")
