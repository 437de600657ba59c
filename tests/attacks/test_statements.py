"""The SQL page's process meets 600 statements that mean harm, are odd or heavy, and 300 of an analyst."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app.database import console
from app.database.console import ConsoleError
from app.ui import queries
from tests.attacks import ordinary, statements

ASK_MANY = Path(__file__).with_name("ask_many.py")
LINUX = sys.platform == "linux"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("key,value\ntop,SECRET-VALUE\n")
    return folder


def written(sql: str, outside: Path) -> str:
    return sql.replace("{file}", str(outside / "secret.txt")).replace("{folder}", str(outside))


def ask_many(results: Path, sql: list[str]) -> list[dict]:
    """What the child says to each statement, all in one process."""
    request = console.request(queries.locate(results), "")
    asked = {"child": str(console.CHILD), "request": request, "statements": sql}
    command = [sys.executable, "-I", str(ASK_MANY)]
    done = subprocess.run(
        command, input=json.dumps(asked), capture_output=True, text=True, env=console.environment(), timeout=600
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return json.loads(done.stdout)


def leaks(said: str, sql: str, results: Path) -> bool:
    """Whether a text tells what is in a file, or a path of this machine that the statement did not name."""
    secrets = (
        str(results),
        str(Path.home()),
        str(Path.cwd()),
        sys.prefix,
        "root:x:",
        "SECRET-VALUE",
        "Traceback",
    )
    return any(secret in said and secret not in sql for secret in secrets)


def state_of(*folders: Path) -> dict[str, str]:
    """Every file with its content's hash, and the names beside the program."""
    files = {str(p): p for folder in folders for p in folder.rglob("*") if p.is_file()}
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return {**hashes, **dict.fromkeys(os.listdir("."), "")}


def test_there_are_enough_statements() -> None:
    hostile = {*statements.REFUSED, *statements.HARMLESS, *statements.HEAVY}
    assert len(hostile) == len(statements.REFUSED + statements.HARMLESS + statements.HEAVY) >= 600
    assert len({*ordinary.KNOWN, *ordinary.STUDY}) >= 300


def test_harm_is_refused_and_nothing_is_read_or_written(results: Path, outside: Path) -> None:
    before = state_of(results, outside)
    asked = [written(sql, outside) for sql in statements.REFUSED]
    answered = []
    for sql, said in zip(asked, ask_many(results, asked), strict=True):
        if "error" not in said:
            answered.append((sql[:90], said))
            continue
        assert said["error"].strip() and len(said["error"].splitlines()) <= 6, (sql[:90], said)
        assert not leaks(said["error"], sql, results), (sql[:90], said)
    assert not answered
    assert state_of(results, outside) == before


def test_what_only_looks_like_harm_is_answered(results: Path, outside: Path) -> None:
    asked = [written(sql, outside) for sql in statements.HARMLESS]
    refused = [
        (sql[:90], said)
        for sql, said in zip(asked, ask_many(results, asked), strict=True)
        if "error" in said
    ]
    assert not refused


def test_an_analysts_statements_are_answered(results: Path) -> None:
    wrong = []
    for sql, said in zip(ordinary.KNOWN, ask_many(results, list(ordinary.KNOWN)), strict=True):
        if "error" in said or ordinary.KNOWN[sql] not in (None, said["first"]):
            wrong.append((sql, said, ordinary.KNOWN[sql]))
    for sql, said in zip(ordinary.STUDY, ask_many(results, list(ordinary.STUDY)), strict=True):
        if "error" in said:
            wrong.append((sql, said, "an answer"))
    assert not wrong


@pytest.mark.timeout(1200)
def test_heavy_statements_end_at_their_limit(results: Path, outside: Path) -> None:
    """Two at once, as readers' are: each ends with an answer or a sentence, and this process keeps its size."""
    snapshot = queries.locate(results)
    before = memory_mb(os.getpid())

    def ask(sql: str) -> tuple[str, str, float]:
        start = time.monotonic()
        try:
            said = f"{len(console.run(snapshot, sql, seconds=1).rows)} rows"
        except ConsoleError as error:
            said = str(error)
        return sql, said, time.monotonic() - start

    with ThreadPoolExecutor(console.AT_ONCE) as readers:
        for sql, said, seconds in readers.map(ask, statements.HEAVY):
            assert said.strip() and not leaks(said, sql, results), (sql[:90], said)
            assert seconds < 1 + 60, (
                sql[:90],
                seconds,
            )  # a busy machine is slow to start and to end a process
    assert memory_mb(os.getpid()) - before < 300
    assert children() == []


