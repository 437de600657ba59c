"""Which part of a study is shown, as keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Literal, TypedDict

from stepscope.errors import StudyError

Names = str | Sequence[str]
Numbers = int | Sequence[int]


class Filters(TypedDict, total=False):
    """The part of a study that is shown, as the dashboard's filters choose it; what is left out means all.

    Attributes:
        models: labels or names of models.
        categories: of prompts.
        families: of concepts.
        seeds: of samples.
        slice: of the prompts, such as `{"text": "cat", "by": "final", "top": 20}`; keys as in the figures' `--slice`.
        scorer: name of the scorer whose numbers are shown, in a study of several; the first unless named.
        metric: name of a score that another program computed (`study.metrics`), in place of the CLIP score.
        axis: at what models are compared: log-snr, step or progress; log-snr where several models are shown, else step.
        pairs: which prompts count for a concept: named (those whose text names it) or all.
    """

    models: Names
    categories: Names
    families: Names
    seeds: Numbers
    slice: Mapping[str, Any] | Sequence[str]
    scorer: str
    metric: str
    axis: Literal["log-snr", "step", "progress"]
    pairs: Literal["named", "all"]


class FigureOptions(Filters, total=False):
    """What a figure takes beside the filters; the same as the options of `python -m app.figures`.

    Attributes:
        concepts: names of concepts.
        prompts: prompt_id or prompt_key.
        methods: of explanation.
        steps: denoising steps to show.
        baseline: label or name of the model that others are compared with.
        score: clip, structure or inception: of insertion and deletion.
        source: attention or relevance: of word values.
        rows: how many rows (prompts, concepts) at most.
        distance: name of a distance to a reference entry.
        threshold: of that distance, from which two images count as different.
    """

    concepts: Names
    prompts: Names | Numbers
    methods: Names
    steps: Numbers
    baseline: str
    score: str
    source: str
    rows: int
    distance: str
    threshold: float


def check_names(options: Mapping[str, Any], allowed: type) -> None:
    """Refuse a keyword that is not one of a TypedDict's.

    Raises:
        StudyError: names the keyword, the closest one that there is, and all of them.
    """
    known = list(allowed.__annotations__)
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, 1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise StudyError(
                f"{name}: there is no such filter.{meant} Allowed: {', '.join(known)}."
            )


def as_options(record: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments as the fields of a frozen record: a single value becomes a tuple where the field is one.

    Args:
        record: a dataclass with defaults.
        options: by field; None = not chosen.
    """
    defaults = {field.name: field.default for field in fields(record)}
    chosen = {name: value for name, value in options.items() if value is not None}
    return {
        name: _values(name, value) if isinstance(defaults[name], tuple) else value
        for name, value in chosen.items()
    }


def _values(name: str, value: Any) -> tuple[Any, ...]:
    if name == "slice" and isinstance(value, Mapping):
        return tuple(f"{key}={each}" for key, values in value.items() for each in _several(values))
    values = _several(value)
    if name in ("seeds", "steps"):
        return tuple(_whole(name, each) for each in values)
    return tuple(str(each) for each in values)


def _several(value: Any) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _whole(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = None
    if number is None or number != value:
        raise StudyError(f"{name}: {value!r} is not a whole number.")
    return number
