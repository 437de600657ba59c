"""Criteria files: a review's question as TOML, for `stepscope gate`. Read with limits, written so that it reads the same.

The file names the models, the part of the study (`[filters]`, as in the dashboard's link) and the criteria. Whoever
wrote it is not trusted: its size, every key and every value are checked, and the first mistake is one line.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from app.analysis import reviews, slices
from app.analysis.reading import NO_CATEGORY
from app.analysis.reviews import LARGEST_MARGIN, MOST_CRITERIA, Criterion, Review
from app.database.notebook import printable
from app.database.plain_files import read_plain

LARGEST_FILE = 64 * 1024  # bytes
LONGEST_NAME = 300
MOST_NAMES = 200
QUESTION = "May the candidate replace the baseline?"
KEYS = ("question", "baseline", "candidate", "filters", "criterion")
FILTERS = ("models", "families", "categories", "seeds", "slice", "scorer")
CRITERION = ("measure", "direction", "margin", "threshold")
LARGEST_SEED = 2**63


class CriteriaError(Exception):
    """A criteria file that cannot be used: the file, the key, its value, and what is allowed."""


@dataclass(frozen=True)
class Gate:
    """What a candidate must do, and on which part of a study.

    Attributes:
        baseline: a model's name or label.
        candidate: another's.
        criteria: 1 to MOST_CRITERIA; a direction of '' is the measure's own.
        question: for a reader.
        filters: by the keys of FILTERS; what is left out means all. Texts and whole numbers; scorer is one text.
    """

    baseline: str
    candidate: str
    criteria: tuple[Criterion, ...]
    question: str = QUESTION
    filters: Mapping[str, Any] = field(default_factory=dict)

    def sha256(self) -> str:
        """The hash of what is asked, whatever the layout of its file."""
        return hashlib.sha256(written(self).encode()).hexdigest()

    def query(self) -> str:
        """The filters as the dashboard's link has them."""
        held = {key: list(value) for key, value in self.filters.items() if key not in ("slice", "scorer")}  # fmt: skip
        if "categories" in held:
            held["categories"] = [each or NO_CATEGORY for each in held["categories"]]
        state = slices.parsed(self.filters.get("slice", ()))
        scorer = {"scorer": self.filters["scorer"]} if "scorer" in self.filters else {}
        return urlencode({**held, **scorer, **state}, doseq=True)


def of_review(review: Review) -> Gate:
    """The criteria of a saved review.

    Raises:
        CriteriaError: its filters hold what no slice can.
    """
    held = parse_qs(review.filters, keep_blank_values=True)
    filters: dict[str, Any] = {
        key: tuple(held[key]) for key in ("models", "families") if key in held
    }
    if "categories" in held:
        filters["categories"] = tuple("" if c == NO_CATEGORY else c for c in held["categories"])
    if "seeds" in held:
        filters["seeds"] = tuple(_seed("the review", text) for text in held["seeds"])
    state = {key: held[key] for key in slices.KEYS if key in held and key != "categories"}
    words = [f"{key.removeprefix('slice_')}={v}" for key, values in state.items() for v in values]
    if words:
        filters["slice"] = _slice("the review", words)
    if held.get("scorer"):
        filters["scorer"] = held["scorer"][0]
    question = " ".join(review.question.split())[: reviews.LONGEST["question"]].strip() or QUESTION
    return Gate(review.baseline, review.candidate, review.criteria, question, filters)


