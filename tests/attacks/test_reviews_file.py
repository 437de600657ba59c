"""The reviews' file as a stranger may leave it: every cell a page or one sentence; locks, views, triggers, damage, journals."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from app.analysis import decisions, looks, reviews, slices, tags
from app.analysis.criteria import Gate
from app.analysis.reviews import Criterion, Note, Review
from app.database import notebook
from app.database.notebook import ReviewError
from tests.support.pages import Open, shown

HOSTILE = {
    "NULL": None,
    "empty": "",
    "whole number": 2**63 - 1,
    "negative": -(2**63),
    "float": 1e308,
    "infinite": float("inf"),
    "blob": b"\x00\xff\xfe" * 40,
    "long": "x" * 300_000,
    "huge": "x" * 3_000_000,
    "Markdown": "**b** [c](javascript:alert(1)) ![i](http://127.0.0.1:9/x.png) :red[x] $x$",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "control characters": "a\x00b\x1b[31mc\x07\u202ed\u2028e",
    "no date": "yesterday",
    "far date": "9999-12-31T23:59:59+14:00",
    "odd date": "0000-00-00T25:61:61",
    "no UTF-8": b"CAST",  # written as TEXT that is no UTF-8
    "surrogate": b"SURROGATE",
    "SQL": "'; DROP TABLE review; --",
    "deep JSON": "[" * 100_000,
    "JSON": '{"slice_most": 1e999, "slice_text": 7, "categories": [{}, [1], null], "slice_roles": [[]], "slice_tags": [[], "1", 0, 1.5, true, 1e999]}',
    "JSON of 400 digits": '{"slice_most": ' + "9" * 400 + ', "slice_low": NaN}',
}
RAW = {b"CAST": "CAST(x'c328ff' AS TEXT)", b"SURROGATE": "CAST(x'eda080' AS TEXT)"}
COLUMNS = {
    "review": ["review_id", "created_at", "author", "question", "baseline", "candidate", "filters", "snapshot", "content_hash"],
    "criterion": ["review_id", "measure", "direction", "margin"],
    "note": ["kind", "author", "written_at", "text", "snapshot", "content_hash"],
    "slice": ["name", "filters"],
    "tag": ["prompt_key", "tag"],
    "decision": ["kind", "author", "made_at", "snapshot", "content_hash", "scorer", "filters", "numbers"],
    "look": ["prompts", "most", "shape", "verdict"],
}  # fmt: skip
CELLS = [(table, column) for table, columns in COLUMNS.items() for column in columns]
assert len(CELLS) * len(HOSTILE) >= 400


def stranger(store: Path) -> sqlite3.Connection:
    """A file of the same tables without one of their rules, with a good review, note and slice in it."""
    connection = sqlite3.connect(store, isolation_level=None)
    for table, (columns, _) in notebook.own_tables().items():
        connection.execute(f"CREATE TABLE {table} ({', '.join(sorted(columns))})")
    for table, values in GOOD.items():
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values())
        )
    return connection


GATE = Gate("a", "b", (Criterion("CLIP score", "higher", 0.1),))
REVIEW = {
    "review_id": "good", "created_at": "2026-01-02T03:04:05+00:00", "author": "Ada", "question": "May it?",
    "baseline": "scenes-unet", "candidate": "scenes-unet-short", "filters": "", "snapshot": 1, "content_hash": "h",
}  # fmt: skip
GOOD = {
    "review": REVIEW,
    "criterion": {"review_id": "good", "place": 0, "measure": "CLIP score", "direction": "higher", "margin": 0.1},
    "note": {"note_id": 1, "review_id": "good", "kind": "note", "author": "Ada", "written_at": REVIEW["created_at"], "text": "Fine", "snapshot": 1, "content_hash": "h"},
    "slice": {"name": "cats", "written_at": "2026", "filters": '{"slice_text": "cat"}'},
    "tag": {"prompt_key": "0123", "tag": 1, "written_at": "2026"},
    "decision": {"decision_id": 1, "review_id": "good", "kind": "saved", "author": "Ada", "made_at": REVIEW["created_at"], "snapshot": 1, "content_hash": "h", "scorer": "", "filters": "",
                 "numbers": '[{"criterion": "CLIP score not worse", "measure": "CLIP score", "verdict": "pass", "difference": 0.1, "prompts": 9}]'},
    "look": {"gate": GATE.sha256(), "number": 1, "looked_at": REVIEW["created_at"], "prompts": 10, "most": 20, "shape": "pocock", "snapshot": 1, "content_hash": "h", "verdict": "undecided"},
}  # fmt: skip


def put(connection: sqlite3.Connection, table: str, column: str, value: object) -> None:
    raw = RAW.get(value) if isinstance(value, bytes) else None
    if raw:
        connection.execute(f"UPDATE {table} SET {column} = {raw}")
    else:
        connection.execute(f"UPDATE {table} SET {column} = ?", (value,))


def read_all(store: Path) -> str:
    """All that pages read, by their own functions; the one sentence where there is one."""
    try:
        readable, bad = reviews.readable_reviews(store)
        notes, worse = reviews.readable_notes(store, "good")
        named = slices.saved(store)
        tagged = tags.by_prompt(store)
        frozen, worst = decisions.of_review(store, "good")
    except ReviewError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return str(error)
    for each in readable:
        assert isinstance(each, Review) and all(isinstance(c, Criterion) for c in each.criteria)
        assert reviews.when(each.created_at) and each.criteria
    for note in notes:
        assert (
            isinstance(note, Note) and note.kind in reviews.KINDS and reviews.when(note.written_at)
        )
        assert len(note.text) <= reviews.LONGEST["text"]
    assert all(set(each) <= set(tags.TAGS) and len(key) <= 100 for key, each in tagged.items())
    read_looks(store)
    for each in frozen:
        assert each.kind in decisions.KINDS and reviews.when(each.made_at) and each.verdict
        assert isinstance(decisions.beside(each, []), pd.DataFrame) and len(each.rows) == 1
    for state in named.values():
        slices.question(state)
        slices.sentence(slices.question(state) or NOTHING)
    texts = [
        t for o in (*readable, *notes, *frozen) for t in vars(o).values() if isinstance(t, str)
    ]
    assert all(c == "\n" or c.isprintable() for text in texts for c in text)
    return f"{len(readable)} {bad} {len(notes)} {worse} {len(frozen)} {worst}"


def read_looks(store: Path) -> None:
    """The looks of a gate give a level, or one sentence why there is none."""
    try:
        for look in (taken := looks.of_gate(store, GATE)):
            assert 0 < looks.level([each.prompts for each in taken], look.most, look.shape) <= 0.05
    except ReviewError as error:
        assert "\n" not in str(error) and len(str(error)) < 600


NOTHING = {"text": "", "fewest": None, "most": None, "roles": [], "measure": "", "low": None, "high": None, "top": 0, "direction": -1}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_cell_is_a_page_or_one_sentence(kind: str, tmp_path: Path) -> None:
    for table, column in CELLS:
        folder = tmp_path / f"{table}-{column}"
        folder.mkdir()
        store = notebook.store_of(folder)
        connection = stranger(store)
        assert read_all(store) == "1 0 1 0 1 0"
        put(connection, table, column, HOSTILE[kind])
        connection.close()
        before = store.read_bytes()
        said = read_all(store)
        assert said, (table, column)
        assert store.read_bytes() == before, "reading changes nothing"


def test_a_review_with_one_bad_criterion_is_not_judged_by_the_others(tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    connection = stranger(store)
    connection.execute("INSERT INTO criterion (review_id, place, measure, direction, margin) VALUES ('good', 1, 'CLIP score', 'higher', NULL)")  # fmt: skip
    connection.close()
    assert reviews.readable_reviews(store) == ([], 1)


ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n"
OBJECTS = {
    "an endless view": f"DROP TABLE slice; CREATE VIEW slice AS {ENDLESS} name, n filters, n written_at FROM t",
    "a trigger that deletes": "CREATE TRIGGER t AFTER INSERT ON note BEGIN DELETE FROM review; END",
    "a trigger of capitals": "CREATE TRIGGER t AFTER INSERT ON NOTE BEGIN DELETE FROM review; END",
    "a virtual table": "DROP TABLE note; CREATE VIRTUAL TABLE note USING fts5(review_id, kind, author, written_at, text, snapshot, content_hash, note_id)",
    "a computed column": "DROP TABLE note; CREATE TABLE note (note_id, review_id, kind, author, written_at, snapshot, content_hash, text AS (hex(zeroblob(900000))))",
    "a column less": "DROP TABLE note; CREATE TABLE note (text)",
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_stepscope_did_not_make_is_not_run_and_is_kept(name: str, tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    connection = stranger(store)
    connection.executescript(OBJECTS[name])
    connection.close()
    before = store.read_bytes()
    assert "The file is kept" in read_all(store)
    slices.save(store, "new", {"slice_text": "cat"})
    assert slices.saved(store) == {"new": {"slice_text": "cat"}}
    (aside,) = tmp_path.glob("*.damaged-*")
    assert aside.read_bytes() == before


SLOW = (
    "'" + "a" * 9_000 + "' LIKE '" + "%a" * 40 + "b'"
)  # hours, in one function that nothing interrupts
CODE = {
    "a check": lambda schema: schema.replace("filters TEXT NOT NULL", f"filters TEXT NOT NULL CHECK ({SLOW})"),
    "a check behind a literal": lambda schema: schema.replace("'higher'", f"'higher--' || ({SLOW}) || '\n'"),
    "a default": lambda schema: schema.replace("PRIMARY KEY (review_id", f"x DEFAULT ({SLOW}), PRIMARY KEY (review_id"),
    "an index": lambda schema: f"{schema} CREATE INDEX i ON slice (({SLOW}));",
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_code_that_a_write_would_run_is_not_run(name: str, tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    with sqlite3.connect(store) as connection:
        connection.executescript(CODE[name](notebook.statement("schema")))
    slices.save(store, "new", {"slice_text": "cat"})
    assert slices.saved(store) == {"new": {"slice_text": "cat"}} and [*tmp_path.glob("*.damaged-*")]


def test_the_files_of_earlier_versions_are_written(tmp_path: Path) -> None:
    """Before slices there was no such table; comments and spaces of the schema may change."""
    store = notebook.store_of(tmp_path)
    old = notebook.statement("schema").split("CREATE TABLE IF NOT EXISTS slice")[0]
    with sqlite3.connect(store) as connection:
        connection.executescript(old.replace("    ", " ").replace("UTC, ISO 8601", "a time"))
    slices.save(store, "new", {"slice_text": "cat"})
    assert slices.saved(store) and not [*tmp_path.glob("*.damaged-*")]


@pytest.fixture
def locked(tmp_path: Path) -> Callable[[Path], subprocess.Popen[str]]:
    """Locks a file from another process, until its input ends."""

    def lock(store: Path) -> subprocess.Popen[str]:
        code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); sys.stdin.read()"
        process = subprocess.Popen([sys.executable, "-c", code, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        return process

    return lock


def test_a_locked_file_is_waited_for_once_and_read_when_it_is_free(locked, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store = notebook.store_of(tmp_path)
    stranger(store).close()
    other = locked(store)
    with pytest.raises(notebook.BusyError, match="tried again by itself"):
        reviews.all_reviews(store)
    start = time.monotonic()
    for _ in range(50):  # reruns: none of them waits again
        with pytest.raises(notebook.BusyError):
            slices.saved(store)
    assert time.monotonic() - start < 10 * notebook.SECONDS, "it was 50 times 10 s"
    with pytest.raises(notebook.BusyError):
        slices.save(store, "x", {"slice_text": "cat"})
    other.communicate("")
    for _ in range(600):
        if not notebook.is_held(store):
            break
        time.sleep(0.1)
    assert read_all(store) == "1 0 1 0 1 0"
    assert "x" not in slices.saved(store), "what was refused is not written later"


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "link to nothing"])
def test_what_is_no_regular_file_is_refused(what: str, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    stranger(target).close()
    before = target.read_bytes()
    folder = tmp_path / "study"
    folder.mkdir()
    for suffix in ("", "-wal", "-journal"):
        store = notebook.store_of(folder)
        bad = store.with_name(store.name + suffix)
        if suffix:
            stranger(store).close()
        if what == "pipe":
            os.mkfifo(bad)
        elif what == "folder":
            bad.mkdir()
        else:
            bad.symlink_to(target if what == "link" else tmp_path / "gone")
        assert "no regular file" in read_all(store)
        with pytest.raises(ReviewError, match="no regular file"):
            slices.save(store, "x", {"slice_text": "cat"})
        shutil.rmtree(folder)
        folder.mkdir()
    assert target.read_bytes() == before and not (tmp_path / "gone").exists()


def hot_journal(store: Path, names: Path) -> None:
    """A rollback journal that a crash could have left, which names a super-journal."""
    raw, size = store.read_bytes(), 4096
    pages = len(raw) // size
    head = notebook.JOURNAL_END + (0).to_bytes(4, "big") + bytes(4) + pages.to_bytes(4, "big")
    head += (512).to_bytes(4, "big") + size.to_bytes(4, "big")
    name = os.fsencode(names)
    end = (2**30 // size + 1).to_bytes(4, "big") + name + len(name).to_bytes(4, "big")
    end += (sum(b - 256 if b > 127 else b for b in name) % 2**32).to_bytes(
        4, "big"
    ) + notebook.JOURNAL_END
    store.with_name(store.name + "-journal").write_bytes(head.ljust(512, b"\0") + end)


def test_a_journal_deletes_no_file_elsewhere(tmp_path: Path) -> None:
    """SQLite deletes the file that a hot journal names as its super-journal, wherever it is."""
    victim = tmp_path / "thesis.tex"
    gone = {}
    for reader in ("sqlite3", "stepscope"):
        folder = tmp_path / reader
        folder.mkdir()
        store = notebook.store_of(folder)
        stranger(store).close()
        hot_journal(store, victim)
        victim.write_text("three years of work")
        if reader == "sqlite3":
            with sqlite3.connect(store) as connection:
                connection.execute("SELECT count(*) FROM review").fetchall()
        else:
            assert "names another file" in read_all(store)
            with pytest.raises(ReviewError, match="names another file"):
                slices.save(store, "x", {"slice_text": "cat"})
        gone[reader] = not victim.exists()
    assert gone == {"sqlite3": True, "stepscope": False}


def test_what_a_crash_leaves_is_read(tmp_path: Path) -> None:
    """A write-ahead log with the last note in it, as another program's crash leaves it."""
    for each in ("a", "b"):
        (tmp_path / each).mkdir()
    store = notebook.store_of(tmp_path / "a")
    connection = stranger(store)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("UPDATE note SET text = 'only in the log'")
    copy = notebook.store_of(tmp_path / "b")
    for suffix in ("", "-wal"):
        shutil.copy(store.with_name(store.name + suffix), copy.with_name(copy.name + suffix))
    connection.close()
    assert [note.text for note in reviews.notes_of(copy, "good")] == ["only in the log"]


