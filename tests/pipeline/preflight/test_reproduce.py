"""Samples made anew: equal to the bit on this machine, and a changed one is found, measured and exits 1."""

import io
import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from pipeline.cli.main import main
from pipeline.engine import host
from pipeline.engine import run as engine
from pipeline.errors import StoreError
from pipeline.preflight import reproduce as module
from pipeline.preflight.reproduce import choose, image_difference, reproduce
from pipeline.results import origin
from pipeline.results.folder import Results
from pipeline.results.shards import parse_shard, write_shard
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study


@pytest.fixture
def folder(tmp_path):
    engine.run(plan_of(small_study()), tmp_path / "r", "cpu", FakeWorker)
    return tmp_path / "r"


def chosen_keys(folder, count, seed):
    results = Results(folder)
    samples = choose(results, plan_of(small_study()), count, seed)
    return [(s.work_unit.unit_id, s.index, s.row["prompt_key"]) for s in samples]


def change(folder, level=0, similarity=0.0):
    """Changes one pixel of every image, or every similarity of every trajectory."""
    results, entries = Results(folder), []
    for unit_id in results.read_ledger().entries:
        rows = parse_shard(results.store.read(unit_id), unit_id).to_pylist()
        for row in rows:
            pixels = np.array(Image.open(io.BytesIO(row["image"])).convert("RGB"), np.int16)
            pixels[3, 3, 0] += level if pixels[3, 3, 0] < 128 else -level
            buffer = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(buffer, "WEBP", lossless=True)
            row["image"] = buffer.getvalue()
            del row["content_sha256"]
            for each in row["trajectories"]:
                each["similarity"] = [value + similarity for value in each["similarity"]]
        entries.append(write_shard(results.store, unit_id, rows))
    results.append(entries)


def test_the_choice_is_the_seeds(folder):
    first = chosen_keys(folder, 5, 1)
    assert first == chosen_keys(folder, 5, 1) and first != chosen_keys(folder, 5, 2)
    assert len(set(first)) == 5 and chosen_keys(folder, 3, 1) == first[:3]
    assert len(chosen_keys(folder, 999, 1)) == 32


def test_the_same_machine_makes_the_same_bits(folder):
    said = []
    remade = reproduce(folder, 6, 0, "cpu", FakeWorker, said.append)
    assert len(remade) == 6 and all(each.equal and each.largest == each.mean == 0 for each in remade)  # fmt: skip
    assert said[0] == "6 samples, chosen at random with seed 0"
    assert "6 of 6 samples are equal to the bit" in module.show(remade, 1, 1e-4)


@pytest.mark.parametrize(
    ("level", "similarity", "status"), [(1, 0.0, 0), (5, 0.0, 1), (0, 1e-5, 0), (0, 1e-2, 1)]
)
def test_what_differs_is_measured_and_decides_the_exit_code(folder, capsys, monkeypatch, level, similarity, status):  # fmt: skip
    change(folder, level, similarity)
    monkeypatch.setattr(module, "local_worker", FakeWorker)
    monkeypatch.setattr(module, "check_folders", lambda study: None)
    assert main(["reproduce", str(folder), "--sample", "2", "--device", "cpu"]) == status
    said = capsys.readouterr().out
    assert "0 of 2 samples are equal to the bit" in said
    assert ("DIFFERS" in said) == bool(status)
    (each, _) = reproduce(folder, 2, 0, "cpu", FakeWorker, lambda line: None)
    assert each.largest == level and each.mean == pytest.approx(level / (32 * 32 * 3))
    assert each.similarity == pytest.approx(similarity, abs=1e-7)


def test_real_models_make_the_same_bits_in_the_batch_of_then(tmp_path, capsys):
    study = small_study(models=1, prompts=2, seeds=1, steps=2, unit_prompts=2)
    measures = replace(study.measures, embeddings=False, spectrum=False)
    engine.run(plan_of(replace(study, measures=measures)), tmp_path, "cpu", host.local_worker)
    assert main(["reproduce", str(tmp_path), "--sample", "2", "--device", "cpu", "--levels", "0", "--tolerance", "0"]) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "2 of 2 samples are equal to the bit" in said and "differs" not in said


def test_versions_and_files_that_differ_are_named(folder, monkeypatch):
    (path,) = (folder / "made-with").glob("*.json")
    record = json.loads(path.read_text())
    record["packages"] |= {"numpy": "0.1", "long-gone": "1"}
    path.write_text(json.dumps(record))
    workers = json.loads((folder / "workers.json").read_text())
    workers["environments"][0]["processor"] = "Other CPU"
    (folder / "workers.json").write_text(json.dumps(workers))
    lines = module.differing(Results(folder), "cpu")
    assert f"numpy: 0.1 there, {np.__version__} here" in lines
    assert "long-gone: 1 there, not installed here" in lines
    assert any(line.startswith("processor: Other CPU there, ") for line in lines)
    path.unlink()
    assert any("an older version made this folder" in line for line in module.differing(Results(folder), "cpu"))  # fmt: skip


