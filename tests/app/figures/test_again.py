"""A figure made again from its manifest and the data set: the same bytes, and what differs is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import stepscope
from app.analysis import tags
from app.database import importing, notebook, snapshots
from app.figures import again, export
from pipeline.database.export import export as publish_data_set
from stepscope import __main__ as command


@pytest.fixture(scope="module")
def exported(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a figure with a filter."""
    folder = tmp_path_factory.mktemp("exported")
    arguments = ["--figure", "emergence", "--venue", "icml", "--seeds", "0", "--out", str(folder)]
    assert export.main([str(results), *arguments]) == 0
    return folder


@pytest.fixture
def figure(exported: Path, tmp_path: Path) -> Path:
    """The manifest of a copy of that figure."""
    return Path(shutil.copytree(exported, tmp_path / "first")) / "emergence.manifest.json"


def test_the_manifest_and_the_data_set_make_the_same_bytes(
    figure: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a copy of the database alone, under another name."""
    copy = tmp_path / "downloaded.duckdb"
    shutil.copy(snapshots.locate(results).path, copy)
    moved = shutil.copy(figure, tmp_path / "m.json")
    capsys.readouterr()
    assert again.main(["--again", str(moved), str(copy), "--out", str(tmp_path / "second")]) == 0
    assert "7 of 7 files are the same to the byte" in capsys.readouterr().out
    for name in json.loads(figure.read_text())["same_on_every_run"]:
        assert (tmp_path / "second" / name).read_bytes() == (figure.parent / name).read_bytes()


@pytest.mark.long
def test_the_published_data_set_alone_is_enough(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Imported, or as it was downloaded; with tags, which are not part of it; made in a clone and again in an installation."""
    folder = Path(shutil.copytree(results, tmp_path / "demo"))
    with stepscope.open(folder) as study:
        for key in study.prompts["prompt_key"].head(3):
            tags.toggle(notebook.store_of(folder), key, 1)
    for name, *more in (("concept-curves", "--slice", "tags=1"), ("film-strip",)):
        arguments = ["--figure", name, *more, "--out", str(tmp_path / "first")]
        assert export.main([str(folder), *arguments]) == 0
    publish_data_set(folder, tmp_path / "data-set", "huggingface")
    shutil.rmtree(folder)
    assert importing.main([str(tmp_path / "data-set"), "--out", str(tmp_path / "imported")]) == 0
    for name, data in (("concept-curves", "imported"), ("film-strip", "data-set")):
        path = tmp_path / "first" / f"{name}.manifest.json"
        record = json.loads(path.read_text())
        installed = record["command"].replace("python -m app.figures", "stepscope figures")
        path.write_text(json.dumps(record | {"command": installed}))
        capsys.readouterr()
        arguments = [str(path), str(tmp_path / data), "--out", str(tmp_path / "second")]
        assert command.main(["figures", "--again", *arguments]) == 0
        count = len(record["same_on_every_run"])
        assert capsys.readouterr().out.splitlines() == [f"{count} of {count} files are the same to the byte, in {tmp_path}/second"]  # fmt: skip
    assert not list(tmp_path.glob("**/*.duckdb.wal"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data-set", "first", "imported", "second"]  # fmt: skip


def test_without_a_data_set_the_one_of_the_manifest_is_read(figure: Path, tmp_path: Path) -> None:
    assert again.main(["--again", str(figure), "--out", str(tmp_path / "second")]) == 0


def test_other_data_is_refused(
    figure: Path, altered: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = altered("UPDATE study SET content_hash = 'another'")
    assert again.main(["--again", str(figure), str(other)]) == 2
    said = capsys.readouterr().err
    assert "other data (content hash another) than the figure was made from" in said
    assert said.count("\n") == 1


def test_what_differs_is_named(
    figure: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(figure.read_text())
    record["sha256"]["emergence.csv"] = "0" * 64
    record["versions"]["altair"] = "0.1"
    record["queries"][0]["sha256"] = "0" * 64
    macros = [query["macros"] for query in record["queries"] if query.get("macros")]
    macros[0][0]["sha256"] = "0" * 64
    record["queries"] += [{"file": "app/database/sql/../../../x.sql", "macros": 5}, 5]
    record["same_on_every_run"].append("../../outside")
    figure.write_text(json.dumps(record))
    assert again.main(["--again", str(figure), "--out", str(tmp_path / "second")]) == 1
    said = capsys.readouterr().out
    assert "differs: emergence.csv" in said and "differs: ../../outside" in said
    assert "altair: 0.1 then, " in said and ".sql: another query here than then" in said
    assert f"{Path(macros[0][0]['file']).stem}.sql: another query" in said and said.count("another") == 2  # fmt: skip
    assert "6 of 8 files" in said


@pytest.mark.parametrize(
    ("text", "line"),
    [("nonsense", "not the manifest"), ("[]", "not the manifest"), ('{"command": 5}', "not the manifest"),
     (None, "cannot be read"), ("rm -rf /", "its command makes no figure"), ("python -m app.figures x --all", "makes no"),
     ("python -m app.figures 'x", "makes no figure"), ("python -m app.figures x --figure nosuch", "makes no figure")],
)  # fmt: skip
def test_what_is_no_manifest_is_one_line(
    figure: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, line: str
) -> None:
    path = tmp_path / "m.json"
    if text is not None:
        record = json.loads(figure.read_text()) | {"command": text}
        whole = text.startswith(("nonsense", "[", "{"))
        path.write_text(text if whole else json.dumps(record))
    capsys.readouterr()
    assert again.main(["--again", str(path)]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1
