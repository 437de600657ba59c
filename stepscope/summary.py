"""A study in a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.figures.source import FigureStudy, spec_of

MOST_NAMES = 8
LONGEST = 200


def summary(view: FigureStudy, filters: Mapping[str, Any]) -> str:
    """Name, size, models, concepts and measures of a study, a line each; nothing in it can steer a terminal.

    Args:
        view: the study by its filters.
        filters: as they were given.
    """
    study, scope = view.study, view.scope
    prompts = len(view.ask_scope("prompts"))
    steps = sorted(set(view.models["steps"].astype(int)))
    lines = [
        f"Study {study['name']!r}: {study['title']}",
        f"  {view.path}, snapshot {int(study['snapshot'])}, content {str(study['content_hash'])[:12]}",
        f"  {_count(len(view.models), 'model')}: {_names(view.models['label'])}",
        f"  {_count(prompts, 'prompt')} × {_count(len(scope.seeds), 'seed')}, "
        f"{' or '.join(map(str, steps))} steps; {int(study['done_samples']):,} of {int(study['planned_samples']):,} samples done"
        f"{_failed(int(study['failed_samples']))}",
        f"  {_count(len(view.concepts), 'concept')} in {_count(len(view.families), 'family')}: {_names(view.families)}",
        f"  recorded: {_names(_recorded(view))}",
    ]
    if view.scorers:
        lines.append(f"  {_count(len(view.scorers), 'scorer')}: {_names(view.scorers)}")
    if filters:
        lines.append(
            f"  filters: {', '.join(f'{name}={value!r}' for name, value in filters.items())}"
        )
    return "\n".join(_printable(line) for line in lines)


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _failed(samples: int) -> str:
    return f", {samples:,} failed" if samples else ""


def _names(names: Any) -> str:
    every = [str(name) for name in names]
    more = f" … ({len(every) - MOST_NAMES} more)" if len(every) > MOST_NAMES else ""
    return (", ".join(every[:MOST_NAMES]) or "none") + more


def _recorded(view: FigureStudy) -> list[str]:
    """The measures that the study file asks for beside the concept curves."""
    measures = spec_of(view).get("measures")
    asked = measures if isinstance(measures, dict) else {}
    return [
        name for name, value in asked.items() if value and name not in ("protocol", "inception")
    ]


def _printable(line: str) -> str:
    """The line without control characters, at most `LONGEST` characters for what a stranger may have written."""
    plain = "".join(c if c.isprintable() else "�" for c in line)
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
