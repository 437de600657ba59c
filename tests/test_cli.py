"""The command line: exit statuses, one-line errors, and the README shows every command."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_worker import FakeWorker
from synthetic import build_results

from pipeline import engine
from pipeline.__main__ import main


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
    monkeypatch.setattr(engine, "_local_worker", FakeWorker)
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


def test_every_command_is_in_the_readme():
    readme = Path("README.md").read_text()
    shown = subprocess.run(
        [sys.executable, "-m", "pipeline", "--help"], capture_output=True, text=True, check=True
    ).stdout
    commands = re.findall(r"^    (\w+) ", shown, re.M)
    assert {"run", "publish", "status", "verify", "demo"} <= set(commands)
    for command in commands:
        assert f"python -m pipeline {command}" in readme, command
