"""Answers are computed once for all readers who ask the same, and stay what they are whatever a reader does with them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from app.ui import queries
from app.ui.answers import Answers
from tests.support.pages import MAIN, at

LARGE = 2**20


@dataclass(frozen=True)
class Interval:
    """A record with a frame."""

    rows: pd.DataFrame


def test_readers_who_ask_at_the_same_time_wait_for_the_first():
    answers, begun, calls = Answers(8, LARGE), threading.Event(), []
    readers = threading.Barrier(8)

    def compute() -> pd.DataFrame:
        calls.append(1)
        assert begun.wait(60)
        return pd.DataFrame({"x": [1, 2]})

    def ask() -> None:
        readers.wait(60)
        got.append(answers.get("question", compute))

    got: list[pd.DataFrame] = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join(60)
    assert len(calls) == 1
    assert [each["x"].tolist() for each in got] == [[1, 2]] * 8


def test_what_a_reader_writes_into_an_answer_is_nobody_elses():
    answers = Answers(8, LARGE)
    first = answers.get("q", lambda: pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}))
    first["z"] = 1
    first.loc[0, "x"] = 9
    first["y"] = first["y"].str.upper()
    second = answers.get("q", lambda: pytest.fail("it is there"))
    assert second.to_dict("list") == {"x": [1, 2], "y": ["a", "b"]}


def test_a_question_that_failed_is_asked_again():
    answers = Answers(8, LARGE)
    with pytest.raises(ZeroDivisionError):
        answers.get("q", lambda: 1 / 0)
    assert answers.get("q", lambda: 7) == 7


def test_the_least_recently_used_make_room_by_number_and_by_size():
    answers = Answers(2, LARGE)
    for question in ("a", "b", "a", "c"):
        answers.get(question, lambda q=question: q)
    assert answers.get("a", lambda: "again") == "a"
    assert answers.get("b", lambda: "again") == "again"
    half = pd.DataFrame({"x": range(LARGE // 16)})
    small = Answers(9, LARGE)
    for question in ("a", "b", "c"):
        small.get(question, half.copy)
    assert len(small.get("a", lambda: pd.DataFrame())) == 0
    small.get("d", lambda: {"of": Interval(half)})
    assert small.get("c", lambda: "again") == "again", "records of frames count"
    small.clear()
    assert small.get("d", lambda: "again") == "again"


def test_two_sessions_with_the_same_filters_ask_the_database_once(
    results_copy: Path, monkeypatch: pytest.MonkeyPatch
):
    """Under another path than other tests' the study's answers are in no cache yet."""
    monkeypatch.setattr("sys.argv", ["app/main.py", str(results_copy)])
    asked: list[tuple[str, str]] = []
    answer = queries.snapshots.answer

    def counted(connection, name, parameters, scorer=1):
        asked.append((name, repr(parameters)))
        return answer(connection, name, parameters, scorer)

    monkeypatch.setattr(queries.snapshots, "answer", counted)
    assert not at(MAIN).run().exception
    first = len(asked)
    assert first
    assert len(set(asked)) == first
    assert not at(MAIN).run().exception
    assert len(asked) == first
