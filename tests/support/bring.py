"""data/studies/bring-your-own.toml run by the commands of docs/bring-your-own.md, with fewer steps and a shorter training.

Its prompts are given as GenEval's file, with the results of that benchmark's own evaluator.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from pipeline.cli.main import main
from pipeline.demo.bring import RECIPE, write_files
from pipeline.demo.training import Budget

MODELS = Path("data/models")
FILES = "data/results/bring-your-own-files"
STUDY = Path("data/studies/bring-your-own.toml")
GENEVAL = "evaluation_metadata.jsonl"
PROMPTS = 6


def bring(folder: Path) -> Path:
    """Writes the files, runs the study, adds the score, publishes; returns the results folder."""
    recipe = replace(RECIPE, scenes=8, batch_size=4, budget=Budget(3))
    write_files(folder / "files", MODELS, recipe=recipe, quiet=True)
    text = STUDY.read_text()
    assert text.count(FILES) == 3
    study, results = folder / "study.toml", folder / "bring-your-own"
    text = text.replace(f'path = "{FILES}/prompts.csv"', f'benchmark = "geneval"\npath = "{FILES}/{GENEVAL}"')  # fmt: skip
    assert text.count('benchmark = "geneval"') == 1
    _write_geneval(folder / "files")
    study.write_text(text.replace(FILES, str(folder / "files")).replace("steps = 20", "steps = 2"))
    run = [
        "run",
        str(study),
        "--out",
        str(results),
        "--workers",
        "1",
        "--device",
        "cpu",
        "--limit",
        str(PROMPTS),
    ]
    assert main(run) == 0
    assert main(["export", str(results), "--out", str(folder / "export")]) == 0
    script = [sys.executable, "data/scores/contrast.py", str(folder / "export")]
    lines = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    (folder / "contrast.jsonl").write_text(lines)
    add = ["scores", "add", str(results), str(folder / "contrast.jsonl"), "--metric", "contrast"]
    assert main([*add, "--title", "Contrast", "--source", "Pillow"]) == 0
    for model in ("composed", "scenes-unet"):
        file = str(folder / "files" / f"{model}.jsonl")
        judged = ["scores", "add", str(results), file, "--benchmark", "geneval", "--model", model]
        assert main([*judged, "--metric", "geneval", "--title", "GenEval", "--source", "test"]) == 0
    assert main(["publish", str(results)]) == 0
    return results


def _write_geneval(files: Path) -> None:
    """The prompts as GenEval's file, and its evaluator's results: every composed image is correct, the UNet's by turns."""
    with (files / "prompts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [{"tag": row["category"], "prompt": row["text"], "include": []} for row in rows]
    (files / GENEVAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    for model, correct in (("composed", lambda _: True), ("scenes-unet", lambda n: n % 2 == 0)):
        results = [
            {"filename": f"{n:05d}/samples/00000.png", "tag": line["tag"], "prompt": line["prompt"], "correct": correct(n)}
            for n, line in enumerate(lines[:PROMPTS])
        ]  # fmt: skip
        (files / f"{model}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in results))
