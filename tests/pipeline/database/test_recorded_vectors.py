"""What is made of recorded CLIP vectors: linear heads at every step, and measures of sets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.cli.main import main
from pipeline.database.embeddings import final_vectors, recorded
from pipeline.database.linear_heads import read_head
from pipeline.database.snapshots import read_pointer
from pipeline.errors import ModelError
from pipeline.metrics.image_sets import coverage, kid, vendi
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.results.saved_sets import SetFile
from pipeline.results.scores import ScoreFiles
from pipeline.results.verify import verify


@pytest.fixture
def folder(study_folder, tmp_path: Path) -> Path:
    return Path(
        shutil.copytree(
            study_folder("rated", models=2, prompts=6, seeds=2, steps=4), tmp_path / "study"
        )
    )


def test_a_head_scores_every_step_of_every_sample(folder, tmp_path) -> None:
    weight = np.arange(8, dtype=np.float32)
    save_file({"weight": weight[None], "bias": np.float32([0.5])}, tmp_path / "head.safetensors")
    head = ["scores", "head", str(folder), str(tmp_path / "head.safetensors")]
    assert main([*head, "--metric", "aesthetic", "--source", "a head"]) == 0
    files = ScoreFiles(Results(folder))
    metric = files.metrics()[0]
    assert (metric.level, metric.rows) == ("step", 2 * 6 * 2 * 4)
    assert metric.preprocessing.startswith("unit vectors of ")
    values = {
        (r["model"], r["prompt_key"], r["seed"], r["step"]): r["value"]
        for r in files.table(metric).to_pylist()
    }
    plan = load_plan(Results(folder))
    for part in recorded(Results(folder), plan, plan.study.models[1].name):
        for key, seed, vectors in zip(part.prompt_keys, part.seeds, part.vectors, strict=True):
            for step, vector in enumerate(vectors):
                expected = (
                    sum(float(a) * float(b) for a, b in zip(vector, weight, strict=True)) + 0.5
                )
                assert values[part.model, key, seed, step] == pytest.approx(expected)
    assert verify(folder) == []


def test_layers_without_activation_are_one(tmp_path) -> None:
    rng = np.random.default_rng(0)
    sizes = [(7, 5), (3, 7), (1, 3)]
    layers = [(rng.normal(size=size), rng.normal(size=size[0])) for size in sizes]
    names = {f"layers.{number}.{kind}": value for number, pair in zip((0, 2, 10), layers, strict=True)
             for kind, value in zip(("weight", "bias"), pair, strict=True)}  # fmt: skip
    save_file(names, tmp_path / "head.safetensors")
    vector = rng.normal(size=5)
    out = vector
    for weight, bias in layers:
        out = weight @ out + bias
    assert read_head(tmp_path / "head.safetensors").of(vector) == pytest.approx(out[0])


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"weight": np.ones((2, 4))}, "2 outputs"),
        ({"weight": np.ones((1, 4)), "bias": np.ones(3)}, "bias"),
        ({"weight": np.full((1, 4), np.nan)}, "not finite"),
        ({"weight": np.ones((1, 4), np.int64)}, "of type int64"),
        ({"gamma": np.ones(4)}, "gamma"),
        (
            {"0.weight": np.ones((3, 4)), "1.weight": np.ones((1, 4))},
            "a layer of 4 inputs after one of 3",
        ),
    ],
)
def test_what_is_no_linear_head_is_one_line(tmp_path, tensors, said) -> None:
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(ModelError, match=said) as raised:
        read_head(tmp_path / "head.safetensors")
    assert "\n" not in str(raised.value)


def test_pickles_links_and_other_lengths_are_refused(folder, tmp_path, capsys) -> None:
    save_file({"weight": np.ones((1, 3))}, tmp_path / "short.safetensors")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "short.safetensors")
    (tmp_path / "head.pth").write_bytes(b"\x80\x04N.")
    for name, said in (
        ("short.safetensors", "vectors of 3 numbers"),
        ("link.safetensors", "link"),
        ("head.pth", "safetensors"),
    ):
        assert (
            main(
                [
                    "scores",
                    "head",
                    str(folder),
                    str(tmp_path / name),
                    "--metric",
                    "x",
                    "--source",
                    "y",
                ]
            )
            == 2
        )
        assert said in capsys.readouterr().err
    assert ScoreFiles(Results(folder)).metrics() == ()


def test_measures_of_sets_are_those_of_the_recorded_vectors(folder, capsys) -> None:
    assert main(["scores", "sets", str(folder), "--reference", "UNet", "--json"]) == 0
    rows = {(r["model"], r["measure"]): r for r in json.loads(capsys.readouterr().out)}
    plan = load_plan(Results(folder))
    first, second = (
        final_vectors(Results(folder), plan, spec.name)[0] for spec in plan.study.models
    )
    assert len(first) == 12 and first.shape[1] == 8
    assert rows["UNet", "vendi"]["value"] == pytest.approx(vendi(first))
    other = "UNet (quarter)"
    assert rows[other, "kid"]["value"] == pytest.approx(kid(second, first))
    assert rows[other, "coverage"]["value"] == pytest.approx(coverage(second, first))
    assert ("UNet", "kid") not in rows, "the reference is not held against itself"
    assert all(r["low"] <= r["value"] <= r["high"] and r["prompts"] == 6 for r in rows.values())
    assert main(["scores", "sets", str(folder), "--reference", "none"]) == 2
    assert main(["scores", "sets", str(folder)]) == 0
    assert "vendi" in capsys.readouterr().out


def test_measures_of_features_that_another_program_computed(folder, tmp_path, capsys) -> None:
    """sample_id counts models, then prompts, then seeds; here the second model's features lie 3 further along one axis."""
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    shifted = features + np.float32([3, 0, 0, 0])
    both, ids = np.concatenate([features, shifted]), np.arange(1, 25)
    mixed = np.random.default_rng(1).permutation(24)
    file = tmp_path / "features.safetensors"
    save_file({"sample_id": ids[mixed], "features": both[mixed]}, file)
    command = ["scores", "sets", str(folder), "--reference", "UNet", "--features", str(file)]
    assert main([*command, "--json"]) == 0
    rows = {(r["model"], r["measure"]): r for r in json.loads(capsys.readouterr().out)}
    assert {measure for _, measure in rows} == {"fid", "kid", "coverage"}
    assert {model for model, _ in rows} == {"UNet (quarter)"}, "the reference is not held against itself"  # fmt: skip
    row = rows["UNet (quarter)", "fid"]
    assert row["value"] == pytest.approx(9, rel=1e-4), "equal covariances: the means' distance"
    assert row["low"] < 9 < row["high"] and (row["images"], row["prompts"]) == (12, 6)
    assert main([*command, "--save", "--extractor", "Inception v3"]) == 0
    saved = {each.measure: each for each in SetFile(Results(folder)).rows()}
    assert set(saved) == {"fid", "kid", "coverage"} and saved["fid"].value == row["value"]
    assert saved["fid"].extractor == "Inception v3" and saved["fid"].reference == "scenes-unet"


