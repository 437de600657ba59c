"""Models: what is refused before anything is loaded, and that the bundled folders load as they are."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.models.devices import choose_device, choose_dtype
from pipeline.study.spec import ModelSpec

UNET = Path("data/models/scenes-unet")
DIT = Path("data/models/scenes-dit")


def spec(source, **options):
    return ModelSpec(name="m", label="m", source=str(source), **options)


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(UNET, tmp_path / "model"))


def refused(folder, *words):
    with pytest.raises(ModelError) as caught:
        loading.check_model(spec(folder))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["scenes-unet", "scenes-unet-short", "scenes-dit"])
def test_bundled_models_pass(name):
    loading.check_model(spec(f"data/models/{name}"))


def test_the_unet_loads_as_any_checkpoint_does():
    pipeline = DiffusionPipeline.from_pretrained(UNET)
    assert type(pipeline).__name__ == "StableDiffusionPipeline"


def test_the_transformer_loads_with_its_null_components_and_no_bar(capfd):
    pipeline = loading.open_pipeline(spec(DIT), torch.device("cpu"))
    assert "%|" not in "".join(capfd.readouterr())
    assert loading.family_of(pipeline).name == "mmdit"
    assert loading.describe(pipeline, spec(DIT))["prediction_type"] == "flow"


def test_missing_folder(tmp_path):
    refused(tmp_path / "absent", "no folder")


def test_a_folder_that_is_no_pipeline(tmp_path):
    refused(tmp_path, "no model_index.json")


def test_damaged_index(folder):
    (folder / "model_index.json").write_text("{")
    refused(folder, "not valid JSON")


def test_remote_pipeline_class(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "EvilPipeline"}))
    refused(folder, "EvilPipeline", "never run")


def test_remote_component(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": ["evil", "UNet"]}))
    refused(folder, "'unet'", "'evil'")


def test_missing_component(folder):
    shutil.rmtree(folder / "vae")
    refused(folder, "'vae'")


def test_pickle_only(folder):
    for file in (folder / "unet").glob("*.safetensors"):
        file.rename(file.with_name("diffusion_pytorch_model.bin"))
    refused(folder, "diffusion_pytorch_model.bin", "pickle", "safe_serialization=True")


@pytest.mark.parametrize("keep", [0, 4, 100, -1000])
def test_truncated_weights(folder, keep):
    file = next((folder / "unet").glob("*.safetensors"))
    data = file.read_bytes()
    file.write_bytes(data[:keep])
    refused(folder, file.name, "Download it again")


def test_huge_header(folder):
    file = next((folder / "unet").glob("*.safetensors"))
    file.write_bytes(b"\xff" * 7 + b"\x7f" + file.read_bytes()[8:])
    refused(folder, "not a whole safetensors file")


def test_component_linked_from_outside(folder, tmp_path):
    (folder / "unet").rename(tmp_path / "elsewhere")
    (folder / "unet").symlink_to(tmp_path / "elsewhere")
    refused(folder, "link out of")


def test_unknown_scheduler_has_a_suggestion():
    with pytest.raises(ModelError, match="DDIMScheduler"):
        loading.check_model(spec(UNET, scheduler="DDIMShceduler"))


def test_cuda_that_is_absent():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ModelError, match="no CUDA"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_dtype_follows_the_device():
    assert choose_dtype("auto", torch.device("cpu")) is torch.float32
    assert choose_dtype("auto", torch.device("cuda")) is torch.float16
    assert choose_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16


def test_a_hub_id_that_cannot_be_had(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ModelError, match=r"'nobody/nothing' is not available from the Hub.*or give a folder"
    ):
        loading.check_reachable(spec("nobody/nothing"))
    loading.check_reachable(spec(UNET))


def test_decode_is_what_the_pipeline_does():
    pipeline = loading.open_pipeline(spec(UNET), torch.device("cpu"))
    run = {"prompt": "a dog", "num_inference_steps": 2, "height": 64, "width": 64}
    latents = pipeline(**run, generator=torch.Generator().manual_seed(0), output_type="latent")
    images = pipeline(**run, generator=torch.Generator().manual_seed(0), output_type="pt")
    assert torch.equal(loading.decode(pipeline, latents.images), images.images)
