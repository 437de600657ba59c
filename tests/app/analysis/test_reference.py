"""The shipped reference study: it opens without a model, is what its note says, and its measures do what they claim on it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import stepscope
from app.database.snapshots import ROOT, SHIPPED
from pipeline.database.compact import LIMIT
from pipeline.database.snapshots import SCHEMA_VERSION
from tests.support.pages import Open, shown


@pytest.fixture(scope="module")
def snapshot() -> Path:
    return SHIPPED / json.loads((SHIPPED / "current.json").read_text())["snapshot"]


@pytest.fixture(scope="module")
def db(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a copy: the app holds the file open with settings of its own."""
    copied = shutil.copy(snapshot, tmp_path_factory.mktemp("reference"))
    with duckdb.connect(str(copied), read_only=True) as connection:
        yield connection


def test_it_is_the_file_that_its_pointer_and_its_note_name(snapshot: Path, db: Any) -> None:
    data = snapshot.read_bytes()
    pointer = json.loads((SHIPPED / "current.json").read_text())
    assert pointer["sha256"] == hashlib.sha256(data).hexdigest()
    assert len(zlib.compress(data)) <= LIMIT
    version, done, failed, content, environment = db.execute(
        "SELECT schema_version, done_samples, failed_samples, content_hash, environment FROM study"
    ).fetchone()
    assert (version, done, failed) == (SCHEMA_VERSION, 10_000, 0)
    note = (SHIPPED / "README.md").read_text()
    assert content in note and json.loads(environment)["shipped"]["command"] in note
    assert "rounded to 4 decimals" in note


@pytest.mark.parametrize("view", ["overview", "timesteps", "models", "faithfulness", "trust"])
def test_its_pages_have_their_numbers(open_view: Open, view: str) -> None:
    app = open_view(view, SHIPPED)
    assert not app.exception
    assert "empty_" not in shown(app) and len(app.get("vega_lite_chart")) + len(app.dataframe) > 0


def test_of_unnamed_pairs_one_in_twenty_is_present(db: Any) -> None:
    """By its note, which `compact` wrote before it left most of them out; and of those that are there."""
    ((environment,),) = db.execute("SELECT environment FROM study").fetchall()
    noted = json.loads(environment)["shipped"]["unnamed_present"]
    assert len(noted) == 5 and list(noted.values()) == pytest.approx([0.05] * 5, abs=0.01)
    assert _present(db) == pytest.approx(0.05, abs=0.02), "32 prompts"


def test_of_unnamed_pairs_one_in_twenty_is_present_in_the_whole_study() -> None:
    whole = ROOT / "data" / "results" / "reference"
    if not (whole / "current.json").is_file():
        pytest.skip("the reference study's own results are not here; make reference makes them")
    path = whole / json.loads((whole / "current.json").read_text())["snapshot"]
    with duckdb.connect(str(path), read_only=True) as db:
        assert _present(db) == pytest.approx(0.05, abs=0.01)


def _present(db: Any) -> float:
    """Share of unnamed pairs above thresholds of one half of the prompts, asked of the other: by chance 5 % are above.

    Every fourth prompt is of one category, so that halves are made of blocks of four.
    """
    rows = db.execute(
        "SELECT model_id, concept_id, prompt_id, seed, similarity FROM trajectory t "
        "WHERE concept_id > 0 AND NOT EXISTS (FROM mention m WHERE m.prompt_id = t.prompt_id AND m.concept_id = t.concept_id)"
    ).df()
    shares = []
    for _, group in rows.groupby(["model_id", "concept_id"]):
        curves = np.stack(group["similarity"].tolist())
        odd = (group["prompt_id"].to_numpy() - 1) // 4 % 2 == 1
        baseline = curves[odd].mean(axis=0)
        threshold = np.quantile(curves[odd] - baseline, 0.95, axis=0, method="weibull")
        shares.append(((curves[~odd] - baseline) > threshold).mean(axis=0))
    return float(np.mean(shares))


def _emergence(candidate: str, axis: str) -> pd.DataFrame:
    """What the snippet of docs/methods.md, "Axis", prints: a row per family."""
    with stepscope.open(SHIPPED) as study:
        rows = study.compare("UNet", candidate, axis=axis)
    rows = rows[rows["measure"].str.startswith("Emergence")]
    return rows.set_index(rows["measure"].str.rpartition(": ")[2])


@pytest.mark.parametrize(("candidate", "direction"), [("UNet, early", 1), ("UNet, late", -1)])
def test_what_another_sampling_of_one_model_moves_in_steps_and_in_log_snr(
    candidate: str, direction: int
) -> None:
    """The list of docs/methods.md: steps tell where they were put; what is separable in log-SNR is what a long first step does."""
    steps, levels = _emergence(candidate, "step"), _emergence(candidate, "log-snr")
    for family in ("object", "texture", "size"):
        assert steps.loc[family, "verdict"] == "separable" and steps.loc[family, "p"] < 0.01
        assert np.sign(steps.loc[family, "difference"]) == direction
        assert abs(levels.loc[family, "d_z"]) < abs(steps.loc[family, "d_z"])
    assert set(levels.loc[["object", "size"], "verdict"]) == {"not separable"}
    assert levels.loc["colour", "verdict"] == "separable"  # decided in the first steps
    text = (ROOT / "docs" / "methods.md").read_text()
    for family in ("object", "colour", "texture", "size"):
        in_steps, in_levels = (_said(rows.loc[family]) for rows in (steps, levels))
        line = f"- {candidate}, {family}: {in_steps[0]} steps, {in_steps[1]}; {in_levels[0]} in log-SNR, {in_levels[1]}"
        assert line in text


def _said(row: pd.Series) -> tuple[str, str]:
    return f"{row['difference']:+.2f} [{row['low']:.2f}, {row['high']:.2f}]", row["verdict"]


def test_the_command_in_its_note_is_one_of_the_makefile() -> None:
    note = (SHIPPED / "README.md").read_text()
    target = re.search(r"by `make (\w+)", note)
    assert target and f"\n{target[1]}:" in (ROOT / "Makefile").read_text()
