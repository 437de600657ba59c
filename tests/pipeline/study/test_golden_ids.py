"""Ids of work units that never change: results that exist are found again by them.

`tests/data/golden/ids.json` and `tools.json` were written by the code of 28 November 2026 from the study files beside it. They are the
project's own, and one that uses every key; every measure has the first version of its definition.
"""

import hashlib
import json
import tomllib
from pathlib import Path

import pytest

from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.plan import Plan, Revisions
from pipeline.study.prompts import Prompt
from pipeline.study.reading import parse_study
from pipeline.study.spec import Study, study_spec

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
IDS = json.loads((GOLDEN / "ids.json").read_text())
TOOLS = json.loads((GOLDEN / "tools.json").read_text())
ROLES = {"subject": ("cat",), "relation": ("left", "of"), "object": ("rocket",)}


def study_of(name: str) -> Study:
    """A study of that day, read without the files that it names."""
    path = GOLDEN / "studies" / f"{name}.toml"
    return parse_study(tomllib.loads(path.read_text()), path, check_files=False)


def revisions_of(study: Study) -> Revisions:
    """Revisions that depend on the study alone, not on the weights of the day."""

    def revision(source: str, default: str) -> str:
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        return f"sha256:{digest}" if source.startswith("data/") else default

    models = {m.name: revision(m.source, m.revision or "main") for m in study.models}
    models |= {f"{m.name}/steps_decoder": "main" for m in study.models if m.steps_decoder}
    bundled = "sha256:0123456789abcdef"
    first, *further = (
        bundled if s.source.startswith("data/") else s.pretrained for s in study.scorers
    )
    return Revisions(models, first, tuple(further))


def plan_of(study: Study) -> Plan:
    """The study's work units over twenty made-up prompts and two concepts."""
    prompts = [
        Prompt(
            prompt_key=f"{i:032x}",
            text=f"a cat left of a rocket, number {i}",
            source=f"list {i}",
            category="even" if i % 2 else "odd",
            roles=ROLES if i % 3 else {},
            position=i,
        )
        for i in range(20)
    ]
    red = Concept("red", "colour", ("a red background", "red"))
    cat = Concept("cat", "object", ("a cat",))
    bank = ConceptBank("bank", (red, cat))
    return Plan(study, revisions_of(study), prompts, bank, definitions={})


@pytest.mark.parametrize("name", sorted(IDS))
def test_ids_are_those_of_that_day(name):
    study = study_of(name)
    assert [work_unit.unit_id for work_unit in plan_of(study)] == IDS[name]
    again = parse_study(study_spec(study), study.path, check_files=False)
    assert [work_unit.unit_id for work_unit in plan_of(again)] == IDS[name], (
        "read from its own record"
    )


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_settings_of_tools_are_read_as_on_that_day(name):
    """They are part of the ids of what a tool measured."""
    values = tomllib.loads((GOLDEN / "studies" / "small.toml").read_text())
    values["measures"] = TOOLS[name]["measures"]
    study = parse_study(values, Path("small.toml"), check_files=False)
    unit_ids = {
        tool: [s.steps, s.stride, s.prompts, s.models, s.seeds, dict(s.options)]
        for tool, s in study.measures.tools().items()
    }
    assert json.loads(json.dumps(unit_ids)) == TOOLS[name]["tools"]
    assert parse_study(study_spec(study), study.path, check_files=False) == study


def test_every_study_is_there():
    assert sorted(IDS) == sorted(path.stem for path in (GOLDEN / "studies").glob("*.toml"))
