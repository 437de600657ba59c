"""A reader's own SQL on a snapshot: one SELECT, answered by a process of its own. No Streamlit.

This process neither parses nor runs the statement: it starts `console_child.py`, which limits itself, checks the
statement and sends back an Arrow stream of limited size, and ends it at the time limit or when nobody waits any more.
Two statements run at once; others wait their turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from app.database import console_functions, snapshots
from app.database.snapshots import Snapshot

CHILD = Path(__file__).resolve().parent / "console_child.py"
SECONDS = 10.0
ROWS = 10_000
CELL = 4_000
COLUMNS = 500
LONGEST = 20_000
MEMORY = 2**30
"""Address space of the process, of which its programs take a third; DuckDB's own limit is DATA."""
DATA = "500MB"
THREADS = 2
FILES = 32
ANSWER_BYTES = 16 * 2**20
AT_ONCE = 2
PATIENCE = 30.0
"""Seconds that a statement waits for its turn."""
MOST_WAITING = 30
KEPT_BYTES = 64 * 2**20
LOOK = 0.1
"""Seconds between two looks at whether the reader still waits."""
NO_SQL = "--no-sql"
"""Argument of the dashboard that turns the page off."""


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
    """A question with its statement.

    Attributes:
        title: a few words.
        says: what the rows are.
        sql: the statement.
    """

    title: str
    says: str
    sql: str


Watch = Callable[[str], None]
"""Is told several times a second what a statement waits for; it stops the statement by raising."""


EXAMPLES = (
    Example(
        "CLIP score per model",
        "Mean CLIP score of each model over its finished samples, every seed counted; the highest first.",
        "SELECT m.label AS model, count(*) AS samples, avg(s.clip_score) AS clip_score\n"
        "FROM sample AS s JOIN model AS m USING (model_id)\n"
        "WHERE s.status = 'done'\nGROUP BY ALL ORDER BY clip_score DESC",
    ),
    Example(
        "Similarity to the prompt per step",
        "Mean similarity to the whole prompt at each step over all prompts, seeds averaged, with its 95 % interval.",
        "SELECT m.label AS model, r.step, r.mean, r.low, r.high\n"
        "FROM rollup_step AS r JOIN model AS m USING (model_id)\n"
        "WHERE r.concept_id = 0 AND r.category = ''\nORDER BY model, step",
    ),
    Example(
        "Concepts that emerge first",
        "Concepts in prompts that name them, all models together: mean emergence step, where never counts as the last step; "
        "the earliest 50.",
        "SELECT c.family, c.name, count(*) AS samples, avg((t.outcome = 'start')::INTEGER) AS from_the_start,\n"
        "  avg(CASE t.outcome WHEN 'never' THEN len(t.similarity) - 1 ELSE t.emergence_step END) AS mean_step,\n"
        "  avg((t.outcome = 'never')::INTEGER) AS never\n"
        "FROM trajectory AS t JOIN mention USING (prompt_id, concept_id) JOIN concept AS c USING (concept_id)\n"
        "WHERE t.outcome IS NOT NULL\nGROUP BY ALL ORDER BY mean_step LIMIT 50",
    ),
    Example(
        "Prompts on which models differ most",
        "Highest minus lowest CLIP score of the models on each prompt, seeds averaged first; the 20 largest.",
        "WITH score AS (\n"
        "  SELECT prompt_id, model_id, avg(clip_score) AS score FROM sample WHERE status = 'done' GROUP BY ALL)\n"
        "SELECT p.text, max(score) - min(score) AS gap, count(*) AS models\n"
        "FROM score JOIN prompt AS p USING (prompt_id)\n"
        "GROUP BY p.prompt_id, p.text HAVING count(*) > 1 ORDER BY gap DESC LIMIT 20",
    ),
    Example(
        "Failed samples by reason",
        "How many samples failed, by model, stage and error; no row where none did.",
        "SELECT m.label AS model, f.stage, f.error, count(*) AS samples\n"
        "FROM failure AS f JOIN model AS m USING (model_id)\nGROUP BY ALL ORDER BY samples DESC",
    ),
    Example(
        "One sample, a row per step",
        "Similarity of the first sample to its whole prompt: a trajectory is a list, here one row per step.",
        "SELECT step - 1 AS step, similarity[step] AS similarity\n"
        "FROM (SELECT similarity, unnest(generate_series(1, len(similarity))) AS step\n"
        "      FROM trajectory WHERE concept_id = 0 ORDER BY sample_id LIMIT 1)",
    ),
)


def turned_off() -> bool:
    """Whether the dashboard was started with `--no-sql`."""
    return NO_SQL in sys.argv[1:]


def ignore(state: str) -> None:
    """Wait, whatever the state."""


def run(snapshot: Snapshot, sql: str, seconds: float = SECONDS, watch: Watch = ignore) -> Answer:
    """The rows of one reading statement.

    Args:
        snapshot: the database.
        sql: one SELECT (WITH, VALUES, FROM, PIVOT, UNPIVOT, DESCRIBE, SUMMARIZE, SHOW TABLES) or EXPLAIN of one.
        seconds: after which it is stopped, not counting the wait for its turn.
        watch: told what it waits for; an exception that it raises stops the statement.

    Raises:
        ConsoleError: it is not one reading statement, it failed, took too long, or waited too long for its turn.
    """
    if len(sql) > LONGEST:
        raise ConsoleError(f"The statement has {len(sql):,} characters; {LONGEST:,} are allowed.")
    with TURNS.taken(watch):
        return _read(_ask(request(snapshot, sql, seconds), seconds, watch))


