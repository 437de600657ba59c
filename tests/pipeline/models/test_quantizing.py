"""Quantised denoisers: the images are torchao's own, recording changes no bit, and every tool looks into such a model."""

import importlib.util
from dataclasses import replace

import pytest
import torch

from pipeline.diffusion.generate import generate
from pipeline.errors import ModelError, StudyError
from pipeline.models.loading import check_tensors, open_pipeline
from pipeline.models.quantizing import check_quantization
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import AdapterSpec, ModelSpec, QuantizationSpec, model_spec, study_spec
from tests.support import families

pytestmark = pytest.mark.usefixtures("root")
CPU = torch.device("cpu")
NAMES = ("sd-epsilon", "flux-dev")
REASON = "torchao is not installed: pip install torchao"


def spec(name: str, bits: int | None = 8, **options: object) -> ModelSpec:
    wanted = None if bits is None else QuantizationSpec("torchao", bits)
    return replace(families.spec(name), quantization=wanted, **options)


def images(pipeline, model: ModelSpec, name: str) -> torch.Tensor:
    return generate(pipeline, model, families.prompts_of(name)[:1], 0, {})


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NAMES)
def test_images_are_those_of_the_package_and_every_tool_works(name, bits):
    torchao = pytest.importorskip("torchao.quantization", reason=REASON)
    granularity = pytest.importorskip("torchao.quantization.granularity", reason=REASON)
    model = spec(name, bits)
    ours, plain = open_pipeline(model, CPU), open_pipeline(spec(name, None), CPU)
    before = images(plain, model, name)
    config = (
        torchao.Int8WeightOnlyConfig()
        if bits == 8
        else torchao.IntxWeightOnlyConfig(
            weight_dtype=torch.int4, granularity=granularity.PerAxis(0)
        )
    )
    denoiser = plain.transformer if name == "flux-dev" else plain.unet
    torchao.quantize_(denoiser, config)
    quantised = images(ours, model, name)
    assert torch.equal(quantised, images(plain, model, name))
    assert not torch.equal(quantised, before), "nothing was quantised"
    seen = families.watch(name, ours, model, families.prompts_of(name))
    assert torch.equal(seen.plain, seen.watched)
    explained = seen.columns[0]["explanations"]
    assert {"df-cam", "df-rise", "lime", "relevance"} <= {each["method"] for each in explained}


def test_a_missing_package_is_named_before_anything_is_loaded(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torchao" else real(name)
    )
    for attempt in (check_tensors, lambda model: open_pipeline(model, CPU)):
        with pytest.raises(ModelError, match=r"needs the package torchao, which is not installed\. Install it \(pip install torchao\)"):  # fmt: skip
            attempt(spec("sd-epsilon"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("adapters", (AdapterSpec("x", 1.0),)), ("compile", True), ("offload", "model")],
)
def test_what_it_excludes_is_named(monkeypatch, key, value):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(ModelError, match=f"and {key} exclude each other"):
        check_quantization(spec("sd-epsilon", **{key: value}))


def study(settings: str):
    text = f"""
name = "one"
[prompts]
texts = ["a dog"]
[scorer]
source = "data/models/scenes-clip"
[concepts]
path = "data/concepts/scenes.toml"
[[model]]
name = "m"
source = "data/models/scenes-unet"
{settings}
"""
    return text


def test_it_is_part_of_the_models_identity_and_absent_it_changes_nothing():
    plain, quantised = model_spec(spec("sd-epsilon", None)), model_spec(spec("sd-epsilon"))
    assert "quantization" not in plain
    assert quantised == plain | {"quantization": {"backend": "torchao", "bits": 8}}
    one = replace(load_study("data/studies/small.toml"), models=(spec("sd-epsilon", 4),))
    assert parse_study(study_spec(one), one.path, check_files=False) == one


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('quantization = { backend = "pickle" }', "torchao"),
        ('quantization = { backend = "torchao", bits = 5 }', "Allowed: 4, 8"),
        ('quantization = { backend = "torchao", bits = 16 }', "bits"),
        ('quantization = { backend = "torchao", group = 32 }', "group"),
        ('quantization = "torchao"', "quantization"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, settings, said):
    file = tmp_path / "study.toml"
    file.write_text(study(settings))
    with pytest.raises(StudyError, match=said):
        load_study(file)
