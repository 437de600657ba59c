"""The reviews' file beside a study: SQLite that anybody may have written, read and written within a time limit.

Nothing in the file is trusted: it must be a regular file with Stepscope's own tables, without triggers or views;
each cell is checked by its kind; no call takes longer than SECONDS for its work, after its lock. What is not
readable is said and kept. A file that SQLite finds damaged is renamed by the next write, which begins a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.database.snapshots import ROOT, SHIPPED
from app.database.statements import SQL

FOLDER = "STEPSCOPE_REVIEWS"
"""Environment variable that names a folder for the reviews of all studies, where studies are read-only."""
SECONDS = 1.0  # that a reader waits for a lock, and then for an answer
TURN = 5.0  # that a writer waits for the other threads of this process
AGAIN, SELDOM = 2.0, 30.0  # seconds between tries in the background: at first, at last
LARGEST_FILE = 64 * 2**20
LARGEST_CELL = 2 * 2**20
MOST_ROWS = 20_000
SIDE_FILES = ("-journal", "-wal", "-shm")
JOURNAL_END = bytes.fromhex("d9d505f920a163d7")
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT}  # fmt: skip
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}

Statement = tuple[str, Mapping[str, Any]]  # a file of app/database/sql/reviews and its parameters

_guard = threading.Lock()
_turns: dict[Path, threading.Lock] = {}
_held: dict[
    Path, str
] = {}  # files that gave no answer in time, and what readers are told meanwhile


class ReviewError(Exception):
    """A review that cannot be kept or made: what is wrong, and what is allowed."""


class BusyError(ReviewError):
    """The file gave no answer in time; it is asked again in the background."""


class DamagedError(ReviewError):
    """The file is no database, or not one of Stepscope's."""


def store_of(study: Path) -> Path:
    """Where the reviews of a study are kept: beside its snapshots, or beside the database file.

    Those of the shipped study are kept among this machine's results: it is part of the program, and may be read-only.
    Where the environment variable STEPSCOPE_REVIEWS names a folder, all are kept there.
    """
    if folder := os.environ.get(FOLDER, ""):
        return Path(folder).absolute() / _name_elsewhere(study)
    if study.is_dir() and study.resolve() == SHIPPED:
        return ROOT / "data" / "results" / f"{study.name}.reviews.sqlite"
    if study.is_dir():
        return study / "reviews.sqlite"
    return study.with_name(f"{study.stem}.reviews.sqlite")


def _name_elsewhere(study: Path) -> str:
    """A file name of its own for a study, by its name for people and by its path, which tells two of one name apart."""
    path = study.resolve()
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem if path.suffix == ".duckdb" else path.name)
    return f"{name[:60]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.reviews.sqlite"


@lru_cache(maxsize=32)
def statement(name: str) -> str:
    """The text of `app/database/sql/reviews/<name>.sql`."""
    return (SQL / "reviews" / f"{name}.sql").read_text(encoding="utf-8")


def rows(
    store: Path, table: str, name: str, kinds: Mapping[str, type], **parameters: Any
) -> tuple[list[dict[str, Any]], int]:
    """The rows of a statement whose every cell is of its kind, and how many rows were left out.

    Args:
        store: the file; where there is none, or no such table in it, there are no rows.
        table: that the statement reads.
        name: of the statement.
        kinds: str or int by column, object for any. Texts come without control characters.
        parameters: of the statement.

    Raises:
        BusyError: the file is locked or slow; until the background has an answer, at once.
        ReviewError: the file cannot be read.
    """
    if why := _held.get(store):
        raise BusyError(why)
    try:
        with _turn(store, SECONDS):
            if why := _held.get(store):  # found by whoever had the turn before
                raise BusyError(why)
            answers = _ask(store, table, name, parameters)
    except BusyError as error:
        _hold(store, str(error), (store, table, name, parameters))
        raise
    read = [_cells(row, kinds) for row in answers]
    return [each for each in read if each is not None], sum(each is None for each in read)


def is_held(store: Path) -> bool:
    """Whether the file gave no answer in time and is being asked again in the background."""
    return store in _held


def write(store: Path, *statements: Statement) -> None:
    """Run statements in one transaction, all or none; the file is made if need be.

    A damaged file is renamed first (`set_aside`) and a new one begun.

    Raises:
        BusyError: another program has the file; nothing was written.
        ReviewError: the file cannot be written; nothing was.
    """
    with _turn(store, TURN):
        try:
            _transact(store, statements)
        except DamagedError:
            set_aside(store)
            _transact(store, statements)


