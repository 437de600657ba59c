"""Every figure of the paper from its study to its files, as docs/paper.md says, on a tiny random Stable Diffusion."""

from __future__ import annotations

import random
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import inception_v3

from app.figures import export
from pipeline.cli.main import main
from pipeline.database.snapshots import read_pointer
from pipeline.preflight.prepare import prepare
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.study.prompts import read_prompts
from pipeline.study.reading import parse_study
from tests.support import papers
from tests.support.database import asked_by_hand

DOCUMENT = Path("docs/paper.md").read_text()
ROWS = re.findall(r"^\| (AUC table|\d+) \| (.+?) \| `(python -m app\.figures .+?)` \|", DOCUMENT, re.M)  # fmt: skip
COMMANDS = {figure: shlex.split(command)[3:] for figure, _, command in ROWS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return papers.ground(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, str]:
    """Every study of the paper, made smaller, run and published by the command line: name -> results folder."""
    for name in papers.STUDIES:
        study = folder / f"{name}.toml"
        study.write_text(papers.as_toml(papers.smaller(papers.at_hand(name, folder))))
        assert main(["run", str(study), "--out", str(folder / name), "--threads", "1"]) == 0
    return {f"data/results/{name}": str(folder / name) for name in papers.STUDIES}


def test_the_document_has_a_row_for_every_figure_and_names_every_study() -> None:
    assert list(COMMANDS) == ["AUC table", "3", "5", "6", "7", "8", "9", "10", "11"]
    named = set(re.findall(r"data/results/(park2024-[\w-]+)", DOCUMENT))
    assert named == set(papers.STUDIES)
    for figure, command in COMMANDS.items():
        options = export.parse(command)
        wanted = "paper-auc" if figure == "AUC table" else f"paper-{figure}"
        assert options.figure == wanted
        assert options.columns == export.KINDS[wanted].columns


@pytest.mark.parametrize("name", papers.STUDIES)
def test_every_study_plans_as_it_is(name: str, folder: Path) -> None:
    """With its own steps, masks and prompts: only files and model are the ones at hand."""
    study = folder / f"whole-{name}.toml"
    study.write_text(papers.as_toml(papers.at_hand(name, folder)))
    lines: list[str] = []
    plan = prepare(study, hub=False, say=lines.append)
    assert plan.study.seeds == (1,) and plan.study.measures.protocol == "park2024"
    assert len(lines) == 1, "no measure is left out"
    for tool in ("df-rise", "df-cam", "lime", "faithfulness"):
        asked = plan.study.measures.tools().get(tool)
        assert asked is None or 14 in asked.at(20), "the 15th of 20 steps"
        assert asked is None or plan.definitions[tool] == 3


def test_triples_are_a_hundred_shuffled_with_seed_1_from_the_first_50_images(folder: Path) -> None:
    values = papers.at_hand("park2024-genome", folder)
    study = parse_study(values, folder / "s.toml")
    prompts = read_prompts(study.prompts).prompts
    pool = [
        f"{t['subject']['name']} ON {t['object']['names'][0]}"
        for image in papers.triples()[:50]
        for t in image["relationships"]
    ]
    random.Random(1).shuffle(pool)
    assert [prompt.text for prompt in prompts] == pool[:100]
    assert {prompt.roles["relation"] for prompt in prompts} == {("ON",)}


@pytest.mark.long
@pytest.mark.parametrize("figure", list(COMMANDS))
def test_every_figure_is_made_by_the_command_of_the_document(
    figure: str, results: dict[str, str], tmp_path: Path
) -> None:
    command = [results.get(word, word) for word in COMMANDS[figure]]
    assert export.main([*command, "--out", str(tmp_path)]) == 0
    name = export.parse(command).figure
    data = pd.read_csv(tmp_path / f"{name}.csv")
    assert len(data)
    assert (tmp_path / f"{name}.pdf").stat().st_size > 1000
    caption = (tmp_path / f"{name}.caption.txt").read_text()
    assert "park2024-" in caption and "FID" not in caption
    if figure == "5":
        named = ["structure", "contrast", "luminance", "cosine", "clip"]
        assert list(dict.fromkeys(data["similarity"])) == named
    if figure == "3":
        assert set(data["method"]) == {"df-rise", "df-cam", "lime"}
    if figure == "10":
        assert len(data["model"].unique()) == 8


@pytest.mark.long
def test_the_auc_table_is_of_the_scaled_mean_curve(results: dict[str, str], tmp_path: Path) -> None:
    """By numpy, from the curves of figure 3: the mean over prompts, scaled, by the trapezoid rule; raw beside it."""
    results_folder = results["data/results/park2024-coco"]
    for name in ("paper-auc", "auc-curves"):
        assert export.main([results_folder, "--figure", name, "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "paper-auc.csv")
    curves = pd.read_csv(tmp_path / "auc-curves.csv")
    assert len(table) == 6
    for row in table.itertuples():
        curve = curves[(curves["method"] == row.method) & (curves["game"] == row.game)]
        mean = curve.sort_values("fraction")["mean"].to_numpy()
        x = np.linspace(0, 1, len(mean))
        scaled = (mean - mean.min()) / (mean.max() - mean.min())
        assert row.scaled == pytest.approx(np.trapezoid(scaled, x), abs=1e-5)
        assert row.raw == pytest.approx(np.trapezoid(mean, x), abs=1e-5)
        assert row.better == {"deletion": "lower", "insertion": "higher"}[row.game]
        assert row.low <= row.raw <= row.high


@pytest.mark.long
def test_inceptions_weights_give_the_papers_distance_where_they_are(folder: Path) -> None:
    """Random weights of torchvision's network: the map is minus the squared distance, and the record knows the file."""
    weights = folder / "inception_v3.safetensors"
    torch.manual_seed(0)
    save_file(inception_v3(weights=None, init_weights=False).state_dict(), weights)
    values = papers.smaller(papers.at_hand("park2024-similarity-structure", folder), prompts=1)
    values["name"] = "with-inception"
    values["measures"] |= {
        "inception": str(weights),
        "df-rise": {"steps": [14], "masks": 2, "similarity": "inception"},
    }
    del values["measures"]["faithfulness"]
    study, results_folder = folder / "with-inception.toml", folder / "with-inception"
    study.write_text(papers.as_toml(values))
    assert main(["run", str(study), "--out", str(results_folder), "--threads", "1"]) == 0
    plan = load_plan(Results(results_folder))
    assert plan.revisions.models["measures/inception"].startswith("sha256:")
    snapshot = str(read_pointer(Results(results_folder))[0])
    rows = asked_by_hand(snapshot, folder, "SELECT low, high FROM explanation")
    assert (rows["low"] < rows["high"]).all() and (rows["high"] <= 0).all(), "minus distances"