def request(snapshot: Snapshot, sql: str, seconds: float = SECONDS) -> dict[str, Any]:
    """What the child is told: see `console_child.Request`."""
    folder, file = os.path.split(snapshot.path)
    settings = {
        **snapshots.SANDBOX,
        "memory_limit": DATA,
        "threads": str(THREADS),
        "max_execution_time": f"{1000 * seconds:.0f}",
        "allow_community_extensions": "false",
    }
    return {
        "folder": folder, "file": file, "scorer": snapshot.scorer, "sql": sql, "settings": settings,
        "functions": sorted(console_functions.FUNCTIONS), "views": sorted(console_functions.VIEWS),
        "rows": ROWS, "cell": CELL, "columns": COLUMNS, "answer_bytes": ANSWER_BYTES,
        "memory": MEMORY, "seconds": int(seconds) + 5, "files": FILES,
    }  # fmt: skip


# Turns


class Turns:
    """Who runs and who waits, in the order in which they came."""

    def __init__(self, at_once: int, patience: float, most_waiting: int) -> None:
        self._at_once = at_once
        self._patience = patience
        self._most = at_once + most_waiting
        self._line: list[object] = []
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, watch: Watch) -> Iterator[None]:
        """Wait for a turn, and hold it.

        Raises:
            ConsoleError: too many wait already, or the turn did not come in time.
        """
        ticket = object()
        with self._lock:
            if len(self._line) >= self._most:
                raise ConsoleError(
                    f"{len(self._line)} statements run or wait already. Try again in a minute."
                )
            self._line.append(ticket)
        try:
            self._wait(ticket, watch)
            yield
        finally:
            with self._lock:
                self._line.remove(ticket)

    def _wait(self, ticket: object, watch: Watch) -> None:
        start = time.monotonic()
        while (before := self._before(ticket)) >= self._at_once:
            if time.monotonic() - start > self._patience:
                raise ConsoleError(
                    f"It waited {self._patience:g} s for its turn and was not run: {before} statements are before it, "
                    f"{self._at_once} run at once. Try again in a minute."
                )
            watch(f"Waiting: {before} statements are before this one, {self._at_once} run at once")
            time.sleep(LOOK)

    def _before(self, ticket: object) -> int:
        with self._lock:
            return self._line.index(ticket)


TURNS = Turns(AT_ONCE, PATIENCE, MOST_WAITING)


# The child


def _ask(asked: dict[str, Any], seconds: float, watch: Watch) -> bytes:
    """What the child wrote.

    Raises:
        ConsoleError: it took too long, wrote too much, or was ended by one of its limits.
    """
    child = subprocess.Popen(
        [sys.executable, "-I", str(CHILD)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment(), start_new_session=True,
    )  # fmt: skip
    written = bytearray()
    talk = threading.Thread(target=_talk, args=(child, json.dumps(asked).encode(), written))
    try:
        talk.start()
        start = time.monotonic()
        while talk.is_alive():
            if time.monotonic() - start > seconds:
                raise ConsoleError(f"It took longer than {seconds:g} s and was stopped.")
            watch("Running")
            talk.join(LOOK)
    finally:
        child.kill()
        talk.join()
        child.wait()
    if b"\n" not in written or len(written) > _most_written():
        raise ConsoleError(
            f"It was stopped: it needs more than {MEMORY >> 30} GB of memory, or is nested too deeply."
        )
    return bytes(written)


def _talk(child: subprocess.Popen[bytes], asked: bytes, written: bytearray) -> None:
    """Give a child its request and take what it writes, up to the limit; ends when the child does."""
    assert child.stdin and child.stdout
    with child.stdin, child.stdout:
        try:
            child.stdin.write(asked)
            child.stdin.close()
        except OSError:  # it has ended
            return
        while len(written) <= _most_written() and (part := child.stdout.read1(2**16)):  # type: ignore[attr-defined]
            written.extend(part)


def _most_written() -> int:
    """Bytes: the answer's buffers with what Arrow writes around them."""
    return 2 * ANSWER_BYTES


def environment() -> dict[str, str]:
    """Nothing of the server's environment but where libraries are."""
    kept = {
        name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ
    }
    # Few arenas and Arrow's plain allocator: others reserve more address space than the limit leaves.
    small = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return {**kept, **small, "OMP_NUM_THREADS": "1", "TZ": "UTC", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip


def _read(written: bytes) -> Answer:
    """The answer in what the child wrote: a line of JSON, then an Arrow stream.

    Raises:
        ConsoleError: the child refused the statement, or it failed.
    """
    head, _, body = written.partition(b"\n")
    said = json.loads(head)
    if "error" in said:
        raise ConsoleError(str(said["error"]))
    rows = pa.ipc.open_stream(body).read_all().to_pandas()
    rows.columns = _distinct(said["names"])
    return Answer(rows, bool(said["cut"]), float(said["seconds"]))


def _distinct(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out


# Answers


class Answers:
    """The last answers, so that a page drawn again does not ask again; shared by all readers, of limited size."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[tuple[Snapshot, str], Answer] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, snapshot: Snapshot, sql: str, watch: Watch = ignore) -> Answer:
        """A statement's answer, kept or new; what `run` raises is not kept."""
        with self._lock:
            if answer := self._kept.get((snapshot, sql)):
                self._kept.move_to_end((snapshot, sql))
                return answer
        answer = run(snapshot, sql, watch=watch)
        with self._lock:
            self._kept[snapshot, sql] = answer
            while self._kept and sum(map(_size, self._kept.values())) > self._most:
                self._kept.popitem(last=False)
        return answer


def _size(answer: Answer) -> int:
    return int(answer.rows.memory_usage(deep=True).sum())


ANSWERS = Answers(KEPT_BYTES)
