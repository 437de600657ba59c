"""Exports: every row of every table, as the snapshot has it; a folder that is whole or not there."""

import hashlib
import io
import json
import shutil

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pipeline.__main__ import main
from pipeline.database.export import export, table_notes


@pytest.fixture(scope="module")
def held(results, tmp_path_factory):
    """A copy: the app's tests may hold the shared snapshot open, with settings of their own."""
    return shutil.copytree(results, tmp_path_factory.mktemp("export") / "demo")


@pytest.fixture(scope="module")
def exported(held, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported")
    return {
        form: (out / form, export(held, out / form, form)) for form in ("parquet", "huggingface")
    }


@pytest.fixture(scope="module")
def con(held):
    pointer = json.loads((held / "current.json").read_text())
    with duckdb.connect(held / pointer["snapshot"], read_only=True) as con:
        yield con


@pytest.mark.parametrize("form", ["parquet", "huggingface"])
def test_every_row_of_every_table(exported, con, form):
    folder, tables = exported[form]
    names = {row[0] for row in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert {t.table for t in tables} == names | {"samples"}
    for t in tables:
        read = pq.read_table(folder / "data" / t.table)
        source = "sample" if t.table == "samples" else t.table
        assert len(read) == t.rows == con.execute(f'SELECT count(*) FROM "{source}"').fetchone()[0]


def test_a_further_scorers_tables_are_beside_the_firsts(two_scorers, tmp_path):
    copy_of_study = shutil.copytree(two_scorers, tmp_path / "own")
    tables = {t.table: t.rows for t in export(copy_of_study, tmp_path / "out", "huggingface")}
    assert tables["scorer_2_trajectory"] == tables["trajectory"] > 0
    assert tables["scorer_2_clip_score"] == 2 * 12 * 2
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| As rollup_step, by scorer 2 of the study. |" in card
    assert yaml.safe_load(card.split("---\n")[1])["configs"][0]["config_name"] == "samples"


def test_values_are_those_of_the_snapshot(exported, con):
    folder, _ = exported["parquet"]
    read = pq.read_table(folder / "data" / "trajectory").to_pylist()
    rows = con.execute("SELECT sample_id, concept_id, similarity FROM trajectory").fetchall()
    assert [(r["sample_id"], r["concept_id"], r["similarity"]) for r in read] == rows


def test_samples_have_names_and_texts(exported, con):
    folder, _ = exported["parquet"]
    first = pq.read_table(folder / "data" / "samples").to_pylist()[0]
    text = con.execute("SELECT text FROM prompt WHERE prompt_id = 1").fetchone()[0]
    assert (first["model"], first["prompt"]) == ("scenes-unet", text)


def test_the_manifest_has_the_sha256_of_every_file(exported):
    folder, _ = exported["huggingface"]
    tables = json.loads((folder / "manifest.json").read_text())["tables"]
    sums = {name: s for table in tables.values() for name, s in table["files"].items()}
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*.parquet")}
    assert set(sums) == files
    for name, sha256 in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256


def test_the_card_describes_every_table(exported):
    folder, tables = exported["huggingface"]
    text = (folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    settings = yaml.safe_load(front)
    assert [c["config_name"] for c in settings["configs"]] == [t.table for t in tables]
    for config in settings["configs"]:
        assert list(folder.glob(config["data_files"]))
    features = {d["config_name"]: d["features"] for d in settings["dataset_info"]}
    for t in tables:
        assert [f["name"] for f in features[t.table]] == t.schema.names
        assert t.table in body
    assert {"name": "image", "dtype": "image"} in features["samples"]
    assert {"name": "similarity", "list": "float32"} in features["trajectory"]
    assert table_notes()["trajectory"].startswith("One row per (sample, concept)")


def test_images_are_as_a_viewer_reads_them(exported):
    folder, _ = exported["huggingface"]
    value = pq.read_table(folder / "data" / "samples").column("image")[0].as_py()
    assert value["path"] is None and Image.open(io.BytesIO(value["bytes"])).size == (32, 32)


def test_a_failed_sample_has_no_image(failed_only, tmp_path):
    copy_of_study = shutil.copytree(
        failed_only, tmp_path / "own"
    )  # the app's tests hold the shared one open
    export(copy_of_study, tmp_path / "out", "huggingface")
    assert pq.read_table(tmp_path / "out/data/samples").column("image").null_count == 144
    assert len(pq.read_table(tmp_path / "out/data/frame")) == 0


def test_a_title_cannot_break_the_card(altered, tmp_path):
    evil = 'x"\n---\n<script>alert(1)</script>\n# heading'
    folder = altered("UPDATE study SET title = ?", values=[evil])
    export(folder, tmp_path / "out", "huggingface")
    text = (tmp_path / "out" / "README.md").read_text()
    settings = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert settings["pretty_name"] == evil
    assert "\n# heading" not in text and "\n    <script>" in text


def test_the_command_and_its_mistakes(held, tmp_path, capsys):
    assert main(["export", str(held), "--out", str(tmp_path / "out")]) == 0
    assert "tables" in capsys.readouterr().out
    assert main(["export", str(held), "--out", str(tmp_path / "out")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
    assert "not published yet" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
