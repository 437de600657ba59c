"""A study of 50 million similarities for the app, without any sampling: 25,000 prompts (or fewer with more seeds), 4 models, 10 concepts, 50 steps.

Its curves rise where a prompt names the concept, prompts differ, models differ by a little in height and in time, and
the same prompt is hard for all of them, so that intervals, paired tests and ranks have something to find. Every sample
has the same picture; there are no maps and no words.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from pipeline.bench.folders import write_shards
from pipeline.bench.studies import plan_of, study_of
from pipeline.database.publish import publish
from pipeline.database.snapshots import SCHEMA_VERSION, schema_version
from pipeline.study.concepts import ConceptBank, read_concepts
from pipeline.study.plan import Plan, WorkUnit
from pipeline.study.prompts import Prompt, key_of
from pipeline.study.spec import Study

PROMPTS = 25_000
STEPS = 50
UNIT = 250  # prompts in a shard
MODELS = (("base", "default"), ("early", "early"), ("late", "late"), ("tuned", "default"))
NAMED = {
    "colour": ("red", "blue"),
    "texture": ("striped", "furry"),
    "layout": ("indoors", "outdoors"),
    "object": ("cat", "dog", "bicycle", "clock"),
}
CATEGORIES = ("animals", "vehicles", "food", "people", "indoor", "outdoor", "abstract", "counting")
STYLES = ("photograph", "painting", "drawing", "sketch", "poster", "postcard")
# How much later and higher than the first model each is: in steps of 50, and in cosine.
LATER = (0.0, -4.0, 5.0, -1.0)
HIGHER = (0.0, -0.002, 0.001, 0.004)


def bank() -> ConceptBank:
    """Ten concepts of four families of the general bank."""
    source = study_of(1, 1)[0].concepts
    names = {name for names in NAMED.values() for name in names}
    concepts = read_concepts(source)
    return ConceptBank(concepts.name, tuple(c for c in concepts.concepts if c.name in names))


def prompts(count: int) -> tuple[Prompt, ...]:
    """So many different prompts, each of which names some of the concepts."""
    rng = np.random.default_rng(0)
    return tuple(_prompt(rng, position) for position in range(count))


def _prompt(rng: np.random.Generator, position: int) -> Prompt:
    def one(names: tuple[str, ...]) -> str:
        return names[int(rng.integers(len(names)))]

    colour, texture, scene = (one(NAMED[f]) for f in ("colour", "texture", "layout"))
    subject, target = (one(NAMED["object"]) for _ in range(2))
    relation = one(("left of", "above", "beside"))
    start = f"a {one(STYLES)} of a {colour} {subject} {relation} a {texture} {target}"
    text = f"{start} {scene}, number {position}"
    roles = {
        "subject": (subject,),
        "relation": (relation,),
        "object": (target,),
        "attribute": (colour, texture),
    }
    return Prompt(key_of(text), text, f"bench.csv:{position + 1}", one(CATEGORIES), roles, position)


def study(models: int = len(MODELS), steps: int = STEPS, seeds: int = 1) -> Study:
    """The same model under three schedules, and one that was tuned."""
    plan = study_of(1, steps, seeds, models=models, unit_prompts=UNIT)[0]
    specs = tuple(
        replace(
            spec,
            name=name,
            label=name.capitalize(),
            schedule=schedule,
            gamma=None if schedule == "default" else 60.0,
        )
        for spec, (name, schedule) in zip(plan.models, MODELS, strict=True)
    )
    return replace(plan, title="A study of the size that the app is measured with", models=specs)


class Truth:
    """What the curves of a prompt are made of; the same for every model but for LATER and HIGHER."""

    def __init__(self, plan: Plan) -> None:
        rng = np.random.default_rng(1)
        count, concepts = len(plan.prompts), len(plan.bank.concepts)
        shape = (count, concepts + 1)
        named = [
            [True, *(c.name in prompt.text.split() for c in plan.bank.concepts)]
            for prompt in plan.prompts
        ]
        hard = rng.normal(0, 0.012, (count, 1))
        self.low = 0.17 + rng.normal(0, 0.008, shape) + rng.normal(0, 0.006, (1, concepts + 1))
        self.rise = np.where(np.array(named), rng.uniform(0.02, 0.1, shape), 0.004) + hard
        self.onset = rng.uniform(6, 30, (1, concepts + 1)) + rng.normal(0, 4, shape)

    def curves(self, work_unit: WorkUnit, model: int) -> np.ndarray:
        """What `write_shards` asks for."""
        rows = np.array([prompt.position for prompt in work_unit.prompts])
        rng = np.random.default_rng(
            [model, int(rows[0]), *([work_unit.seed] if work_unit.seed else [])]
        )
        steps = work_unit.model.steps
        step = np.linspace(0, STEPS - 1, steps)
        onset = self.onset[rows] + LATER[model]
        height = self.rise[rows] + HIGHER[model] + rng.normal(0, 0.004, onset.shape)
        curve = self.low[rows, :, None] + height[..., None] / (
            1 + np.exp((onset[..., None] - step) / 3)
        )
        curve += rng.normal(0, 0.003, curve.shape)
        both = np.concatenate([curve[:, 0], curve[:, 1:].reshape(-1, steps)])
        return both.astype(np.float32)


def picture() -> bytes:
    """A small picture."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(out, "WEBP", lossless=True)
    return out.getvalue()


def build(folder: Path, count: int = PROMPTS, seeds: int = 1) -> int:
    """Writes the study where it is not there yet, publishes it where this version has not. Returns its number of similarities."""
    plan = plan_of((study(seeds=seeds), prompts(count), bank()))
    size = len(MODELS) * count * seeds * len(plan.bank.concepts) * STEPS
    if not (folder / "current.json").exists():
        truth = Truth(plan)
        position = {name: index for index, (name, _) in enumerate(MODELS)}
        write_shards(
            folder,
            plan,
            lambda work_unit: truth.curves(work_unit, position[work_unit.model.name]),
            picture(),
        )
    if schema_version(folder) != SCHEMA_VERSION:
        publish(folder)
    return size
