"""The columns of training runs, and a folder of the schema before them."""

import json
from pathlib import Path

import duckdb
import pytest

from pipeline.__main__ import main
from pipeline.database.snapshots import SCHEMA_VERSION, read_pointer, schema_version
from pipeline.results.folder import Results


@pytest.fixture
def folder(study_folder) -> Path:
    return study_folder("demo", models=3, prompts=24, seeds=2, steps=12)


def models_of(folder: Path) -> list[tuple]:
    with duckdb.connect(read_pointer(Results(folder))[0], read_only=True) as db:
        return db.sql("SELECT name, run, training_step FROM model ORDER BY model_id").fetchall()


EXPECTED = [
    ("scenes-unet", "scenes-unet", 12_000),
    ("scenes-unet-short", "scenes-unet", 3_000),
    ("scenes-dit", None, None),
]


def test_run_and_step_are_columns(folder):
    assert models_of(folder) == EXPECTED


def test_a_folder_of_schema_5_is_migrated(folder, capsys):
    """Its snapshot lacks the columns, and its record the keys; nothing is run again."""
    with duckdb.connect(read_pointer(Results(folder))[0]) as db:
        db.execute("UPDATE study SET schema_version = 5")
        for column in ("run", "training_step"):
            db.execute(f"ALTER TABLE model DROP COLUMN {column}")
    record = json.loads(Results(folder).study.read_text())
    for entry in record["spec"]["model"]:
        entry.pop("run", None), entry.pop("training_step", None)
    Results(folder).study.write_text(json.dumps(record))
    assert schema_version(folder) == 5
    assert main(["migrate", str(folder)]) == 0
    assert f"was schema version 5, now {SCHEMA_VERSION}" in capsys.readouterr().out
    assert [row[1:] for row in models_of(folder)] == [(None, None)] * 3
    assert main(["verify", str(folder)]) == 0