def memory_mb(pid: int) -> float:
    if not LINUX:
        return 0.0
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def children() -> list[int]:
    """Processes that this one has started for statements and that still live."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:
            continue
        if str(console.CHILD).encode() in command and int(status.rpartition(")")[2].split()[1]) == os.getpid():  # fmt: skip
            pids.append(int(folder.name))
    return pids


SLOW = "SELECT sum(sqrt(range)) FROM range(1000000000000)"  # takes time, never memory


class Leaves(Exception):
    """What Streamlit does to a page whose reader is gone."""


def test_the_system_holds_the_limits_and_the_reader_who_leaves_takes_the_statement_along(
    results: Path,
) -> None:
    seen: list[str] = []

    def leave(state: str) -> None:
        if not LINUX:  # only there can one process look at another's limits
            raise Leaves
        for pid in children():
            text = Path(f"/proc/{pid}/limits").read_text()
            if "Max file size             0 " in text and "Max core file size        0 " in text:
                seen.extend([text, Path(f"/proc/{pid}/environ").read_text(errors="replace")])
                raise Leaves

    with pytest.raises(Leaves):
        console.run(queries.locate(results), SLOW, watch=leave)
    assert children() == []
    if not LINUX:
        return
    assert f"Max address space         {console.MEMORY} " in seen[0]
    assert f"Max open files            {console.FILES} " in seen[0]
    assert "Max cpu time              unlimited" not in seen[0]
    assert "HOME=" not in seen[1] and "PATH=" not in seen[1].replace("LD_LIBRARY_PATH=", "")


def test_two_run_at_once_and_others_wait_their_turn(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "TURNS", console.Turns(at_once=2, patience=0.5, most_waiting=1))
    snapshot = queries.locate(results)
    release = threading.Event()
    running = threading.Semaphore(0)
    states: list[str] = []

    def hold(state: str) -> None:
        running.release()
        if release.is_set():
            raise Leaves

    def ask(watch: console.Watch) -> str:
        try:
            return f"{console.run(snapshot, SLOW, seconds=60, watch=watch)}"
        except (ConsoleError, Leaves) as error:
            return f"{type(error).__name__} {error}"

    with ThreadPoolExecutor(4) as readers:
        first = [readers.submit(ask, hold) for _ in range(2)]
        for _ in range(4):
            running.acquire()
        third = readers.submit(ask, states.append)
        while not states:
            time.sleep(0.01)
        fourth = readers.submit(ask, states.append)
        assert "3 statements run or wait already" in fourth.result(60)
        assert (
            "It waited 0.5 s for its turn and was not run: 2 statements are before it"
            in third.result(60)
        )
        release.set()
        assert [f.result(60) for f in first] == ["Leaves "] * 2
    assert set(states) == {"Waiting: 2 statements are before this one, 2 run at once"}
    assert console.run(snapshot, "SELECT 1 AS n").rows["n"].tolist() == [1]


def test_cells_and_answers_are_cut_before_they_cross(results: Path) -> None:
    snapshot = queries.locate(results)
    wide = console.run(snapshot, f"SELECT {statements.WIDE} FROM range(20)")
    assert wide.cut and len(wide.rows) < 20 and len(wide.rows.columns) == 500
    assert wide.rows.memory_usage(deep=True).sum() < 4 * console.ANSWER_BYTES
    lists = console.run(
        snapshot,
        "SELECT range(1000000) AS l, {'a': range(1000000)} AS s, repeat('ü', 1000000) AS t",
    )
    assert [len(lists.rows[name][0]) for name in "st"] == [console.CELL + 1] * 2
    assert lists.rows["l"][0].startswith("[0, 1, 2, ") and len(lists.rows["l"][0]) < console.CELL
    with pytest.raises(ConsoleError, match="501 columns; 500 are allowed"):
        console.run(snapshot, "SELECT " + ", ".join(map(str, range(501))))


def test_numbers_keep_their_value(results: Path) -> None:
    rows = console.run(
        queries.locate(results),
        "SELECT sum(n) AS a, max(n) + 9007199254740993 AS b, 1.25 AS c, avg(n) AS d, 2::UBIGINT AS e, "
        "170141183460469231731687303715884105727 AS f, NULL AS g, now() AS h FROM range(4) t(n)",
    ).rows
    assert rows[["a", "c", "d", "e"]].values.tolist() == [[6, 1.25, 1.5, 2]]
    assert rows["b"].tolist() == ["9007199254740996"]
    assert rows["f"].tolist() == ["170141183460469231731687303715884105727"]
    assert rows["g"].isna().all() and rows["h"][0] > "2024-01-01"


def test_answers_are_kept_up_to_their_size(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = queries.locate(results)
    answers = console.Answers(most_bytes=1000)
    first = answers.of(snapshot, "SELECT uuid() AS u")
    assert answers.of(snapshot, "SELECT uuid() AS u") is first
    assert answers.of(replace(snapshot, stamp="later"), "SELECT uuid() AS u") is not first
    answers.of(snapshot, "SELECT * FROM range(100)")
    assert answers.of(snapshot, "SELECT uuid() AS u") is not first


def test_the_child_imports_little(results: Path) -> None:
    """It has to start in an instant, and within its address space."""
    code = (
        "import runpy, sys, io\n"
        "sys.stdin = io.TextIOWrapper(io.BytesIO(b'{}'))\n"
        f"try: runpy.run_path({str(console.CHILD)!r}, run_name='__main__')\n"
        "except TypeError: pass\n"
        "print(sorted(n for n, m in sys.modules.items() if m and '.' not in n))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    loaded = set(eval(done.stdout))
    assert {"duckdb", "pyarrow"} <= loaded
    assert not loaded & {"streamlit", "torch", "pandas", "numpy", "altair", "app", "pipeline"}
