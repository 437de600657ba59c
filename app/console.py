"""A reader's own SQL on a snapshot: one SELECT, read-only, nothing outside the database. No Streamlit.

The connection is sandboxed (`snapshots.SANDBOX`); on top of that only one statement that reads is
run, it is interrupted after a time limit, and rows and cells are cut.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import duckdb
import pandas as pd
import snapshots
from snapshots import Snapshot

SECONDS = 10.0
ROWS = 10_000
CELL = 4_000
LONGEST = 20_000
READS = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN})
# Functions that read the process rather than the study.
HIDDEN = ("getenv", "duckdb_secrets", "which_secret", "duckdb_logs", "write_log")


class ConsoleError(Exception):
    """A statement that is not run, or that failed: what the reader is told."""


@dataclass(frozen=True)
class Answer:
    """Rows of a statement.

    Attributes:
        rows: at most ROWS of them; bytes are shown by their number.
        cut: whether there are more.
        seconds: that it took.
    """

    rows: pd.DataFrame
    cut: bool
    seconds: float


@dataclass(frozen=True)
class Example:
    """A question with its statement."""

    title: str
    sql: str


EXAMPLES = (
    Example(
        "CLIP score per model",
        "SELECT m.label AS model, count(*) AS samples, avg(s.clip_score) AS clip_score\n"
        "FROM sample AS s JOIN model AS m USING (model_id)\n"
        "WHERE s.status = 'done'\nGROUP BY ALL ORDER BY clip_score DESC",
    ),
    Example(
        "Mean similarity per step, with its 95 % interval",
        "SELECT m.label AS model, r.step, r.mean, r.low, r.high\n"
        "FROM rollup_step AS r JOIN model AS m USING (model_id)\n"
        "WHERE r.concept_id = 0 AND r.category = ''\nORDER BY model, step",
    ),
    Example(
        "Which concepts emerge first",
        "SELECT c.family, c.name, avg(t.emergence_step) AS step, count(t.emergence_step) AS samples\n"
        "FROM trajectory AS t JOIN concept AS c USING (concept_id)\n"
        "WHERE c.concept_id > 0\nGROUP BY ALL HAVING samples >= 3 ORDER BY step LIMIT 50",
    ),
    Example(
        "Prompts on which the models disagree most",
        "SELECT p.text, max(s.clip_score) - min(s.clip_score) AS gap\n"
        "FROM sample AS s JOIN prompt AS p USING (prompt_id)\n"
        "GROUP BY ALL ORDER BY gap DESC NULLS LAST LIMIT 20",
    ),
    Example(
        "Failures by reason",
        "SELECT m.label AS model, f.stage, f.error, count(*) AS samples\n"
        "FROM failure AS f JOIN model AS m USING (model_id)\nGROUP BY ALL ORDER BY samples DESC",
    ),
    Example(
        "A trajectory as rows",
        "SELECT step - 1 AS step, similarity[step] AS similarity\n"
        "FROM (SELECT similarity, unnest(generate_series(1, len(similarity))) AS step\n"
        "      FROM trajectory WHERE concept_id = 0 ORDER BY sample_id LIMIT 1)",
    ),
)


def run(snapshot: Snapshot, sql: str, seconds: float = SECONDS, rows: int = ROWS) -> Answer:
    """The rows of one reading statement.

    Args:
        snapshot: the database.
        sql: one SELECT (WITH, FROM, DESCRIBE, SUMMARIZE, SHOW) or EXPLAIN.
        seconds: after which it is interrupted.
        rows: at most that many.

    Raises:
        ConsoleError: it is not one reading statement, it failed, or it took too long.
    """
    if len(sql) > LONGEST:
        raise ConsoleError(f"The statement has {len(sql):,} signs; {LONGEST:,} are allowed.")
    connection = snapshots.connect(snapshot.path)
    try:
        snapshots.use_scorer(connection, snapshot.scorer)
        return _run(connection, _one_reading(connection, sql), seconds, rows)
    finally:
        connection.close()


def _one_reading(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise ConsoleError(_first_lines(error)) from error
    if len(statements) != 1:
        raise ConsoleError(f"One statement at a time; this has {len(statements)}.")
    if statements[0].type not in READS:
        kind = statements[0].type.name
        raise ConsoleError(f"Only statements that read are run (SELECT, EXPLAIN); this is {kind}.")
    lowered = sql.lower()
    for name in HIDDEN:
        if name in lowered:
            raise ConsoleError(f"{name} reads the program, not the study: it is not run.")
    if statements[0].named_parameters:
        raise ConsoleError("Parameters ($name, ?) have no value here: write the value itself.")
    return statements[0]


def _run(
    connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, seconds: float, rows: int
) -> Answer:
    late = threading.Event()

    def stop() -> None:
        late.set()
        connection.interrupt()

    timer = threading.Timer(seconds, stop)
    start = time.perf_counter()
    timer.start()
    try:
        connection.execute(statement)
        names = [str(each[0]) for each in connection.description or ()]
        found = connection.fetchmany(rows + 1)
    except (duckdb.Error, MemoryError, OverflowError, ValueError) as error:
        if late.is_set():
            raise ConsoleError(f"It took longer than {seconds:g} s and was stopped.") from error
        raise ConsoleError(_first_lines(error)) from error
    finally:
        timer.cancel()
    table = pd.DataFrame(
        [[_shown(v) for v in row] for row in found[:rows]], columns=_distinct(names)
    )
    return Answer(table, len(found) > rows, time.perf_counter() - start)


def _first_lines(error: BaseException) -> str:
    return "\n".join(str(error).splitlines()[:6]) or type(error).__name__


def _shown(value: Any) -> Any:
    """A cell: bytes by their number, long texts and lists cut, huge integers as text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value):,} bytes"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    if isinstance(value, str | list | dict | tuple):
        text = (
            value
            if isinstance(value, str)
            else str(value[:200] if isinstance(value, list) else value)
        )
        return text if len(text) <= CELL else text[:CELL] + "…"
    return value


def _distinct(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out
