"""Frozen decisions: kept as they were, shown beside today's data; older files keep working."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.analysis import decisions, reviews
from app.analysis.reviews import PASS, UNDECIDED, Criterion, Review
from app.database import notebook
from app.database.notebook import ReviewError

CRITERION = Criterion("m", "higher", 0.0)
REVIEW = Review("", "", "Ada", "May it?", "a", "b", "seeds=1", 1, "h", (CRITERION,))


def verdicts(*gaps: float) -> list[reviews.Verdict]:
    base = np.linspace(0.2, 0.4, len(gaps))
    evidence = reviews.Evidence("higher", pd.DataFrame({1: base, 2: base + np.array(gaps)}))
    return [reviews.judge(CRITERION, {"m": evidence}, (1, 2))]


BETTER, UNCLEAR = verdicts(*[0.1, 0.12] * 5), verdicts(*[0.5, -0.5] * 5)


def test_a_decision_is_kept_with_every_number(tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    frozen = decisions.record("saved", "Ada", BETTER, 3, "hash", "second", "seeds=1")
    kept = reviews.keep(store, REVIEW, frozen)
    accepted = decisions.record("accept", "Bob", UNCLEAR, 4, "other", "", "")
    reviews.add_note(store, kept.review_id, "accept", "Bob", "Fine", 4, "other", accepted)
    (last, first), unreadable = decisions.of_review(store, kept.review_id)
    assert unreadable == 0
    assert (first.kind, first.snapshot, first.content_hash, first.scorer, first.filters) == ("saved", 3, "hash", "second", "seeds=1")  # fmt: skip
    assert (last.kind, last.author, last.verdict, first.verdict) == ("accept", "Bob", UNDECIDED, PASS)  # fmt: skip
    (row,) = first.rows
    expected = reviews.table(BETTER).iloc[0]
    for name in decisions.NUMBERS:
        assert row[name] == pytest.approx(expected[name], nan_ok=True), name


def test_it_stands_beside_what_the_data_say_today(tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    kept = reviews.keep(store, REVIEW, decisions.record("saved", "Ada", BETTER, 3, "hash", "", ""))
    (frozen,), _ = decisions.of_review(store, kept.review_id)
    (row,) = decisions.beside(frozen, UNCLEAR).to_dict("records")
    assert (row["then"], row["now"]) == (PASS, UNDECIDED)
    assert row["then_difference"] == pytest.approx(0.11) and row["now_difference"] == pytest.approx(0)  # fmt: skip
    (alone,) = decisions.beside(frozen, []).to_dict("records")
    assert alone["now"] == "" and np.isnan(alone["now_difference"])


@pytest.mark.parametrize(
    "numbers",
    ["", "7", "[]", "[{}]", "[" * 10_000, '[{"verdict": "maybe", "criterion": "c", "measure": "m"}]',
     '[{"verdict": "pass", "criterion": 1, "measure": "m"}]', '[{"verdict": "pass", "criterion": "c", "measure": "m", "p": "1"}]',
     '[{"verdict": "pass", "criterion": "c", "measure": "m", "p": true}]', '[{"verdict": ["pass"], "criterion": "c", "measure": "m"}]',
     json.dumps([{"verdict": "pass", "criterion": "c", "measure": "m"}] * 21)],
)  # fmt: skip
def test_a_decision_with_a_bad_value_is_counted_not_shown(numbers: str, tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    kept = reviews.keep(store, REVIEW, decisions.record("saved", "Ada", BETTER, 3, "hash", "", ""))
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE decision SET numbers = ?", (numbers,))
    assert decisions.of_review(store, kept.review_id) == ([], 1)


def test_a_file_of_before_frozen_decisions_is_read_and_written(tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    old = notebook.statement("schema").split("CREATE TABLE IF NOT EXISTS decision")[0]
    with sqlite3.connect(store) as connection:
        connection.executescript(old)
    assert decisions.of_review(store, "any") == ([], 0)
    reviews.keep(store, REVIEW, decisions.record("saved", "Ada", BETTER, 3, "hash", "", ""))
    assert len(reviews.all_reviews(store)) == 1 and not [*tmp_path.glob("*.damaged-*")]


def test_a_review_has_no_thresholds(tmp_path: Path) -> None:
    review = Review("", "", "Ada", "May it?", "a", "b", "", 1, "h", (Criterion("m", "higher", 0.0, 1.0),))  # fmt: skip
    with pytest.raises(ReviewError, match="a threshold is judged by `stepscope gate` alone"):
        reviews.keep(notebook.store_of(tmp_path), review)