def published_sets(folder: Path) -> list[dict]:
    with duckdb.connect(str(read_pointer(Results(folder))[0]), read_only=True) as db:
        return db.sql("SELECT * FROM image_set ORDER BY ALL").to_arrow_table().to_pylist()


def test_saved_measures_are_published(folder, tmp_path, capsys) -> None:
    """By a snapshot of schema 7 that is migrated; saved twice they are there once, and `verify` reads them."""
    save = ["scores", "sets", str(folder), "--save", "--json"]
    for reference in (["--reference", "UNet (quarter)"], ["--reference", "UNet"], ["--reference", "UNet"]):  # fmt: skip
        assert main([*save, *reference]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    with duckdb.connect(str(read_pointer(Results(folder))[0])) as db:
        db.execute("DROP TABLE image_set")
        db.execute("UPDATE study SET schema_version = 7")
    assert main(["migrate", str(folder)]) == 0
    rows = published_sets(folder)
    assert len(rows) == 2 + 2 * 3  # Vendi of both, and three distances each way
    stored = {(r["model_id"], r["measure"]): r for r in rows if r["reference_id"] in (None, 1)}
    assert len(printed) == len(stored) == 5
    for row in printed:
        other = stored[1 + (row["model"] != "UNet"), row["measure"]]
        assert {name: other[name] for name in ("value", "low", "high")} == {name: row[name] for name in ("value", "low", "high")}  # fmt: skip
        assert (other["images"], other["prompts"], other["outdated"]) == (12, 6, False)
        assert other["lower_is_better"] == (row["better"] == "lower")
        assert (other["reference_id"], other["reference_images"]) == ((None, 0) if row["measure"] == "vendi" else (1, 12))  # fmt: skip
        assert other["extractor"].startswith("CLIP vectors of ") and ("jackknife" if row["measure"] == "coverage" else "weighted bootstrap") in other["method"]  # fmt: skip
    assert verify(folder) == []


def test_saved_measures_of_other_images_say_so_and_damage_is_one_line(folder, capsys) -> None:
    assert main(["scores", "sets", str(folder), "--save"]) == 0
    file = folder / "scores" / "sets.json"
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([rows[0] | {"content": "0" * 64}, *rows[1:]]))
    assert main(["publish", str(folder)]) == 0
    assert [row["outdated"] for row in published_sets(folder)] == [True, False]
    for text in ('[{"model": 1}]', json.dumps([rows[0] | {"low": None}]), json.dumps([rows[0] | {"extractor": "a\nb"}])):  # fmt: skip
        file.write_text(text)
        (problem,) = verify(folder)
        assert "sets.json: damaged" in problem and "scores sets --save" in problem
        assert main(["publish", str(folder)]) == 2
    capsys.readouterr()
    file.unlink()
    assert main(["scores", "sets", str(folder), "--extractor", "x"]) == 2
    assert main(["scores", "sets", str(folder), "--save", "--features", "f.safetensors", "--reference", "UNet"]) == 2  # fmt: skip
    assert all("--extractor" in line for line in capsys.readouterr().err.splitlines())
    assert main(["scores", "sets", str(folder), "--save"]) == 0
    assert main(["scores", "sets", str(folder), "--clear"]) == 0
    assert "2 measures of sets removed" in capsys.readouterr().out
    assert json.loads(file.read_text()) == []


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"features": np.ones((2, 2))}, "sample_id"),
        ({"sample_id": np.array([1, 1]), "features": np.ones((2, 2))}, "twice"),
        ({"sample_id": np.array([0, 1]), "features": np.ones((2, 2))}, "not in the study"),
        ({"sample_id": np.array([1.5, 2]), "features": np.ones((2, 2))}, "sample_id is float64"),
        ({"sample_id": np.array([1, 2]), "features": np.ones(2)}, "of shape"),
        ({"sample_id": np.array([1, 2]), "features": np.full((2, 2), np.nan)}, "finite"),
        ({"sample_id": np.array([13, 14]), "features": np.ones((2, 2))}, "no features of the reference"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_features_is_one_line(folder, tmp_path, capsys, tensors, said) -> None:
    save_file(tensors, tmp_path / "f.safetensors")
    command = ["scores", "sets", str(folder), "--features", str(tmp_path / "f.safetensors")]
    assert main([*command, "--reference", "UNet"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert main(command) == 2