def _seed(where: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CriteriaError(f"{where}: seeds has {text!r}. Give whole numbers.") from None


def _slice(where: str, words: Iterable[str]) -> tuple[str, ...]:
    try:
        return slices.tokens(slices.parsed(list(words)))
    except ValueError as error:
        raise CriteriaError(f"{where}: slice: {error}") from error


def read(path: Path) -> Gate:
    """A criteria file, checked.

    Raises:
        CriteriaError: one line about the first mistake.
    """
    try:
        values = tomllib.loads(read_plain(path, LARGEST_FILE).decode("utf-8"))
    except FileNotFoundError:
        raise CriteriaError(
            f"{path}: there is no such file. The page Review saves one; docs/gate.md shows one."
        ) from None
    except OSError as error:
        raise CriteriaError(f"{path}: {error.strerror or error}. Give a regular file of at most {LARGEST_FILE:,} bytes.") from error  # fmt: skip
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = printable(str(error)).splitlines()[0][:200]
        raise CriteriaError(f"{path}: not TOML in UTF-8: {reason}.") from error
    return parsed(values, path.name)


def parsed(values: Mapping[str, Any], where: str) -> Gate:
    """The values of a criteria file, checked.

    Args:
        values: of its TOML.
        where: the file, for messages.

    Raises:
        CriteriaError: one line about the first mistake.
    """
    _check_keys(where, values, KEYS)
    listed = values.get("criterion")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_CRITERIA:
        number = len(listed) if isinstance(listed, list) else 0
        raise CriteriaError(f"{where}: {number} criteria. Write 1 to {MOST_CRITERIA} tables [[criterion]].")  # fmt: skip
    baseline, candidate = (_text(where, values, key) for key in ("baseline", "candidate"))
    if baseline == candidate:
        raise CriteriaError(f"{where}: baseline and candidate are both {baseline!r}. Name two models.")  # fmt: skip
    question = _text(where, {"question": QUESTION, **values}, "question", reviews.LONGEST["question"])  # fmt: skip
    criteria = tuple(_criterion(f"{where}: criterion {i}", each) for i, each in enumerate(listed, 1))  # fmt: skip
    return Gate(baseline, candidate, criteria, question, _filters(where, values.get("filters", {})))


def _check_keys(where: str, table: Any, allowed: Iterable[str]) -> None:
    if not isinstance(table, Mapping):
        raise CriteriaError(f"{where}: {_shown(table)} is not a table. Keys: {', '.join(allowed)}.")
    for key in table:
        if key not in allowed:
            close = get_close_matches(key, list(allowed), 1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise CriteriaError(f"{where}: there is no key {_shown(key)}.{meant} Allowed: {', '.join(allowed)}.")  # fmt: skip


def _shown(value: Any) -> str:
    """A value of the file in a message: on one line, not long."""
    text = printable(repr(value))
    return text if len(text) <= 80 else text[:77] + "..."


def _text(where: str, table: Mapping[str, Any], key: str, most: int = LONGEST_NAME) -> str:
    if key not in table:
        raise CriteriaError(f"{where}: {key} is missing. Give a text.")
    return _checked_text(where, key, table[key], most)


def _checked_text(where: str, key: str, value: Any, most: int = LONGEST_NAME) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= most or value != printable(value) or "\n" in value:  # fmt: skip
        raise CriteriaError(f"{where}: {key} = {_shown(value)}. Give a text of 1 to {most} printable characters.")  # fmt: skip
    return value


def _criterion(where: str, table: Any) -> Criterion:
    _check_keys(where, table, CRITERION)
    direction = table.get("direction", "")
    if direction not in ("", "higher", "lower"):
        raise CriteriaError(f"{where}: direction = {_shown(direction)}. Allowed: higher, lower.")
    measure = _text(where, table, "measure")
    if ("margin" in table) == ("threshold" in table):
        raise CriteriaError(
            f"{where}: give margin (how much worse than the baseline is tolerated) or threshold (what the candidate's mean must "
            "reach), one of them."
        )
    if "threshold" in table:
        return Criterion(measure, direction, 0.0, _number(where, "threshold", table["threshold"]))
    return Criterion(measure, direction, _number(where, "margin", table["margin"]))


def _number(where: str, key: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < LARGEST_MARGIN:  # fmt: skip
        raise CriteriaError(f"{where}: {key} = {_shown(value)}. Give a number between -{LARGEST_MARGIN:g} and {LARGEST_MARGIN:g}.")  # fmt: skip
    return float(value)


def _filters(where: str, table: Any) -> dict[str, Any]:
    name = f"{where}: filters"
    _check_keys(name, table, FILTERS)
    out: dict[str, Any] = {}
    for key, value in table.items():
        if key == "scorer":
            out[key] = _checked_text(name, key, value)
        elif not isinstance(value, list) or not 1 <= len(value) <= MOST_NAMES:
            raise CriteriaError(f"{name}: {key} = {_shown(value)}. Give a list of 1 to {MOST_NAMES}.")  # fmt: skip
        elif key == "seeds":
            out[key] = tuple(_checked_seed(name, each) for each in value)
        elif key == "slice":
            out[key] = _slice(name, [_checked_text(name, key, each) for each in value])
        else:
            empty = key == "categories"  # prompts without a category
            out[key] = tuple("" if empty and each == "" else _checked_text(name, key, each) for each in value)  # fmt: skip
    return out


def _checked_seed(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < LARGEST_SEED:
        raise CriteriaError(f"{where}: seeds has {_shown(value)}. Give whole numbers from 0.")
    return value


def written(gate: Gate) -> str:
    """The criteria as the text of a file that `read` reads back the same."""
    lines = [
        "# Criteria of a review, for `stepscope gate DIR --criteria FILE` (docs/gate.md lists the keys).",
        f"question = {_quoted(gate.question)}",
        f"baseline = {_quoted(gate.baseline)}",
        f"candidate = {_quoted(gate.candidate)}",
    ]
    if gate.filters:
        lines += ["", "[filters]"]
        lines += [f"{key} = {_quoted(value)}" for key, value in gate.filters.items()]
    for each in gate.criteria:
        lines += ["", "[[criterion]]", f"measure = {_quoted(each.measure)}"]
        lines += [f"direction = {_quoted(each.direction)}"] if each.direction else []
        if each.threshold is None:
            lines.append(f"margin = {float(each.margin)!r}")
        else:
            lines.append(f"threshold = {float(each.threshold)!r}")
    return "\n".join([*lines, ""])


def _quoted(value: Any) -> str:
    """A text, a number, or several, as TOML: what JSON writes, of texts without control characters."""
    if isinstance(value, tuple):
        return f"[{', '.join(_quoted(each) for each in value)}]"
    return json.dumps(" ".join(printable(value).split()) if isinstance(value, str) else value, ensure_ascii=False)  # fmt: skip
