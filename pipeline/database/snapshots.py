"""Numbered snapshots and the pointer to the current one."""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

import duckdb

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.folder import Results
from pipeline.results.shards import write_whole
from pipeline.study.settings import show

SQL = Path(__file__).resolve().parent
SCHEMA_VERSION = 9
KEPT_SNAPSHOTS = 3
SNAPSHOT = re.compile(r"[^.].*\.duckdb", re.DOTALL)
# What an interrupted publisher leaves; that of an older version had names without a random part.
STALE = re.compile(r"\..+\.tmp(\.wal)?", re.DOTALL)
STALE_FOLDER = re.compile(r"\.build\.[0-9a-f]{16}\.tmp|\..+\.duckdb\.tmp\.spill\.tmp", re.DOTALL)
READ_ONLY: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def sql_text(name: str) -> str:
    """The SQL file of that name beside this module."""
    return (SQL / name).read_text()


def next_number(results: Results) -> int:
    """One more than any snapshot that is there or was pointed to."""
    numbers = [snapshot_number(path) for path in snapshot_files(results)]
    with suppress(StoreError):
        numbers.append(read_pointer(results)[1])
    return max(numbers, default=0) + 1


def snapshot_files(results: Results) -> list[Path]:
    """The snapshots of a results folder, in the order of their names.

    Raises:
        StoreError: their folder is none.
    """
    try:
        return sorted(path for path, _ in safe_files.regular_files(results.snapshots, SNAPSHOT))
    except OSError as error:
        raise StoreError(f"{results.snapshots}: cannot be read ({error.strerror}).") from None


def open_snapshot(path: Path) -> duckdb.DuckDBPyConnection:
    """A read-only connection that reaches nothing but the snapshot, whatever views it holds.

    Raises:
        StoreError: it is no file of a results folder, or no database.
    """
    try:
        safe_files.check_regular(path)
        _refuse_log(path)
        return _connect(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}). Publish again.") from None
    except (duckdb.Error, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise StoreError(f"{path}: cannot be read ({reason}). Publish again.") from None


def _refuse_log(path: Path) -> None:
    """DuckDB replays the write-ahead log beside a database, and waits for ever for one that is a pipe; snapshots have none."""
    log = path.with_name(f"{path.name}.wal")
    if os.path.lexists(log):
        raise StoreError(
            f"{log}: a published snapshot has no write-ahead log. Remove it, or publish again."
        )


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(path), read_only=True, config=READ_ONLY)
    except duckdb.ConnectionException as error:
        if "different configuration" not in str(error):
            raise
        return duckdb.connect(str(path), read_only=True)  # this process has it open already


def snapshot_number(path: Path) -> int:
    """The number in a snapshot's name; 0 if there is none, or one that we would not give."""
    ending = path.stem.rpartition("-")[2]
    return int(ending) if re.fullmatch("[0-9]{6,9}", ending) else 0


def read_pointer(results: Results) -> tuple[Path, int, str]:
    """The current snapshot: path, number, sha256.

    Raises:
        StoreError: there is none, or the pointer is damaged.
    """
    try:
        values = json.loads(safe_files.read_capped(results.current))
        name, number, sha256 = values["snapshot"], values["number"], values["sha256"]
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 10**9:
            raise ValueError(f"number = {show(number)}")
        if not isinstance(name, str) or len(name) > 250:
            raise ValueError(f"snapshot = {show(name)}")
        return results.snapshots / Path(name).name, number, str(sha256)
    except FileNotFoundError:
        raise StoreError(
            f"{results.folder}: not published yet. Use `python -m pipeline publish`."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{results.current}: damaged ({error}). Publish again.") from None


def schema_version(folder: Path) -> int | None:
    """The schema version of the current snapshot; None where there is none that can be read.

    Raises:
        StoreError: a newer version wrote it.
    """
    try:
        path, _, _ = read_pointer(Results(folder))
        with open_snapshot(path) as db:
            rows = db.execute(sql_text("schema_version.sql")).fetchall()
        version = int(rows[0][0]) if rows else None
    except (StoreError, duckdb.Error, ValueError, TypeError):
        return None
    if version is not None and version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: schema version {version}, this is {SCHEMA_VERSION}. Use a Stepscope at least as new as the "
            "one that published it."
        )
    return version


def sync(path: Path) -> str:
    """Brings a file to the disk. Returns its sha256."""
    with safe_files.open_regular(path) as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def point_to(results: Results, path: Path, number: int, sha256: str) -> None:
    """Make a snapshot the current one: the pointer is replaced whole."""
    pointer = {"snapshot": f"snapshots/{path.name}", "number": number, "sha256": sha256}
    write_whole(results.current, (json.dumps(pointer) + "\n").encode())


def remove_stale(results: Results) -> None:
    """Removes what an interrupted publisher left. Only for the holder of publish.lock."""
    safe_files.remove_folders(results.snapshots, STALE_FOLDER)
    for path, _ in safe_files.regular_files(results.snapshots, STALE):
        safe_files.remove(path)


def remove_old(results: Results, number: int) -> None:
    """Keeps the last few snapshots. A reader that has an older one open keeps its file."""
    for path in snapshot_files(results):
        if 0 < snapshot_number(path) <= number - KEPT_SNAPSHOTS:
            safe_files.remove(path)
