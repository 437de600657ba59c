"""Which studies can be shown: pointers, files replaced, databases that cannot; what the connection and the code may do."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from app.ui import queries
from app.ui.queries import Snapshot, SnapshotError

APP = Path(queries.__file__).resolve().parents[1]

FORBIDDEN = (
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')",
    "COPY (SELECT 1) TO '/tmp/out.csv'",
    "ATTACH '/tmp/other.duckdb'",
    "INSTALL httpfs",
    "SET enable_external_access = true",
    "SET memory_limit = '64GB'",
    "SELECT * FROM scores_in_python",
    "UPDATE study SET name = 'mine'",
    "DROP TABLE sample",
)


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_the_connection_reads_the_snapshot_and_nothing_else(sql: str, snapshot: Snapshot) -> None:
    scores_in_python = queries.ask(snapshot, "study")
    assert len(scores_in_python)
    connection, _ = queries._connect(snapshot.path)
    with pytest.raises(duckdb.Error):
        connection.cursor().execute(sql).fetchall()


def test_a_new_snapshot_is_followed(results: Path, tmp_path: Path) -> None:
    pointer = json.loads((results / "current.json").read_text())
    folder = tmp_path / "demo"
    (folder / "snapshots").mkdir(parents=True)
    for number in (1, 2):
        file = folder / "snapshots" / f"demo-{number:06d}.duckdb"
        shutil.copyfile(results / pointer["snapshot"], file)
        with duckdb.connect(str(file)) as connection:
            connection.execute("UPDATE study SET snapshot = ?", [number])
        (folder / "next.json").write_text(json.dumps({"snapshot": f"snapshots/{file.name}"}))
        os.replace(folder / "next.json", folder / "current.json")
        newest = queries.locate(folder)
        assert queries.ask(newest, "study")["snapshot"].iloc[0] == number


def test_a_file_replaced_in_place_is_read_anew(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.duckdb"
    for number in (1, 2):
        beside = tmp_path / "beside.duckdb"
        shutil.copyfile(queries.locate(results).path, beside)
        with duckdb.connect(str(beside)) as connection:
            connection.execute("UPDATE study SET snapshot = ?", [number])
        os.replace(beside, file)
        assert queries.ask(queries.locate(file), "study")["snapshot"].iloc[0] == number


def test_studies_to_choose_from(results: Path, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No study has been published"):
        queries.find_studies([], tmp_path)
    assert queries.find_studies([str(results)]) == (results,)
    assert queries.find_studies([str(results.parent)]) == (results,)
    published = tmp_path / "data" / "results"
    for age, name in enumerate(("new", "old")):
        (published / name).mkdir(parents=True)
        (published / name / "current.json").write_text("{}")
        os.utime(published / name / "current.json", (1e9 - age, 1e9 - age))
    assert [study.name for study in queries.find_studies([], tmp_path)] == ["new", "old"]


def bad_pointer(folder: Path) -> Path:
    (folder / "current.json").write_text("{not json")
    return folder


def list_pointer(folder: Path) -> Path:
    (folder / "current.json").write_text("[1]")
    return folder


def lost_snapshot(folder: Path) -> Path:
    (folder / "current.json").write_text('{"snapshot": "snapshots/gone.duckdb"}')
    return folder


def garbage(folder: Path) -> Path:
    (folder / "garbage.duckdb").write_bytes(b"no database at all" * 1000)
    return folder / "garbage.duckdb"


def empty_file(folder: Path) -> Path:
    (folder / "empty.duckdb").touch()
    return folder / "empty.duckdb"


def other_database(folder: Path) -> Path:
    with duckdb.connect(str(folder / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE cats (name VARCHAR)")
    return folder / "other.duckdb"


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "nowhere", "nothing at this path"),
    "unpublished": (lambda folder: folder, "no published snapshot"),
    "bad pointer": (bad_pointer, "pointer"),
    "list as pointer": (list_pointer, "pointer"),
    "lost snapshot": (lost_snapshot, "is gone"),
    "garbage": (garbage, "not a readable DuckDB database"),
    "empty file": (empty_file, "not a"),
    "other database": (other_database, "not a Stepscope study"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_can_not_be_shown_says_why_and_what_to_do(kind: str, tmp_path: Path) -> None:
    make, words = BROKEN[kind]
    with pytest.raises(SnapshotError, match=words) as raised:
        queries.check(queries.locate(make(tmp_path)))
    assert raised.value.advice
    assert str(tmp_path) in raised.value.detail


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (("UPDATE study SET schema_version = 0",), "older"),
        (("UPDATE study SET schema_version = 999",), "newer"),
        (("DROP TABLE rollup_step",), "rollup_step"),
        (("DELETE FROM study",), "empty"),
    ],
)
def test_other_schemas(
    statements: tuple[str, ...], words: str, altered: Callable[..., Path]
) -> None:
    with pytest.raises(SnapshotError, match=words):
        queries.check(queries.locate(altered(*statements)))


def test_a_database_that_is_being_written_is_locked(
    altered: Callable[..., Path], tmp_path: Path
) -> None:
    import subprocess
    import sys

    path = queries.locate(altered("SELECT 1")).path
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys\n"
            "with duckdb.connect(sys.argv[1]) as c:\n    print('open', flush=True)\n   "
            " sys.stdin.read()",
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout is not None and writer.stdout.readline() == "open\n"
        with pytest.raises(SnapshotError, match="Another program is writing"):
            queries.check(queries.locate(Path(path)))
    finally:
        writer.communicate()


def test_a_query_that_takes_too_long_is_stopped(snapshot: Snapshot) -> None:
    assert queries.SANDBOX["max_execution_time"] == "20000"


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return modules | {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }


def test_the_app_shares_nothing_with_the_pipeline_but_the_database() -> None:
    heavy = {"pipeline", "torch", "diffusers", "transformers", "open_clip", "ray"}
    for path in APP.rglob("*.py"):
        assert not imported(path) & heavy, path


def test_sql_is_never_put_together_and_nothing_from_outside_is_run() -> None:
    for path in APP.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"unsafe_allow_html|allow_javascript|\beval\(|\bexec\(|pickle|st\.html\(", text
        ), path
        # Whole files of app/database/sql, and constants.
        executed = re.findall(r"\.(?:execute|sql)\(([^)]*)", text)
        allowed = ("text", 'statement("', '"PRAGMA foreign_keys = ON"')
        # The reader's statement itself, in a process that may do nothing else.
        constants = ("USE_SCHEMA", "TREE", "TABLES", "INTERNAL", "sql")
        allowed += constants if path.name == "console_child.py" else ()
        # The files by which publishing builds a snapshot, and the schemas of further scorers by number.
        files = ('_sql("', '"CHECKPOINT"', "SCHEMAS[")
        allowed += files if path.name == "importing.py" else ()
        # `each` is a line of the constants that open and shield the reviews' file.
        allowed += (
            ('"BEGIN', '"COMMIT"', '"ROLLBACK"', '"PRAGMA user_version"', "each", "statement(name")
            if path.name == "notebook.py"
            else ()
        )
        assert all(call.lstrip().startswith(allowed) for call in executed), path
