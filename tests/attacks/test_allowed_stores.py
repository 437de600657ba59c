"""A results folder that names an object store: nothing is contacted unless its user has named that place on this machine."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.engine import run as engine
from pipeline.errors import StoreError
from pipeline.results import allowed_stores
from pipeline.results.folder import Results
from pipeline.results.storage import BucketStore
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

STUDY = {"models": 1, "prompts": 2, "seeds": 1, "steps": 2}
PLACE = "s3://somebody/else"


@pytest.fixture(autouse=True)
def untold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has named a place on this machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(allowed_stores, "_ALLOWED", set())


@pytest.fixture
def contacted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The object stores that are spoken to: none answers."""
    seen: list[str] = []

    class Files:
        def __getattr__(self, name: str) -> object:
            def call(*_: object, **__: object) -> object:
                seen.append(name)
                raise ConnectionError("nobody there")

            return call

    monkeypatch.setattr(BucketStore, "_files", Files())
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    return seen


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    folder = tmp_path / "r"
    engine.run(plan_of(small_study(**STUDY)), folder, "cpu", FakeWorker)
    main(["publish", str(folder)])
    (folder / "shards.json").write_text(json.dumps({"place": PLACE, "owner": "0" * 32}))
    return folder


def commands(folder: Path, tmp_path: Path) -> dict[str, list[str]]:
    copy = tmp_path / "copy"
    if not copy.exists():
        shutil.copytree(folder, copy)
        (copy / "shards.json").unlink()
    both = [str(copy), str(folder)]
    return {
        "status": ["status", str(folder)],
        "verify": ["verify", str(folder)],
        "diff": ["diff", *both],
        "merge": ["merge", *both, "--out", str(tmp_path / "merged"), "--no-publish"],
        "gc": ["gc", str(folder), "--yes"],
        "publish": ["publish", str(folder)],
    }


@pytest.mark.parametrize("command", ["status", "verify", "diff", "merge", "gc", "publish"])
def test_a_place_that_nobody_named_is_not_contacted(
    command: str,
    stranger: Path,
    contacted: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    arguments = commands(stranger, tmp_path)[command]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and f"add --shards {PLACE}" in lines[0], said
    assert contacted == []

    main([*arguments, "--shards", f"{PLACE}/"])
    if command != "diff":  # to which the ledgers' hashes are enough
        assert contacted, "once it is named, it is asked"
    main(arguments)
    assert "add --shards" not in capsys.readouterr().err, "it stays named"
    assert allowed_stores.file().read_text().split() == [PLACE]


def test_a_run_does_not_contact_it_either(stranger: Path, contacted: list[str]) -> None:
    with pytest.raises(StoreError, match="add --shards"):
        engine.run(plan_of(small_study(**STUDY)), stranger, "cpu", FakeWorker)
    with pytest.raises(StoreError, match=f"are in {PLACE}"):
        engine.run(plan_of(small_study(**STUDY)), stranger, "cpu", FakeWorker, shards="s3://mine/x")
    assert contacted == [] and not allowed_stores.is_allowed("s3://mine/x")


def test_folders_on_the_disk_need_no_naming(tmp_path: Path) -> None:
    engine.run(plan_of(small_study(**STUDY)), tmp_path / "r", "cpu", FakeWorker, shards=str(tmp_path / "place"))  # fmt: skip
    assert main(["status", str(tmp_path / "r")]) == 0
    assert not allowed_stores.file().exists()


def test_a_place_is_told_for_this_process_where_the_list_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    allowed_stores.allow("s3://mine/x/")
    assert allowed_stores.is_allowed("s3://mine/x") and not allowed_stores.is_allowed("s3://mine/y")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert allowed_stores.file().is_relative_to(Path.home())


def test_only_object_stores_can_be_named(
    stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(stranger), "--shards", "ftp://host/x"]) == 2
    assert "is not an object store known here" in capsys.readouterr().err
    assert json.loads(Results(stranger).shards_json.read_text())["place"] == PLACE
