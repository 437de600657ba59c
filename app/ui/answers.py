"""Answers that all readers of the server share: what one reader's filters ask is computed once, and kept in memory.

Streamlit's `cache_data` writes every answer down and reads it anew each time, and hashes its arguments one by one: of a page with
40 questions that was a tenth of the processor time. pandas copies a frame where somebody writes to it, so that readers
can be handed the same one.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, is_dataclass
from threading import Lock
from typing import Any

import pandas as pd


@dataclass
class _Answer:
    """One answer, or its place while it is computed."""

    lock: Lock = field(default_factory=Lock)
    there: bool = False
    value: Any = None
    size: int = 0


class Answers:
    """The latest answers by their question; the least recently used ones make room.

    Args:
        most: answers.
        size: bytes of all data frames together.
    """

    def __init__(self, most: int, size: int) -> None:
        self.most = most
        self.size = size
        self._lock = Lock()
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._total = 0

    def get(self, question: Hashable, compute: Callable[[], Any]) -> Any:
        """The answer to a question, computed where it is not there; readers who ask at the same time wait for the first.

        Args:
            question: everything that the answer depends on.
            compute: gives the answer; what it raises is raised, and asked again the next time.
        """
        with self._lock:
            answer = self._answers.setdefault(question, _Answer())
            self._answers.move_to_end(question)
        if not answer.there:
            with answer.lock:
                if not answer.there:
                    self._compute(question, answer, compute)
        value = answer.value
        return value.copy(deep=False) if isinstance(value, pd.DataFrame) else value

    def clear(self) -> None:
        """Forget every answer."""
        with self._lock:
            self._answers.clear()
            self._total = 0

    def _compute(self, question: Hashable, answer: _Answer, compute: Callable[[], Any]) -> None:
        try:
            answer.value = compute()
        except BaseException:  # a page that stops half way raises too
            with self._lock:
                if self._answers.get(question) is answer:
                    del self._answers[question]
            raise
        answer.size = _size(answer.value)
        answer.there = True
        self._counted(question, answer)

    def _counted(self, question: Hashable, answer: _Answer) -> None:
        """Add a new answer's size, and drop the least recently used ones that are there while there is too much."""
        with self._lock:
            if self._answers.get(question) is not answer:
                return
            self._total += answer.size
            for old in list(self._answers):
                if len(self._answers) <= self.most and self._total <= self.size:
                    break
                if self._answers[old].there:
                    self._total -= self._answers.pop(old).size


def _size(value: Any) -> int:
    """The bytes of the data frames in a value, which may be a record or a mapping of them."""
    if isinstance(value, pd.DataFrame):
        kinds = zip(value.columns, value.dtypes, strict=True)
        return (
            8 * value.size
            + value.index.nbytes
            + sum(_beside(value[n]) for n, kind in kinds if kind.kind == "O")
        )
    parts = value.values() if isinstance(value, Mapping) else vars(value).values() if is_dataclass(value) else ()  # fmt: skip
    return sum(map(_size, parts))


SAMPLE = 32  # values of a column that stand for all of them where their bytes are counted


def _beside(column: pd.Series) -> int:
    """The bytes of what a column of texts, lists or images points to, by a sample of its rows; of images all of them."""
    rows = column.iloc[:: max(len(column) // SAMPLE, 1)].tolist()
    if any(isinstance(each, bytes) for each in rows):
        rows = column.tolist()
    return int(sum(map(sys.getsizeof, rows)) / max(len(rows), 1) * len(column))
