"""A backup of the reviews is whole although others write."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from app.database import backup, notebook


def store_in(folder: Path) -> Path:
    """A file of reviews with one table of ours filled in, as a server keeps it."""
    store = notebook.store_of(folder)
    with sqlite3.connect(store) as connection:
        connection.executescript(notebook.statement("schema"))
        connection.execute("CREATE TABLE pair (a INTEGER, b INTEGER)")
        connection.execute("INSERT INTO pair VALUES (0, 0)")
    connection.close()
    return store


def test_every_copy_is_of_one_moment(tmp_path: Path) -> None:
    study = tmp_path / "demo"
    study.mkdir()
    store, stop = store_in(study), threading.Event()
    written = threading.Event()

    def write() -> None:
        connection = sqlite3.connect(store, 30)
        number = 0
        while not stop.is_set():
            number += 1
            with connection:
                connection.execute("UPDATE pair SET a = ?", [number])
                connection.execute("UPDATE pair SET b = ?", [number])
            written.set()
            stop.wait(0.01)  # a writer that never pauses lets nobody else in
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for number in range(6):
            written.clear()
            assert written.wait(
                300
            )  # so that copies are of different moments, however slow the writer is
            copy = tmp_path / f"{number}.sqlite"
            while backup.main([str(study), "--out", str(copy)]):
                pass  # busy for a moment
            with sqlite3.connect(copy) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                (pair,) = connection.execute("SELECT a, b FROM pair").fetchall()
            connection.close()
            assert pair[0] == pair[1]
            seen.add(pair)
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1  # it was written meanwhile


def test_without_reviews_there_is_no_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup.main([str(tmp_path), "--out", str(tmp_path / "copy")]) == 2
    assert "there are no reviews yet" in capsys.readouterr().err
    store_in(tmp_path)
    assert backup.main([str(tmp_path), "--out", str(tmp_path / "no" / "copy")]) == 2
    assert not list(tmp_path.rglob("*copy*"))