@contextmanager
def _turn(store: Path, seconds: float) -> Iterator[None]:
    """The file to one thread of this process at a time.

    Many at once would each hold SQLite's shared lock while they wait for the interpreter's lock between two
    rows: 30 readers kept every writer out for minutes (`tests/attacks/test_readers_and_writers.py`).

    Raises:
        BusyError: others have had it for `seconds`.
    """
    with _guard:
        turn = _turns.setdefault(store, threading.Lock())
    if not turn.acquire(timeout=seconds):
        raise BusyError(
            f"Others are reading or writing {store.name}: nothing was read or saved. Try again."
        )
    try:
        yield
    finally:
        turn.release()


def backup(store: Path, target: Path) -> int:
    """Copies a file of reviews while others read and write it: the copy is of one moment, and appears whole.

    Returns: bytes of the copy.

    Raises:
        BusyError: another program has the file for longer than SECONDS.
        ReviewError: there is none, it cannot be read, or the copy cannot be written.
    """
    if not os.path.lexists(store):
        raise ReviewError(f"{store}: there are no reviews yet, so there is nothing to copy.")
    part = target.with_name(f".{target.name}.part")
    try:
        with _connected(store, "rw") as source, closing(sqlite3.connect(part)) as copy:
            source.execute("BEGIN")
            source.execute("PRAGMA user_version").fetchone()  # from here to the end nobody commits
            source.backup(copy)
            source.execute("ROLLBACK")
        part.replace(target)
    except OSError as error:
        raise ReviewError(f"{target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def _ask(store: Path, table: str, name: str, parameters: Mapping[str, Any]) -> list[sqlite3.Row]:
    if not os.path.lexists(store):
        return []
    with _connected(store, "rw") as connection:
        if table not in _tables(connection, store, exact=False):
            return []
        answers = connection.execute(statement(name), parameters).fetchmany(MOST_ROWS + 1)
    if len(answers) > MOST_ROWS:
        raise ReviewError(f"{store} has over {MOST_ROWS:,} rows in table {table}. Move it away.")
    return answers


def _transact(store: Path, statements: tuple[Statement, ...]) -> None:
    if store.parent == ROOT / "data" / "results":  # not there yet where only the shipped study is
        store.parent.mkdir(exist_ok=True)
    with _connected(store, "rwc") as connection:
        connection.execute("BEGIN IMMEDIATE")
        if len(_tables(connection, store, exact=True)) < len(own_tables()):
            for each in statement("schema").split(";\n"):
                connection.execute(each)
        for name, values in statements:
            connection.execute(statement(name), values)
        connection.execute("COMMIT")


@contextmanager
def _connected(store: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection that lasts SECONDS; what is not committed by then is not written."""
    _look_at_files(store)
    address = f"{store.absolute().as_uri()}?mode={mode}"
    try:
        with closing(sqlite3.connect(address, SECONDS, isolation_level=None, uri=True)) as opened:
            opened.row_factory = sqlite3.Row
            opened.text_factory = lambda raw: raw.decode("utf-8", "replace")
            opened.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_CELL)
            for each in statement("settings").split(";\n"):
                opened.execute(each)
            end = time.monotonic() + 2 * SECONDS  # a lock's wait, and the work
            opened.set_progress_handler(lambda: time.monotonic() > end, 10_000)
            yield opened
    except sqlite3.Error as error:
        raise _explained(store, error) from error


def _look_at_files(store: Path) -> None:
    """Refuse what is no regular file, and a journal that names another file, which SQLite would then delete."""
    for suffix in ("", *SIDE_FILES):
        file = store.with_name(store.name + suffix)
        try:
            status = file.lstat()
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode):
            raise ReviewError(
                f"{file} is no regular file (a link, a folder, a pipe). Move it away."
            )
        if status.st_size > LARGEST_FILE:
            raise ReviewError(f"{file} has {status.st_size:,} bytes; {LARGEST_FILE:,} are allowed.")
        if suffix == "-journal" and _names_another(file):
            raise ReviewError(f"{file} names another file, as no journal of Stepscope does. Move both away.")  # fmt: skip


def _names_another(journal: Path) -> bool:
    """Whether a rollback journal ends with the name of a super-journal (sqlite.org/fileformat2, 3.1)."""
    try:
        with journal.open("rb") as file:
            if file.seek(0, os.SEEK_END) < 20:
                return False
            file.seek(-16, os.SEEK_END)
            end = file.read(16)
    except FileNotFoundError:  # another's transaction has ended
        return False
    return end[8:] == JOURNAL_END and end[:4] != bytes(4)


@lru_cache(maxsize=1)
def own_tables() -> Mapping[str, tuple[frozenset[str], str]]:
    """The columns and the definition of each of Stepscope's tables."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        connection.executescript(statement("schema"))
        objects = connection.execute(statement("objects")).fetchall()
        return {
            row["name"]: (_columns(connection, row["name"]), _bare(row["sql"]))
            for row in objects
            if row["type"] == "table"
        }


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """The stored columns of a table; not those that are computed when they are read."""
    return frozenset(str(row[0]) for row in connection.execute(statement("columns"), {"table": table}))  # fmt: skip


def _bare(definition: str) -> str:
    """A definition without comments and spaces; literals are left whole, so that nothing hides behind them."""
    tokens = re.findall(r"'(?:[^']|'')*'|--[^\n]*|\s+|.", definition, re.DOTALL)
    return "".join(each for each in tokens if not each.startswith("--") and not each.isspace())


def _tables(connection: sqlite3.Connection, store: Path, *, exact: bool) -> list[str]:
    """Which of Stepscope's tables are there: plain tables with all of their columns, without triggers.

    Args:
        connection: to the file.
        store: the file.
        exact: whether they must be defined as Stepscope defines them, because a write runs what they define:
            checks, defaults and indexes on expressions may be anybody's code, which no time limit stops.

    Raises:
        DamagedError: something else has their names.
    """
    schema = own_tables()
    there = []
    for row in connection.execute(statement("objects")).fetchmany(MOST_ROWS):
        kind, name, table = (str(row[key]).lower() for key in ("type", "name", "tbl_name"))
        ours = name in schema and kind == "table" and row["rootpage"]
        foreign = table in schema and (
            kind == "trigger" or (exact and kind == "index" and row["sql"])
        )
        if foreign or (name in schema and not ours):
            raise DamagedError(f"{_kept(store)}: it holds a {kind} that Stepscope did not make.")
        if ours:
            missing = schema[name][0] - _columns(connection, name)
            if missing or (exact and _bare(str(row["sql"])) != schema[name][1]):
                raise DamagedError(f"{_kept(store)}: table {name} is not as Stepscope makes it.")
            there.append(name)
    return there


def _kept(store: Path) -> str:
    return (
        f"The reviews in {store} cannot be read. The file is kept; the next review, note or slice that is "
        "saved renames it and begins a new one"
    )


def _explained(store: Path, error: sqlite3.Error) -> ReviewError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in BUSY:
        return BusyError(
            f"{store.name} is locked by another program or slow to answer: no reviews, notes or slices are "
            "read or saved for now. It is tried again by itself; the rest of the page is complete."
        )
    if code in DAMAGE:
        return DamagedError(f"{_kept(store)}: {error}.")
    return ReviewError(
        f"The reviews in {store} cannot be read or written: {error}. Make the folder writable, or move "
        "the file away."
    )


def _cells(row: sqlite3.Row, kinds: Mapping[str, type]) -> dict[str, Any] | None:
    """The row's cells, or None where one is not of its kind."""
    out: dict[str, Any] = {}
    for column, kind in kinds.items():
        value = row[column]
        if not isinstance(value, kind):
            return None
        out[column] = printable(value) if isinstance(value, str) else value
    return out


def printable(text: str) -> str:
    """Text without control characters and halves of characters; lines are kept."""
    return "".join(c for c in text if c == "\n" or c.isprintable())


def set_aside(store: Path) -> Path | None:
    """Rename a damaged file and what SQLite wrote beside it; nothing is deleted.

    Of several processes that find the damage one renames, and none renames the file that another has begun:
    each holds the damaged file itself locked and looks whether it still has the name.

    Returns: the new name, or None where another process was first.
    """
    try:
        damaged = os.open(store, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(damaged, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.fstat(damaged).st_ino == store.stat().st_ino:
                return _renamed(store)
        return None
    finally:
        os.close(damaged)


def _renamed(store: Path) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    target = store.with_name(f"{store.name}.damaged-{stamp}")
    try:
        for suffix in (*SIDE_FILES, ""):  # the file last: a journal must not be left to the new one
            with suppress(FileNotFoundError):
                store.with_name(store.name + suffix).rename(target.with_name(target.name + suffix))
    except OSError as error:
        raise ReviewError(f"{store} is damaged and cannot be renamed: {error.strerror}.") from error
    return target


def _hold(store: Path, why: str, question: tuple[Any, ...]) -> None:
    with _guard:
        if store in _held:
            return
        _held[store] = why
    threading.Thread(target=_try_again, args=question, name="reviews", daemon=True).start()


def _try_again(store: Path, *question: Any) -> None:
    """Ask until there is an answer, or an error that waiting does not help."""
    wait = AGAIN
    while True:
        time.sleep(wait)
        try:
            _ask(store, *question)
        except BusyError:
            wait = min(2 * wait, SELDOM)
            continue
        except ReviewError:
            pass  # the next reader is told
        with _guard:
            _held.pop(store, None)
        return
