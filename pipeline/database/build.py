"""A snapshot that is being built: its file, and what one pass over the shards gathers."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
from numpy import ndarray

from pipeline.database.snapshots import sql_text
from pipeline.database.tables import Keys
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.study.plan import Plan


@dataclass
class Build:
    """What one pass over the shards gathers."""

    plan: Plan
    keys: Keys
    results: Results
    entries: dict[str, LedgerEntry]
    db: duckdb.DuckDBPyConnection
    threads: int
    done: int = 0
    failed: int = 0
    damaged: dict[str, str] = field(default_factory=dict)  # unit id -> what is wrong with its shard
    content: Any = field(default_factory=hashlib.sha256)
    subset: frozenset[int] = frozenset()
    vectors: list[ndarray] = field(default_factory=list)

    @property
    def scorers(self) -> range:
        """The study's scorers by number, from 1."""
        return range(1, 1 + len(self.plan.study.scorers))


@contextmanager
def of_scorer(db: duckdb.DuckDBPyConnection, scorer: int) -> Iterator[None]:
    """Makes table names mean those of a scorer, 1 = the first; what it has none of its own of stays main's."""
    use = sql_text("use_scorer.sql")
    db.execute(use, {"schema": f"scorer_{scorer:d}" if scorer > 1 else "main"})
    try:
        yield
    finally:
        db.execute(use, {"schema": "main"})


def insert(db: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Adds an Arrow table, matched to the columns by name."""
    if len(rows):
        names = [c[0] for c in db.table(table).description]
        db.from_arrow(rows.select(names)).insert_into(table)


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its class; at most 300 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
