"""The command line: exit statuses, one-line errors, and a document shows every command."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipeline.__main__ import main
from pipeline.engine import run as engine
from pipeline.results.folder import Results
from pipeline.results.rows import failed_row
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import build_results
from tests.support.tiny import tiny_scorer


@pytest.fixture
def folder(tmp_path):
    build_results(tmp_path / "r", models=2, prompts=4, seeds=1, steps=4)
    return tmp_path / "r"


def test_status_as_json(folder, capsys):
    assert main(["status", str(folder), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["planned"], status["done"], status["failed"], status["missing"]) == (8, 8, 0, 0)
    assert Path(status["snapshot"]).is_file()


def test_verify_finds_damage_and_run_repairs_it(folder, capsys):
    assert main(["verify", str(folder)]) == 0
    shard = next((folder / "shards").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert main(["verify", str(folder)]) == 1
    assert shard.name in capsys.readouterr().err


def test_publish_prints_what_was_found(folder, capsys):
    assert main(["publish", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "CLIP score" in out and "Transformer" not in out and "UNet" in out


def test_run_on_the_small_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engine, "local_worker", FakeWorker)
    arguments = [
        "run",
        "data/studies/small.toml",
        "--out",
        str(tmp_path),
        "--limit",
        "2",
        "--seeds",
        "3",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "2 models x 2 prompts x 1 seeds = 4 images" in out and "published" in out


@pytest.mark.long
def test_a_study_of_two_scorers_goes_on_where_it_stopped(tmp_path, capsys):
    tiny_scorer(tmp_path / "second")
    text = Path("data/studies/small.toml").read_text().replace("steps = 6", "steps = 2")
    text = text.replace("[scorer]", "[[scorer]]").replace(
        "[concepts]", '[[scorer]]\nsource = "second"\n[concepts]'
    )
    (tmp_path / "study.toml").write_text(text[: text.rindex("[[model]]")])
    out = tmp_path / "out"
    run = ["run", str(tmp_path / "study.toml"), "--out", str(out), "--limit", "2", "--seeds"]
    assert main([*run, "3"]) == 0
    assert main([*run, "3", "4"]) == 0
    assert "1 work units run in" in (said := capsys.readouterr().out) and "1 were there" in said
    assert "by the scorer data/models/scenes-clip\n" in said and said.count("CLIP score") == 4
    assert main(["verify", str(out)]) == 0 and main(["diff", str(out), str(out)]) == 0
    with duckdb.connect(next((out / "snapshots").glob("*2.duckdb")), read_only=True) as db:
        spec = json.loads(db.execute("SELECT spec FROM study").fetchone()[0])
        scores = db.execute("SELECT clip_score FROM scorer_2.sample").fetchall()
    assert [s["name"] for s in spec["scorer"]] == ["scenes-clip", "second"]
    assert len(scores) == 4 and all(-1 <= score <= 1 for (score,) in scores)
    other = tiny_scorer(tmp_path / "other", seed=1) / "open_clip_model.safetensors"
    shutil.copy(other, tmp_path / "second")  # other weights: what is there is of no use
    assert main([*run, "3"]) == 0 and "0 were there" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "absent.toml"],
        ["status", "absent"],
        ["verify", "absent"],
        ["publish", "absent"],
        ["run", "data/studies/park2024-coco.toml"],
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_every_command_is_documented():
    document = Path("docs/cli.md").read_text()
    shown = subprocess.run(
        [sys.executable, "-m", "pipeline", "--help"], capture_output=True, text=True, check=True
    ).stdout
    commands = re.findall(r"^    (\w+)(?: |$)", shown, re.M)
    assert {"run", "publish", "status", "verify", "demo"} <= set(commands)
    for command in commands:
        assert f"## `python -m pipeline {command}`" in document, command


SMALL = ["run", "data/studies/small.toml", "--limit", "2", "--out"]


def test_plan_counts_without_weights_or_a_folder(tmp_path, capsys):
    study = tmp_path / "hub.toml"
    text = Path("data/studies/small.toml").read_text()
    for name in ("unet", "dit"):
        text = text.replace(f"data/models/scenes-{name}", "owner/model")
    study.write_text(text)
    assert main(["run", str(study), "--out", str(tmp_path / "r"), "--plan"]) == 0
    out = capsys.readouterr().out
    assert "2 models x 4 prompts x 1 seeds = 8 images in 2 work units" in out
    assert "counts only" in out and not (tmp_path / "r").exists()


def test_failed_samples_are_said_and_exit_1(tmp_path, monkeypatch, capsys):
    class Fails(FakeWorker):
        def run(self, work_unit, on_step=None):
            rows = super().run(work_unit, on_step)
            return [
                failed_row(work_unit, work_unit.prompts[0], "RuntimeError: boo", "sample"),
                *rows[1:],
            ]

    monkeypatch.setattr(engine, "local_worker", Fails)
    assert main([*SMALL, str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "2 samples failed" in out and "published" in out
    assert main(["status", str(tmp_path)]) == 0
    assert "2 of 4 samples done (50.0 %), 2 failed, 0 missing" in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on_and_exits_130(tmp_path, monkeypatch, capsys):
    class Stopped(FakeWorker):
        def run(self, work_unit, on_step=None):
            raise KeyboardInterrupt

    monkeypatch.setattr(engine, "local_worker", Stopped)
    assert main([*SMALL, str(tmp_path)]) == 130
    assert "the same command resumes from there" in capsys.readouterr().out


def test_a_folder_in_use_is_refused(tmp_path, capsys):
    results = Results(tmp_path)
    results.create()
    with results.locked():
        assert main([*SMALL, str(tmp_path)]) == 2
    assert "in use by a run (process" in capsys.readouterr().err


def test_publish_names_a_damaged_shard_and_exits_1(folder, capsys):
    shard = next((folder / "shards").glob("*.parquet"))
    shard.unlink()
    assert main(["publish", str(folder)]) == 1
    assert shard.name in capsys.readouterr().err


def test_a_step_beyond_the_schedule_is_refused_before_any_sampling(tmp_path, capsys):
    text = Path("data/studies/small.toml").read_text()
    (tmp_path / "s.toml").write_text(
        text.replace("spectrum", "df-cam = { steps = [6] }\nspectrum", 1)
    )
    assert main(["run", str(tmp_path / "s.toml"), "--out", str(tmp_path / "r")]) == 2
    assert "has steps 0 to 5" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_verify_says_what_differs_from_this_machine(folder, capsys):
    workers = json.loads((folder / "workers.json").read_text())
    workers["environments"][0]["duckdb"] = "0.0.1"
    (folder / "workers.json").write_text(json.dumps(workers))
    assert main(["verify", str(folder)]) == 0
    assert "made elsewhere: duckdb: 0.0.1 there" in capsys.readouterr().out
