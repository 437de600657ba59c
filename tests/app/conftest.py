"""Fixtures of the app's tests: a view opened in AppTest, and a snapshot with its scope."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from app.ui import queries
from app.ui.queries import Scope, Snapshot
from tests.support.pages import open_view

__all__ = ["open_view"]


@pytest.fixture(scope="module")
def snapshot(results: Path) -> Snapshot:
    return queries.locate(results)


@pytest.fixture(scope="module")
def direct(snapshot: Snapshot) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same file, read without the app's queries."""
    copy = Path(snapshot.path).with_suffix(".copy.duckdb")
    shutil.copyfile(snapshot.path, copy)
    with duckdb.connect(str(copy), read_only=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def scope(snapshot: Snapshot) -> Scope:
    categories = tuple(queries.ask(snapshot, "categories")["category"])
    seeds = tuple(int(s) for s in queries.ask(snapshot, "study")["seeds"].iloc[0])
    return Scope(
        tuple(queries.ask(snapshot, "models")["model_id"].tolist()),
        tuple(queries.ask(snapshot, "concepts").query("concept_id > 0")["concept_id"].tolist()),
        categories,
        seeds,
        len(categories),
        len(seeds),
    )
