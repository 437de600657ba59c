"""The table of counts in docs/reliability.md is what the tests hold."""

from __future__ import annotations

from pathlib import Path

from tests.attacks import counts

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def test_there_is_as_much_as_is_asked_for() -> None:
    assert [row for row in counts.rows() if row[1] < max(1, row[2])] == []


def test_the_documents_table_is_true() -> None:
    assert counts.table() in DOCUMENT.read_text(), "python -m tests.attacks.counts"


def test_every_place_exists() -> None:
    here = Path(__file__).parent
    files = {where for *_, where in counts.rows() if where.endswith(".py")}
    assert all((here / where).is_file() for where in files)
