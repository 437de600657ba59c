"""What is wrong with a user's model is one clear line from the shell, before the run starts, for every family."""

import json
import shutil

import pytest

from pipeline.__main__ import main
from pipeline.bench.tried import NEEDING
from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.models.families import FAMILIES
from tests.support.families import NAMES, spec
from tests.support.tiny_kolors import KOLORS
from tests.support.tiny_pipelines import folder_of

STUDY = """
name = "bad"
seeds = [0]
[prompts]
path = "{prompts}"
[scorer]
source = "data/models/scenes-clip"
[concepts]
path = "data/concepts/scenes.toml"
[[model]]
name = "m"
source = "{model}"
steps = 2
{more}
"""


@pytest.fixture
def shell(tmp_path, capsys, monkeypatch):
    """Plans or runs a study of one model; gives the exit status and what was said to stderr."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "prompts.txt").write_text("cat\n")

    def call(model, *options, more=""):
        study = tmp_path / "study.toml"
        study.write_text(STUDY.format(prompts=tmp_path / "prompts.txt", model=model, more=more))
        capsys.readouterr()  # what building the folder has said
        status = main(["run", str(study), "--out", str(tmp_path / "out"), *options])
        return status, capsys.readouterr().err

    return call


@pytest.fixture(params=NAMES)
def folder(request, root, tmp_path):
    return shutil.copytree(folder_of(request.param, root), tmp_path / "model")


def denoiser(folder):
    return next(folder / name for name in ("unet", "transformer") if (folder / name).is_dir())


def refused(shell, folder, *words):
    status, said = shell(folder, "--plan")
    assert status == 2
    assert said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said
    for word in words:
        assert word in said, said
    assert not (folder.parent / "out").exists()


def test_pickle_only(shell, folder):
    for file in denoiser(folder).glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    refused(shell, folder, "pickle, never loaded", "safe_serialization=True")


def test_truncated_weights(shell, folder):
    file = next(denoiser(folder).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    refused(shell, folder, "truncated or damaged", "Download it again")


def test_a_missing_component(shell, folder):
    index = json.loads((folder / "model_index.json").read_text())
    shutil.rmtree(folder / denoiser(folder).name)
    refused(
        shell,
        folder,
        "lacks the component folder",
        next(k for k in ("unet", "transformer") if k in index),
    )


def test_remote_code(shell, folder):
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    file.write_text(json.dumps(index | {denoiser(folder).name: ["pipeline_evil", "Evil"]}))
    refused(shell, folder, "pipeline_evil", "remote code is never run")


def test_a_damaged_configuration(shell, folder):
    (denoiser(folder) / "config.json").write_text("{")
    refused(shell, folder, "cannot be read", "save the model again")


def test_an_unreachable_hub_id(shell):
    status, said = shell("nobody/nothing")
    assert status == 2 and said.count("\n") == 1
    assert "'nobody/nothing' is not available from the Hub" in said


def test_a_gated_hub_id(monkeypatch):
    from diffusers import DiffusionPipeline

    def refuse(*_, **__):
        raise OSError("403 Client Error: access to owner/gated is restricted. You must log in.")

    monkeypatch.setattr(DiffusionPipeline, "load_config", refuse)
    with pytest.raises(ModelError, match="access to owner/gated is restricted.*your access"):
        loading.check_reachable(spec("sd-epsilon").__class__("g", "g", "owner/gated"))


def test_settings_that_do_not_fit_are_said_at_plan_time(shell, root):
    cases = {
        "dit": ("height = 64", "takes no height"),
        "flux-dev": ('negative_prompt = "x"', "without an unconditional half"),
        "sd3": ('scheduler = "DDIMScheduler"', "was trained for flow"),
        "ddpm": ("vae_tiling = true", "vae_tiling is not offered"),
        "pixart-alpha": ('schedule = "late"\nscheduler = "DDIMScheduler"', "custom timesteps"),
    }
    for name, (more, words) in cases.items():
        status, said = shell(folder_of(name, root), "--plan", more=more)
        assert status == 2 and words in said and said.count("\n") == 1, said


def test_a_study_of_a_packed_model_runs_from_the_shell(shell, root, tmp_path):
    more = "height = 32\nwidth = 48"
    status, said = shell(folder_of("flux-dev", root), "--device", "cpu", more=more)
    assert status == 0, said
    import duckdb

    pointer = json.loads((tmp_path / "out" / "current.json").read_text())
    with duckdb.connect(str(tmp_path / "out" / pointer["snapshot"]), read_only=True) as database:
        rows = database.execute("SELECT family, pipeline, prediction_type FROM model").fetchall()
        sizes = database.execute("SELECT width, height, status FROM sample").fetchall()
    assert rows == [("flux", "FluxPipeline", "flow")] and sizes == [(48, 32, "done")]


def test_every_family_of_the_table_is_tested(root):
    tested = {
        json.loads((folder_of(n, root) / "model_index.json").read_text())["_class_name"]
        for n in NAMES
    }
    another_scheduler = {"DDIMPipeline"}  # which is DDPMPipeline
    needs_a_package = set() if KOLORS else set(NEEDING)
    assert set(FAMILIES) - tested == another_scheduler | needs_a_package
