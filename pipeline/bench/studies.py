"""The studies that the benchmarks run."""

from __future__ import annotations

from pathlib import Path

from pipeline.bench.tools import ROOT
from pipeline.study.concepts import ConceptBank, read_concepts
from pipeline.study.plan import Plan, Revisions
from pipeline.study.prompts import Prompt, key_of
from pipeline.study.spec import (
    ConceptSource,
    Frames,
    Measures,
    ModelSpec,
    PromptSource,
    RunSettings,
    ScorerSpec,
    Study,
    ToolSpec,
)

MODEL = "scenes-unet"
CONCEPTS = 64
STEPS = 30
SHORT = 10  # steps where the number does not matter
BATCH = 8


def study_of(
    prompts: int,
    steps: int,
    seeds: int = 1,
    models: int = 1,
    measures: Measures | None = None,
    **run: int,
) -> tuple[Study, tuple[Prompt, ...], ConceptBank]:
    """A study of the bundled UNet with so many different prompts and 64 concepts."""
    folder = ROOT / "data" / "models"
    specs = tuple(
        ModelSpec(f"m{i}", f"m{i}", str(folder / MODEL), steps=steps) for i in range(models)
    )
    study = Study(
        name="bench",
        title="bench",
        description="",
        seeds=tuple(range(seeds)),
        prompts=PromptSource(Path("prompts.csv"), "csv", {}),
        scorer=ScorerSpec(str(folder / "scenes-clip")),
        concepts=ConceptSource(ROOT / "data" / "concepts" / "general.toml"),
        run=RunSettings(**{"batch_size": BATCH, "unit_prompts": BATCH, **run}),
        measures=measures or Measures(),
        models=specs,
        path=Path("bench.toml"),
    )
    bank = read_concepts(study.concepts)
    return study, made_prompts(prompts), ConceptBank(bank.name, bank.concepts[:CONCEPTS])


def made_prompts(count: int) -> tuple[Prompt, ...]:
    """So many prompts, all different."""
    texts = (f"a cat left of a rocket on a green background, number {i}" for i in range(count))
    return tuple(
        Prompt(key_of(text), text, f"bench:{i}", "", {}, i) for i, text in enumerate(texts)
    )


def plan_of(parts: tuple[Study, tuple[Prompt, ...], ConceptBank]) -> Plan:
    """The plan of a study whose files stay as they are."""
    study, prompts, bank = parts
    return Plan(study, Revisions({m.name: "bench" for m in study.models}, "bench"), prompts, bank)


FULL = Measures(frames=Frames(), attention=ToolSpec())
