"""data/studies/bring-your-own.toml, by the commands of the docs: a sampled model, images that exist, a training run and a score of
another program, in the database and in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from app.figures import gate
from pipeline.database.snapshots import read_pointer
from pipeline.results.folder import Results
from tests.support.bring import bring
from tests.support.browser import MARKS, Reader, downloaded, wait

pytestmark = pytest.mark.long


def in_a_browser(test: Callable[[Reader], None]) -> Callable[[Reader], None]:
    """Only where there is a browser."""
    for mark in MARKS:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bring(tmp_path_factory.mktemp("brought"))


def test_a_study_of_all_four_runs_from_the_shell(results: Path) -> None:
    with duckdb.connect(read_pointer(Results(results))[0], read_only=True) as db:
        models = db.execute(
            "SELECT name, run, training_step FROM model ORDER BY model_id"
        ).fetchall()
        counted = db.execute(
            "SELECT count(*), count(clip_score), count(value), min(value) FROM sample LEFT JOIN score ON score.sample_id = "
            "sample.sample_id AND metric_id = 1"
        ).fetchone()
        best = db.execute("SELECT max_by(model_id, clip_score) FROM (SELECT model_id, avg(clip_score) AS clip_score FROM sample GROUP BY ALL)").fetchone()  # fmt: skip
    assert models == [
        ("scenes-unet", None, None),
        ("composed", None, None),
        *((f"run-{step}", "run", step) for step in (1, 2, 3)),
    ]
    assert counted[:3] == (5 * 6,) * 3 and counted[3] > 0
    assert best == (2,), "composed scenes show what their captions say"


@in_a_browser
def test_images_that_exist_stand_beside_a_sampled_model(reader: Reader) -> None:
    reader.open("/models?baseline=UNet&candidate=Composed+images")
    wait(lambda: "Composed images vs UNet" in reader.text())
    reader.shoot("bring-images")
    reader.open("/timesteps")
    wait(lambda: "Steps not recorded: Composed images" in reader.text())


@in_a_browser
def test_a_training_run_has_its_page(reader: Reader) -> None:
    reader.open("/training")
    for text in ("CLIP score of each checkpoint", "Differences from a checkpoint", "Best:"):
        wait(lambda text=text: text in reader.text())
    reader.shoot("bring-training")
    boxes = "return ['step', 'training_step'].map(key => document.querySelector(`.st-key-${key}`).getBoundingClientRect().toJSON())"
    denoising, training = reader.driver.execute_script(boxes)
    assert denoising["right"] <= training["left"], "both steps are moved in one row"
    assert training["top"] < denoising["bottom"] <= reader.driver.execute_script("return innerHeight")  # fmt: skip


@in_a_browser
def test_a_score_of_another_program_is_chosen_by_a_link(reader: Reader) -> None:
    reader.open("/models?metric=Contrast")
    wait(lambda: "Contrast" in reader.text() and "Pillow" in reader.text())
    wait(lambda: "nothing to compare here" in reader.text())
    reader.shoot("bring-score")


@in_a_browser
def test_a_review_judges_images_that_exist(reader: Reader) -> None:
    reader.open("/review?baseline=Composed+images&candidate=UNet")
    wait(lambda: any(word in reader.text() for word in ("Undecided:", "Fail:", "Pass:")))
    reader.shoot("bring-review")


@in_a_browser
def test_a_benchmark_has_a_table_per_skill(reader: Reader, tmp_path: Path) -> None:
    """Tags of GenEval and what its evaluator says of each image, with paired intervals."""
    reader.open("/models?metric=GenEval&baseline=Composed+images&candidate=UNet")
    wait(lambda: "UNet vs Composed images" in reader.text())
    rows = pd.read_csv(downloaded(reader, ".st-key-csv_measures button", tmp_path, "*.csv"))
    skills = rows[rows["measure"].str.startswith("GenEval: ")].set_index("measure")
    assert list(skills.index) == ["GenEval: one object", "GenEval: two objects"]
    assert skills["difference"].tolist() == pytest.approx([-1 / 3, -2 / 3])
    assert (skills["low"] < skills["difference"]).all() and (skills["prompts"] == 3).all()
    reader.shoot("bring-benchmark")


@in_a_browser
@pytest.mark.parametrize(("margin", "status", "word"), [("1", 0, "Pass"), ("-1", 1, "Fail")])
def test_a_reviews_file_decides_the_gate_as_its_page(
    margin: str, status: int, word: str, reader: Reader, results: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    link = f"/review?baseline=Composed+images&candidate=UNet&criteria=CLIP+score&margin_clip_score={margin}"
    reader.open(link)
    reader.find("input[aria-label='Question']").send_keys("May it replace the images?")
    reader.find(".st-key-reviewer input").send_keys("Ada")
    reader.click("[data-testid=stFormSubmitButton] button", lambda: "review=" in reader.url())
    reader.settle()
    assert f"{word}: UNet against Composed images" in reader.text()
    table = pd.read_csv(downloaded(reader, ".st-key-csv_judged button", tmp_path, "*.csv"))
    file = downloaded(reader, ".st-key-export_criteria button", tmp_path, "criteria-*.toml")
    assert gate.main([str(results), "--criteria", str(file), "--json"]) == status
    (criterion,) = json.loads(capsys.readouterr().out)["criteria"]
    (row,) = table.to_dict("records")
    assert criterion["verdict"] == row["verdict"] == word.lower()
    numbers = [name for name, value in row.items() if isinstance(value, float) and value == value]
    assert len(numbers) > 3
    assert [criterion[name] for name in numbers] == pytest.approx([row[name] for name in numbers], nan_ok=True)  # fmt: skip
