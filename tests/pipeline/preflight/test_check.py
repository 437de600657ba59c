"""`check MODEL`: what it says of a good model, of one whose images would be recorded wrongly, and of odd folders."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from pipeline.__main__ import main
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.study.plan import plan_study
from pipeline.study.spec import Measures
from tests.support.causes import causes
from tests.support.families import spec
from tests.support.tiny_pipelines import folder_of


def check(capsys, model, *options):
    capsys.readouterr()
    status = main(["check", str(model), "--device", "cpu", *options])
    return status, capsys.readouterr()


def test_a_good_model(root, capsys):
    status, said = check(capsys, folder_of("dit", root), "--guidance", "2")
    assert status == 0 and said.err == ""
    for words in ("DiTPipeline, family dit", "s a denoiser call for one image on cpu, peak memory", "A study may record it.",
                  "the same bits with recording", "df-rise                        yes"):  # fmt: skip
        assert words in said.out
    assert "attention                      no: " in said.out


def test_one_whose_images_would_be_wrong(root, capsys, monkeypatch):
    real = loading.family_of
    monkeypatch.setattr(loading, "family_of", lambda p: replace(real(p), shifted=False))
    status, said = check(capsys, folder_of("sd3", root), "--size", "32")
    assert status == 1
    assert "Not to be recorded: x0 differs from the final image by" in said.out
    assert "spectra  no: see the trial" in said.out


def index_of(**changes):
    def change(folder):
        path = folder / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def pickled(folder):
    for file in (folder / "unet").glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))


def truncated(folder):
    file = next((folder / "unet").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])


def damaged(folder):
    (folder / "unet" / "config.json").write_text("{")


def no_config(folder):
    (folder / "scheduler" / "scheduler_config.json").unlink()


def modular(folder):
    (folder / "model_index.json").rename(folder / "modular_model_index.json")


ODD = {
    "no folder": (shutil.rmtree, "no folder"),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "no model_index.json"),
    "a modular pipeline": (modular, "is a modular pipeline"),
    "a list": (lambda folder: (folder / "model_index.json").write_text("[]"), "model_index.json"),
    "an unknown class": (index_of(_class_name="OurOwnPipeline"), "OurOwnPipeline"),
    "a class that wants an image": (index_of(_class_name="StableDiffusionImg2ImgPipeline"), "it also wants image"),
    "half a model": (index_of(_class_name="KandinskyV22PriorPipeline"), "is a part of a model"),
    "code of its own": (index_of(unet=["evil", "Model"]), "unet"),
    "pickled weights": (pickled, "pickle, never loaded"),
    "truncated weights": (truncated, "truncated or damaged"),
    "a damaged configuration": (damaged, "unet"),
    "a missing component": (lambda folder: shutil.rmtree(folder / "vae"), "vae"),
    "no scheduler": (no_config, "scheduler"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_an_odd_folder_is_one_clear_line(root, tmp_path, capsys, case):
    harm, words = ODD[case]
    folder = Path(shutil.copytree(folder_of("sd-epsilon", root), tmp_path / "model"))
    harm(folder)
    status, said = check(capsys, folder)
    assert status == 2 and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert words in said.err and "Traceback" not in said.err


def test_it_is_kept_and_published(tmp_path):
    study = causes(Measures(), 2)
    assert not engine.run(plan_study(study), tmp_path, "cpu").errors
    with duckdb.connect(publish(tmp_path).path, read_only=True) as db:
        levels, same, replay = db.execute("SELECT x0_levels, same_bits, replay_difference FROM model").fetchone()  # fmt: skip
    assert 0 <= levels < 3 and same is True and replay == 0


def test_a_study_does_not_record_what_fails(tmp_path, root, monkeypatch):
    real = loading.family_of
    monkeypatch.setattr(loading, "family_of", lambda p: replace(real(p), shifted=False))
    study = causes(Measures(), 2, model="scenes-dit")
    wrong = replace(study.models[0], source=spec("sd3").source, height=32, width=32)
    plan = plan_study(replace(study, models=(wrong,)))
    with pytest.raises(ModelError, match=r"not recorded, for .* by \d\.\d of 255 levels"):
        engine.run(plan, tmp_path, "cpu")
    assert not list((tmp_path / "shards").iterdir())


@pytest.mark.parametrize("value", [float("nan"), "1", True, None, [1]])
def test_a_record_that_is_no_number_is_left_out(value):
    from pipeline.database.ingest import _trial

    trial = _trial({"x0_levels": value, "same_bits": "yes", "replay": value})
    assert set(trial.values()) == {None}
    assert set(_trial(value).values()) == {None}
