"""Parts of a study: which work units belong to part i of n, on every machine and in whatever order parts are run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import StoreError
from pipeline.study.plan import Plan, WorkUnit

MAX_PARTS = 10_000
_NAME = re.compile(r"(\d{5})-of-(\d{5})")


@dataclass(frozen=True, order=True)
class Part:
    """Part `number` of `of`, counted from 1."""

    of: int
    number: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """As its files begin: names sort as numbers do."""
        return f"{self.number:05d}-of-{self.of:05d}"


def parse_part(text: str) -> Part:
    """A part as the command line gives it, such as "3/16".

    Raises:
        StoreError: it is no part.
    """
    match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text, re.ASCII)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of <= MAX_PARTS:
        raise StoreError(
            f"--part {text}: no such part. Give I/N with 1 <= I <= N <= {MAX_PARTS:,}, such as 3/16."
        )
    return Part(of, number)


def part_of_file(name: str) -> Part | None:
    """The part that a file of `parts/` belongs to; None where its name tells none."""
    match = _NAME.match(name)
    return Part(int(match[2]), int(match[1])) if match else None


def deal(plan: Plan, of: int) -> list[list[int]]:
    """The positions in the plan of each part's work units.

    Work units are sorted by what explanation tools do on them, by model and by id, then dealt like cards. So the split
    does not depend on the order of models or seeds in the study file, and no part gets all that is expensive:
    tools that see only the first prompts or seeds are dealt out too.

    Returns: `of` lists, whose lengths differ by one at most, each in the order of the plan.
    """
    ranked = sorted(
        (-_explained(plan, work_unit), work_unit.model.name, work_unit.unit_id, position)
        for position, work_unit in enumerate(plan)
    )
    positions = [position for *_, position in ranked]
    return [sorted(positions[start::of]) for start in range(of)]


def work_units_of(plan: Plan, part: Part) -> list[WorkUnit]:
    """The work units of a part, in the order of the plan: each model is opened once."""
    return [plan[position] for position in deal(plan, part.of)[part.number - 1]]


def _explained(plan: Plan, work_unit: WorkUnit) -> int:
    """How often tools look at a work unit: prompts times steps, over all tools."""
    measures = plan.study.measures.of(work_unit.model.name, plan.study.seeds.index(work_unit.seed))
    first, total = work_unit.prompts[0].position, 0
    for tool in measures.tools().values():
        most = len(plan.prompts) if tool.prompts is None else tool.prompts
        total += min(max(most - first, 0), len(work_unit)) * len(tool.at(work_unit.model.steps))
    return total
