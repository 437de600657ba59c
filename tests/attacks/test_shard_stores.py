"""Shard stores that several folders share, or that a stranger's folder names; and locks whose file is removed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.engine import run as engine
from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.safe_files import UnsafeFileError, open_in_place, replace_whole
from pipeline.results.verify import verify
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

WHOLE = {"models": 1, "prompts": 8, "seeds": 2, "steps": 3}
SMALLER = WHOLE | {"seeds": 1}
OTHER = WHOLE | {"steps": 4}


def run(folder: Path, store: Path | None, **study):
    root = None if store is None else str(store)
    return engine.run(plan_of(small_study(**study)), folder, "cpu", FakeWorker, shards=root)


def files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_gc_of_one_study_leaves_the_shards_of_another_in_the_same_place(tmp_path, capsys):
    a, b, store = tmp_path / "a", tmp_path / "b", tmp_path / "place"
    run(a, store, **WHOLE)
    run(b, store, **OTHER)
    run(a, None, **SMALLER)  # half of a's shards are superseded
    before = files(store)
    assert main(["gc", str(a), "--yes"]) == 0
    out = capsys.readouterr().out
    assert "2 superseded shards" in out and "left alone: 4 Parquet files" in out
    gone = before.keys() - files(store).keys()
    assert len(gone) == 2 and verify(a) == [] and verify(b) == []
    assert {k: v for k, v in before.items() if k not in gone} == files(store)
    assert run(b, None, **OTHER).work_units == 0


def test_two_folders_of_one_study_in_one_place_do_not_overwrite_each_other(tmp_path):
    """Their units have the same ids: one is half of the other."""
    a, b, store = tmp_path / "a", tmp_path / "b", tmp_path / "place"
    run(a, store, **WHOLE)
    run(b, store, **SMALLER)
    assert verify(a) == [] and verify(b) == []
    run(a, None, **OTHER)
    assert main(["gc", str(a), "--yes"]) == 0
    assert verify(b) == [] and run(b, None, **SMALLER).work_units == 0


def stranger(folder: Path, mine: Path, **record: str) -> Path:
    """A finished folder that says that its shards are in a place of mine, and whose ledger names every shard there."""
    run(folder, None, **OTHER)
    (folder / "shards.json").write_text(json.dumps({"place": str(mine), **record}))
    return folder


@pytest.mark.parametrize("knows_mark", [False, True])
def test_a_strangers_folder_neither_removes_nor_writes_in_a_place_of_mine(
    tmp_path, capsys, knows_mark
):
    mine, store = tmp_path / "mine", tmp_path / "place"
    run(mine, store, **WHOLE)
    mark = json.loads((mine / "shards.json").read_text())["owner"]
    folder = stranger(tmp_path / "theirs", store, **({"owner": mark} if knows_mark else {}))
    with (folder / "ledger.jsonl").open("a") as ledger:
        ledger.write((mine / "ledger.jsonl").read_text())
    before = files(store)
    assert main(["gc", str(folder), "--yes"]) == 0
    assert "does not know this folder" in capsys.readouterr().out
    with pytest.raises(StoreError, match="does not know this folder.*run with --shards"):
        run(folder, None, **OTHER)
    assert files(store) == before and verify(mine) == []


def test_a_copy_of_a_folder_is_not_an_owner(tmp_path):
    a, store = tmp_path / "a", tmp_path / "place"
    run(a, store, **WHOLE)
    copy = shutil.copytree(a, tmp_path / "copy")
    assert verify(copy) == []  # it may read
    with pytest.raises(StoreError, match="does not know this folder"):
        run(copy, None, **OTHER)
    a.rename(tmp_path / "moved")
    assert run(tmp_path / "moved", store, **WHOLE).work_units == 0  # said once
    assert run(tmp_path / "moved", None, **WHOLE).work_units == 0


def test_a_folder_of_an_older_version_is_resumed(tmp_path):
    """Its shards have no mark, and its record no owner."""
    folder, store = tmp_path / "r", tmp_path / "place"
    run(folder, None, **WHOLE)
    (folder / "shards").rename(store)
    (folder / "shards.json").write_text(json.dumps({"place": str(store)}))
    assert verify(folder) == []
    with pytest.raises(StoreError, match=f"run with --shards {store}"):
        run(folder, None, **WHOLE)
    assert run(folder, store, **WHOLE).work_units == 0
    before = files(store)
    assert run(folder, None, **OTHER).work_units == 4
    assert main(["gc", str(folder), "--yes"]) == 0
    assert before.items() <= files(store).items()


def test_gc_leaves_shards_that_the_ledger_did_not_write(tmp_path, capsys):
    folder = tmp_path / "r"
    run(folder, None, **WHOLE)
    (folder / "shards" / f"{'0' * 32}.parquet").write_bytes(b"put here by hand")
    assert main(["gc", str(folder), "--yes"]) == 0
    assert "1 shards that are not what this ledger wrote" in capsys.readouterr().out
    assert (folder / "shards" / f"{'0' * 32}.parquet").exists()


def hold(folder: Path, ready, done) -> None:
    results = Results(folder)
    with results.locked(), results.locked("publish.lock", "a publisher"):
        ready.set()
        done.wait(600)


@pytest.mark.parametrize("harm", ["removed", "replaced", "renamed"])
def test_a_lock_holds_whatever_happens_to_its_file(tmp_path, harm):
    folder = tmp_path / "r"
    run(folder, None, **WHOLE)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(folder, ready, done))
    holder.start()
    try:
        assert ready.wait(600)
        for name in ("lock", "publish.lock"):
            path = folder / name
            if harm == "renamed":
                path.rename(folder / f"{name}.old")
            else:
                path.unlink()
            if harm == "replaced":
                path.write_text("{}")
        with pytest.raises(StoreError, match="in use by a run"):
            run(folder, None, **WHOLE)
        assert main(["publish", str(folder)]) == 2
    finally:
        done.set()
        holder.join(300)
    assert run(folder, None, **WHOLE).work_units == 0 and main(["publish", str(folder)]) == 0


def test_only_files_of_ours_are_written_in_place(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "link").symlink_to(mine)
    (folder / "hard").hardlink_to(mine)
    (folder / "inner").symlink_to(tmp_path)
    for name in ("link", "hard", "inner/new", "inner"):
        with pytest.raises(UnsafeFileError):
            open_in_place(folder / name)
    for name in ("link", "hard"):
        replace_whole(folder / name, b"new")  # the name is replaced, not the file behind it
    assert mine.read_text() == "mine" and (folder / "link").read_bytes() == b"new"
    with pytest.raises(UnsafeFileError):
        replace_whole(folder / "inner" / "new", b"")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "r"}
    assert {path.name for path in folder.iterdir()} == {"link", "hard", "inner"}
