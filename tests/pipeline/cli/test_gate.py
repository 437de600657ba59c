"""`python -m pipeline gate`: the dashboard's gate in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CRITERIA = """
baseline = "scenes-unet"
candidate = "scenes-unet-short"
[[criterion]]
measure = "CLIP score"
margin = -2
"""


def run(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True)


def test_arguments_output_and_exit_status_are_the_gates(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "criteria.toml"
    file.write_text(CRITERIA)
    arguments = ("gate", results, "--criteria", file, "--markdown")
    ours, gates = run("pipeline", *arguments), run("stepscope", *arguments)
    assert "**Failed**" in ours.stdout and ours.returncode == 1 and not ours.stderr
    assert (ours.stdout, ours.returncode) == (gates.stdout, gates.returncode)


def test_without_the_dashboard_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    done = run("pipeline", "gate", "demo", "--criteria", "criteria.toml", cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: gate: the dashboard") and "pip install stepscope" in line
