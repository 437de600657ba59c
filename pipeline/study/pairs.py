"""Pairs of prompts for prompt switching: each prompt of a study, and the same prompt without a concept (its base).

Bases come from columns of the prompt file (`base`, `base_colour`, ...) or from a template. The scene grammar writes such a
file: `python -m pipeline demo prompts`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.study.concepts import Concept
from pipeline.study.prompts import Prompt
from pipeline.study.spec import DIRECTIONS, Measures, ToolSpec
from pipeline.study.tools import FIELD

WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Pair:
    """A base of a prompt.

    Attributes:
        base: the text of the prompt to switch from.
        differs: what the two differ in, NAME of the column base_NAME; "" where nothing says it.
    """

    base: str
    differs: str = ""


def pairs_of(prompt: Prompt, switch: ToolSpec) -> tuple[Pair, ...]:
    """The bases of a prompt under a study's `switch`; none where it has no such column, or not all words of the template."""
    if switch.prompts is not None and prompt.position >= switch.prompts:
        return ()
    template = switch.options.get("template")
    if isinstance(template, str):
        base = _filled(template, prompt)
        return () if base is None else (Pair(base),)
    wanted = switch.options.get("bases")
    return tuple(
        Pair(base, name)
        for name, base in prompt.bases.items()
        if not isinstance(wanted, tuple) or name in wanted
    )


def _filled(template: str, prompt: Prompt) -> str | None:
    words = {"prompt": prompt.text, "category": prompt.category} | {
        role: " ".join(names) for role, names in prompt.roles.items()
    }
    if any(not words.get(name) for name in FIELD.findall(template)):
        return None
    return FIELD.sub(lambda match: words[match[1]], template)


def bases_spec(prompt: Prompt, switch: ToolSpec | None) -> list[list[list[str]]]:
    """What a prompt's bases add to the identity of its work unit: nothing where none is switched from."""
    pairs = () if switch is None else pairs_of(prompt, switch)
    return [[[pair.differs, pair.base] for pair in pairs]] if pairs else []


def differing_concepts(pair: Pair, text: str, bank: Sequence[Concept]) -> list[Concept]:
    """The concepts whose appearance a switch decides: named by the prompt and not by its base.

    Where both prompts are the same, all that it names of the family that the pair is said to differ in.
    """
    named, before = _words(text), _words(pair.base)
    if named == before:
        same = [c for c in bank if not pair.differs or c.family == pair.differs]
        return [c for c in same if _says(named, c.name)]
    return [c for c in bank if _says(named, c.name) and not _says(before, c.name)]


def named_concepts(text: str, bank: Sequence[Concept]) -> list[Concept]:
    """The concepts that a text names: the words of the concept's name, one after the other."""
    words = _words(text)
    return [concept for concept in bank if _says(words, concept.name)]


def _words(text: str) -> list[str]:
    """Runs of letters and digits, without case: as the table `mention` reads a text."""
    return WORDS.findall(text.lower())


def _says(words: Sequence[str], name: str) -> bool:
    wanted = _words(name)
    starts = range(len(words) - len(wanted) + 1)
    return bool(wanted) and any(list(words[i : i + len(wanted)]) == wanted for i in starts)


def directions_of(switch: ToolSpec) -> tuple[str, ...]:
    """The directions of a study's `switch`: both unless it names one."""
    named = switch.options.get("directions", DIRECTIONS)
    assert isinstance(named, tuple)
    return named


def pair_steps(switch: ToolSpec, total_steps: int) -> int:
    """Denoising steps that a pair costs: both plain images, and what each branch does not share with them."""
    directions = directions_of(switch)
    unshared = sum(total_steps - step for step in switch.after_start(total_steps))
    return 2 * total_steps + unshared * len(directions)


def judge_of(measures: Measures) -> str | None:
    """The folder of the judge of a study's switches and redraws, who is one."""
    tools = (measures.switch, measures.critical_windows)
    judges = [tool.options.get("judge") for tool in tools if tool is not None]
    return next((judge for judge in judges if isinstance(judge, str)), None)