def test_a_sample_that_fails_now_is_said(folder):
    class Fails(FakeWorker):
        def run(self, work_unit, on_step=None):
            prompts = tuple(replace(p, text=f"fails {p.text}") for p in work_unit.prompts)
            return super().run(replace(work_unit, prompts=prompts), on_step)

    (each,) = reproduce(folder, 1, 0, "cpu", Fails, lambda line: None)
    assert each.error and not each.within(999, 999)
    assert "failed: RuntimeError" in module.show([each], 1, 1)


def test_nothing_to_reproduce_is_one_line(tmp_path, capsys):
    assert main(["reproduce", str(tmp_path / "none")]) == 2
    assert "not a results folder" in capsys.readouterr().err
    results = Results(tmp_path / "r")
    results.create()
    with pytest.raises(StoreError, match="no sample is finished. Run the study first."):
        choose(results, plan_of(small_study()), 1, 0)


def test_images_of_other_sizes_are_not_compared(folder):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    assert image_difference(buffer.getvalue(), b"no image") == (np.inf, np.inf)


def test_what_results_were_made_with_is_recorded_once(folder, monkeypatch):
    (path,) = (folder / "made-with").glob("*.json")
    record = json.loads(path.read_text())
    assert set(record) == {"command", "git_commit", "python", "packages", "locks", "hardware", "variables"}  # fmt: skip
    assert record["packages"]["numpy"] == np.__version__ and "duckdb" in record["packages"]
    assert record["locks"]["requirements.txt"] and record["hardware"]["cores"] >= 1
    engine.run(plan_of(small_study()), folder, "cpu", FakeWorker)
    assert sorted((folder / "made-with").iterdir()) == [path, path.with_suffix(".lock.txt")]
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    engine.run(plan_of(small_study()), folder, "cpu", FakeWorker)
    records = origin.load_origins(Results(folder))
    assert len(records) == 2 and "secret" not in json.dumps(records)
    assert {each["variables"].get("OMP_NUM_THREADS") for each in records} >= {"77"}


def test_a_lock_file_pins_every_installed_package(folder):
    """As pip reads requirements; what is from an address or a folder is a comment."""
    (path,) = (folder / "made-with").glob("*.lock.txt")
    lines = path.read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    versions = {str(pin).partition("==")[0]: str(pin.specifier)[2:] for pin in pins}
    assert versions["numpy"] == np.__version__ and all(pin.specifier for pin in pins)
    packages = json.loads(path.with_name(f"{path.name[:16]}.json").read_text())["packages"]
    assert set(packages) - set(versions) == {line.split()[1].partition("==")[0] for line in lines[1:] if line[0] == "#"}  # fmt: skip
    assert lines[0].startswith(f"# Python {platform.python_version()} on ")


def test_a_merged_folder_has_the_records_of_both(folder, tmp_path):
    other = Results(Path(shutil.copytree(folder, tmp_path / "other")))
    (other.folder / "made-with" / f"{0:016x}.json").write_text("{}")
    (other.folder / "made-with" / "elsewhere.txt").write_text("not one of ours")
    results = Results(tmp_path / "merged")
    results.create()
    origin.copy_origins(results, [Results(folder), other, Results(tmp_path / "none")])
    names = {path.name for path in (folder / "made-with").iterdir()} | {f"{0:016x}.json"}
    assert {path.name for path in (results.folder / "made-with").iterdir()} == names


def test_the_command_is_recorded_as_it_is_typed(tmp_path, monkeypatch):
    monkeypatch.setattr(origin.sys, "argv", [str(Path("/x/pipeline/__main__.py")), "run", "a b.toml"])  # fmt: skip
    assert origin.origin()["command"] == ["python", "-m", "pipeline", "run", "a b.toml"]


def test_the_lock_files_of_the_project_are_recorded():
    from pipeline.results.origin import LOCKS, ROOT

    named = {path.name for path in ROOT.iterdir() if LOCKS.fullmatch(path.name)}
    assert {"requirements.txt", "requirements.lock", "requirements-app.lock"} <= named


def test_a_link_in_place_of_made_with_is_refused_and_nothing_is_written_behind_it(tmp_path):
    for name in ("r", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "r" / "made-with").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="made-with is a link"):
        origin.save_origin(Results(tmp_path / "r"))
    assert not list((tmp_path / "elsewhere").iterdir())
    assert origin.load_origins(Results(tmp_path / "r")) == []
