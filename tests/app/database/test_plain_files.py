"""A stranger's results folder: logs and pointers that are pipes, devices, links or without an end do not hold the dashboard."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.database import runs, snapshots
from app.database.snapshots import SnapshotError

LINE = json.dumps({"event": "start", "time": "2026-11-28T10:00:00+00:00", "samples": 4}) + "\n"


def pipe(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def endless(path: Path, secret: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path, secret: Path) -> None:
    path.mkdir()


def long_line(path: Path, secret: Path) -> None:
    """A file of 1 TB without a line's end, that takes no room."""
    with path.open("wb") as file:
        file.truncate(2**40)


HARMS = [pipe, link, endless, folder, long_line]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_log_is_no_progress(harm: Callable[[Path, Path], None], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(LINE)
    logs = tmp_path / "study" / "logs"
    logs.mkdir(parents=True)
    (logs / "run-20260101.jsonl").write_text(LINE)
    assert runs.progress(tmp_path / "study") is not None
    harm(logs / "run-20260102.jsonl", tmp_path / "secret")
    assert runs.progress(tmp_path / "study") is None


@pytest.mark.timeout(300)
def test_a_folder_of_logs_that_leads_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "run-20260101.jsonl").write_text(LINE)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "logs").symlink_to(tmp_path / "logs")
    assert runs.progress(tmp_path / "study") is None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_pointer_is_named(
    harm: Callable[[Path, Path], None], results: Path, tmp_path: Path
) -> None:
    shutil.copy(results / "current.json", tmp_path / "secret")
    study = tmp_path / "study"
    study.mkdir()
    harm(study / "current.json", tmp_path / "secret")
    with pytest.raises(SnapshotError, match="pointer to the current snapshot cannot be read"):
        snapshots.locate(study)


@pytest.mark.parametrize("entry", ["snapshots/x.duckdb", "snapshots"])
def test_a_snapshot_that_is_a_link_out_of_its_folder_is_not_opened(
    entry: str, results: Path, tmp_path: Path
) -> None:
    pointer = json.loads((results / "current.json").read_text())
    study = tmp_path / "study"
    study.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(results / pointer["snapshot"], elsewhere / "x.duckdb")
    (study / "current.json").write_text(json.dumps({"snapshot": "snapshots/x.duckdb"}))
    if entry == "snapshots":
        (study / "snapshots").symlink_to(elsewhere)
    else:
        (study / "snapshots").mkdir()
        (study / "snapshots" / "x.duckdb").symlink_to(elsewhere / "x.duckdb")
    with pytest.raises(SnapshotError, match=r"snapshot that current\.json names is gone"):
        snapshots.locate(study)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("harm", [*HARMS, lambda path, _: path.write_bytes(b"x")])
def test_a_write_ahead_log_beside_a_snapshot_is_refused(
    harm: Callable[[Path, Path], None], results: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(LINE)
    file = tmp_path / "x.duckdb"
    shutil.copy(results / json.loads((results / "current.json").read_text())["snapshot"], file)
    snapshots.connect(str(file)).close()
    harm(tmp_path / "x.duckdb.wal", tmp_path / "secret")
    with pytest.raises(SnapshotError, match="no write-ahead log beside it"):
        snapshots.connect(str(file))