@pytest.mark.parametrize("page", range(2, 12))
def test_damaged_pages(page: int, tmp_path: Path) -> None:
    store = notebook.store_of(tmp_path)
    stranger(store).close()
    raw = bytearray(store.read_bytes())
    start = (page - 2) * 4096 // 2 + (200 if page == 2 else 0)
    raw[start : start + 2048] = os.urandom(2048)
    store.write_bytes(raw)
    said = read_all(store)
    assert said
    try:
        slices.save(store, "new", {"slice_text": "cat"})
    except ReviewError as error:
        assert "\n" not in str(error)
    kept = [path for path in tmp_path.iterdir() if path.read_bytes() == bytes(raw)]
    assert kept or slices.saved(store)["new"]


@pytest.mark.parametrize("kind", ["NULL", "no date", "Markdown", "control characters", "no UTF-8"])
def test_the_page_with_hostile_cells(
    kind: str, open_view: Open, results: Path, tmp_path: Path
) -> None:
    study = tmp_path / "demo"
    shutil.copytree(results, study)
    connection = stranger(notebook.store_of(study))
    for table, column in CELLS:
        if column not in ("review_id", "baseline", "candidate", "kind", "direction", "measure"):
            put(connection, table, column, HOSTILE[kind])
    connection.close()
    app = open_view("review", study, review="good")
    assert not app.exception, [each.value for each in app.exception]
    assert "**b**" not in shown(app).replace("\\*", "") or kind != "Markdown"
