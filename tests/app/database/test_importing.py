"""A published data set becomes the study that it was exported from, and one that means harm becomes one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import stepscope
from app.database import data_set, importing
from app.database.data_set import DataSetError
from pipeline.database.export import export
from stepscope import __main__ as command

Change = Callable[[Path, dict[str, Any]], object]


@pytest.fixture(scope="module")
def small(one_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of a study of one model, six prompts and one seed."""
    folder = tmp_path_factory.mktemp("small")
    copy = shutil.copytree(one_model, folder / "results")  # others may hold the shared one open
    export(Path(copy), folder / "data-set")
    return folder / "data-set"


@pytest.mark.parametrize("form", ["parquet", "huggingface"])
def test_every_row_of_every_table_comes_back(
    two_scorers: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export of what was imported is the first export to the byte, images and second scorer included."""
    copy = Path(shutil.copytree(two_scorers, tmp_path / "results"))
    tables = export(copy, tmp_path / "first", form)
    shutil.rmtree(copy)
    arguments = ["import", str(tmp_path / "first"), "--out", str(tmp_path / "imported")]
    assert command.main(arguments) == 0
    rows = sum(table.rows for table in tables[1:])
    assert f"{len(tables) - 1} tables, {rows:,} rows in " in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "imported"]
    export(tmp_path / "imported", tmp_path / "second", form)
    for name in ("manifest.json", "README.md")[: 1 + (form == "huggingface")]:
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    with stepscope.open(tmp_path / "imported") as study, stepscope.open(two_scorers) as original:
        assert study.scores().equals(original.scores())
        assert study.images(prompts=1).encoded == original.images(prompts=1).encoded


def test_a_data_set_is_not_opened_as_a_study(small: Path) -> None:
    with pytest.raises(stepscope.StudyError, match="data set, .*app.database.importing .* --out"):
        stepscope.open(small)


def set_facts(**facts: Any) -> Change:
    return lambda folder, record: record.update(facts)


def replace_text(text: str) -> Change:
    return lambda folder, record: not (folder / "manifest.json").write_text(text)


def named(path: str) -> Change:
    """A table's file under another path."""

    def change(folder: Path, record: dict[str, Any]) -> None:
        (digest,) = record["tables"]["step"]["files"].values()
        record["tables"]["step"]["files"] = {path: digest}

    return change


def rewritten(name: str, change: Callable[[pa.Table], pa.Table], **options: Any) -> Change:
    """A table with other content, whose manifest says so."""

    def apply(folder: Path, record: dict[str, Any]) -> None:
        (path,) = record["tables"][name]["files"]
        table = change(pq.read_table(folder / path))
        pq.write_table(table, folder / path, **options)
        digest = hashlib.sha256((folder / path).read_bytes()).hexdigest()
        record["tables"][name] = {"rows": len(table), "files": {path: digest}}

    return apply


def in_place(name: str, put: Callable[[Path], object]) -> Change:
    """Something else at the path of a file or folder of the data set."""

    def change(folder: Path, record: dict[str, Any]) -> bool:
        path = folder / name
        path.rename(folder.with_name("moved"))
        put(path)
        return name != "manifest.json"

    return change


def with_bytes(data: bytes, *, listed: bool) -> Change:
    """A file with other bytes, of which the manifest tells or not."""

    def change(folder: Path, record: dict[str, Any]) -> None:
        (folder / STEP).write_bytes(data)
        if listed:
            record["tables"]["step"]["files"] = {STEP: hashlib.sha256(data).hexdigest()}

    return change


def column(name: str, values: Callable[[pa.Table], Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(t.schema.get_field_index(name), name, values(t))


def repeated(table: pa.Table) -> pa.Table:
    """4,000 prompts of one text of 2 MB that is stored once."""
    rows = 4000
    text = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array(["x" * 2_000_000]))
    ids = pa.array(np.arange(1, rows + 1), pa.int32())
    return pa.table({
        name: text if name == "text" else ids if name in ("prompt_id", "words") else ids.cast(pa.string())
        for name in table.schema.names
    })  # fmt: skip


STEP = "data/step/train-00000.parquet"
HARMED: dict[str, tuple[Change, str]] = {
    "no manifest": (lambda folder, record: (folder / "manifest.json").unlink() or False, "manifest.json: cannot be read (No such file.* pipeline export"),
    "no JSON": (replace_text("{"), "manifest.json: not the manifest of a data set (not JSON)"),
    "deep JSON": (replace_text("[" * 100_000), "not the manifest of a data set"),
    "no record": (replace_text("[]"), "study is None; allowed: a text"),
    "a terminal's codes": (set_facts(study={"\x1b[31m": 1}), r"study is {'\x1b[31m': 1}; allowed: a text"),
    "no hash": (set_facts(content_hash="a"), "content_hash is 'a'; allowed: [0-9a-f]{64}"),
    "older": (set_facts(schema_version=8), "has schema 8; this version imports schema 9. Export it again with this version."),
    "newer": (set_facts(schema_version=10), "has schema 10; this version imports schema 9. Use a newer Stepscope."),
    "no number": (set_facts(snapshot=True), "snapshot is True; allowed: 1 to 999999999"),
    "another study": (set_facts(content_hash="0" * 64), "table 'study' is not the one that manifest.json names"),
    "unknown table": (lambda folder, record: record["tables"].update(x=record["tables"]["step"] | {"files": {}}), "unknown table 'x'. Allowed: study, model"),
    "no table": (lambda folder, record: record["tables"].pop("frame") and None, "no table 'frame'. Allowed: study, model"),
    "rows": (lambda folder, record: record["tables"]["step"].update(rows=-1), "rows is -1; allowed: 0 to"),
    "other rows": (lambda folder, record: record["tables"]["step"].update(rows=7), "table step has 7 rows; its files have 6"),
    "more rows": (lambda folder, record: record["tables"]["step"].update(rows=5), "has more rows than the 5 of manifest.json"),
    "above": (named("../../etc/passwd"), "has a file '../../etc/passwd'; allowed: data/step/train-00000.parquet"),
    "absolute": (named("/etc/passwd"), "has a file '/etc/passwd'"),
    "another table's": (named("data/model/train-00000.parquet"), "has a file 'data/model/train-00000.parquet'"),
    "missing file": (in_place(STEP, lambda path: None), "is missing. Download or export"),
    "linked file": (in_place(STEP, lambda path: path.symlink_to(path.parents[3] / "moved")), "is a link, .*hf download"),
    "linked folder": (in_place("data/step", lambda path: path.symlink_to(path.parents[2] / "moved")), "step is a link"),
    "linked folders": (in_place("data", lambda path: path.symlink_to(path.parents[1] / "moved")), "data is a link"),
    "linked manifest": (in_place("manifest.json", lambda path: path.symlink_to(path.parents[1] / "moved")), "manifest.json: cannot be read"),
    "a pipe": (in_place(STEP, os.mkfifo), "is not a regular file"),
    "a folder": (in_place(STEP, Path.mkdir), "is not a regular file"),
    "other bytes": (with_bytes(b"x" * 64, listed=False), "damaged: its sha256 is not that of manifest.json"),
    "no Parquet": (with_bytes(b"x" * 64, listed=True), "train-00000.parquet: Parquet magic bytes"),
    "one more column": (rewritten("step", lambda t: t.append_column("x;--", t["step"])), "unknown column 'x;--'; allowed: model_id, step"),
    "one column less": (rewritten("step", lambda t: t.drop_columns("sigma")), "no column 'sigma'; allowed: model_id, step"),
    "a text for a number": (rewritten("step", column("sigma", lambda t: t["sigma"].cast(pa.string()))), "column 'sigma' is 'string'; allowed: double"),
    "a wider number": (rewritten("step", column("step", lambda t: t["step"].cast(pa.int64()))), "column 'step' is 'int64'; allowed: int32"),
    "no UTF-8": (rewritten("prompt", column("text", lambda t: pa.array([b"\xff"] * len(t)).cast(pa.string(), safe=False))), "Invalid UTF8 sequence"),
    "a missing value": (rewritten("step", column("sigma", lambda t: pa.nulls(len(t), pa.float64()))), "not those of one study (Constraint Error: NOT NULL"),
    "a row twice": (rewritten("step", lambda t: pa.concat_tables([t, t])), "not those of one study (Constraint Error"),
    "two studies": (rewritten("study", lambda t: pa.concat_tables([t, t])), "table 'study' is not the one"),
    "no study": (rewritten("study", lambda t: t.slice(0, 0)), "table 'study' is not the one"),
    "a sample of nothing": (rewritten("frame", column("sample_id", lambda t: pc.add(t["sample_id"], 900))), "contradict each other: samples of frames exist"),
    "repeated for ever": (rewritten("prompt", repeated, store_schema=False), "repeats values beyond 1,073,741,824 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMED)
def test_what_means_harm_is_one_line_and_leaves_nothing(
    small: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data-set"))
    change, expected = HARMED[case]
    record = json.loads((folder / "manifest.json").read_text())
    if change(folder, record) is not False:
        (folder / "manifest.json").write_text(json.dumps(record))
    before = sorted(tmp_path.iterdir())
    assert importing.main([str(folder), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {folder}") and line.isprintable() and len(line) < 1000
    for part in expected.split(".*"):
        assert part in line
    assert sorted(tmp_path.iterdir()) == before


def test_damaged_files_that_the_manifest_vouches_for_are_rows_or_one_error(
    small: Path, tmp_path: Path
) -> None:
    """Bytes changed at random, mostly in the metadata: Arrow ends the process at some of them unless a read comes first."""
    folder, random = Path(shutil.copytree(small, tmp_path / "data-set")), np.random.default_rng(0)
    whole, step = (folder / STEP).read_bytes(), data_set.read_manifest(folder).tables["step"]
    schema, refused = pq.read_schema(folder / STEP), 0
    for _ in range(300):
        data = bytearray(whole)
        for distance in random.integers(1, min(len(data), 4000), random.integers(1, 9)):
            data[-distance] = random.integers(256)
        (folder / STEP).write_bytes(data)
        table = data_set.Table(step.rows, {STEP: hashlib.sha256(data).hexdigest()})
        try:
            rows = list(data_set.batches(data_set.DataSet(folder, {}, {"step": table}), "step", schema))  # fmt: skip
            assert sum(map(len, rows)) == step.rows
        except DataSetError as error:
            assert str(error).startswith(str(folder)) and str(error).isprintable()
            refused += 1
    assert 100 < refused < 300


def test_a_manifest_or_file_over_the_limits_is_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("MAX_MANIFEST", 100), ("MAX_FILES", 3), ("MAX_FILE", 100), ("MAX_GROUP", 9)):  # fmt: skip
        with monkeypatch.context() as patch, pytest.raises(DataSetError, match="than|at most"):
            patch.setattr(data_set, name, most)
            importing.import_data_set(small, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_batches_of_any_size_are_the_same_rows(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a column is looked at for repeats first."""
    whole = importing.import_data_set(small, tmp_path / "whole")
    monkeypatch.setattr(data_set, "BATCH_ROWS", 100)
    monkeypatch.setattr(data_set, "MAX_BATCH", 300_000)
    parts = importing.import_data_set(small, tmp_path / "parts")
    assert whole.rows == parts.rows
    for folder in ("whole", "parts"):
        export(tmp_path / folder, tmp_path / f"{folder}-again")
    first, second = (tmp_path / f"{name}-again" / "manifest.json" for name in ("whole", "parts"))
    assert first.read_bytes() == second.read_bytes()


def test_the_folder_is_new_or_empty(small: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    importing.import_data_set(small, tmp_path / "empty")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("empty", "link"):
        with pytest.raises(DataSetError, match="exists and is not empty. Give another folder"):
            importing.import_data_set(small, tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(DataSetError, match="cannot be written"):
        importing.import_data_set(small, tmp_path / "file" / "out")
