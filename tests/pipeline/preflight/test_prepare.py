"""A study file becomes a checked plan, or one message, before any weights are loaded."""

from pathlib import Path

import pytest

from pipeline.errors import ModelError, StudyError
from pipeline.preflight.prepare import prepare
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study

SMALL = Path("data/studies/small.toml")


def test_the_plan_is_that_of_the_study():
    said = []
    plan = prepare(SMALL, seeds=[3, 4], limit=2, say=said.append)
    again = plan_study(load_study(SMALL, seeds=[3, 4], limit=2))
    assert [work_unit.unit_id for work_unit in plan] == [work_unit.unit_id for work_unit in again]
    assert said[0] == "small: 2 models x 2 prompts x 2 seeds = 8 images in 4 work units"


def test_repeats_are_counted(tmp_path):
    (tmp_path / "twice.csv").write_text("text\na cat\na cat\na dog\n")
    study = tmp_path / "study.toml"
    study.write_text(
        SMALL.read_text()
        .replace("data/prompts/scenes.csv", "twice.csv")
        .replace("sample = 4", "limit = 4")
    )
    said = []
    assert prepare(study, say=said.append).duplicates == 1
    assert "1 repeated prompts left out" in said[0]


def test_a_damaged_model_is_refused_before_prompts_are_read(tmp_path):
    (tmp_path / "model").mkdir()
    text = SMALL.read_text().replace("data/models/scenes-unet", str(tmp_path / "model"))
    text = text.replace("data/prompts/scenes.csv", str(tmp_path / "prompts.csv"))
    (tmp_path / "prompts.csv").write_text("no prompt column\n1\n")
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(ModelError, match="scenes-unet"):
        prepare(tmp_path / "study.toml", say=[].append)


def test_hub_models_are_asked_for_only_when_they_will_be_run(tmp_path, monkeypatch):
    """Without the network, a plan of a model on the Hub is still made."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = SMALL.read_text().replace('"data/models/scenes-dit"', '"nobody/nothing"')
    (tmp_path / "study.toml").write_text(text)
    assert len(prepare(tmp_path / "study.toml", hub=False, say=[].append)) == 2
    with pytest.raises(ModelError, match="nobody/nothing"):
        prepare(tmp_path / "study.toml", say=[].append)


def test_a_measure_that_cannot_be_run_is_refused(tmp_path):
    text = SMALL.read_text().replace("[measures]", "[measures]\ndf-cam = { layers = ['none'] }")
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(StudyError, match="layers"):
        prepare(tmp_path / "study.toml", say=[].append)
