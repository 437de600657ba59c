"""The forms in which people have models: variants of the weights, attention functions."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from pipeline.diffusion.generate import generate
from pipeline.errors import ModelError, StudyError
from pipeline.models.loading import check_tensors, open_pipeline
from pipeline.study.reading import parse_study
from pipeline.study.spec import ModelSpec, model_spec, study_spec
from tests.support import families
from tests.support.synthetic import small_study
from tests.support.tiny_pipelines import build, folder_of

CPU = torch.device("cpu")


@pytest.fixture
def both(root, tmp_path) -> Path:
    """A folder with plain weights of every component, and other ones of the UNet as variant fp16."""
    folder = Path(shutil.copytree(folder_of("sd-epsilon", root), tmp_path / "both"))
    build("sd-epsilon", seed=7).unet.save_pretrained(folder / "unet", variant="fp16")
    return folder


def spec(folder: Path, **options: object) -> ModelSpec:
    return replace(families.spec("sd-epsilon"), source=str(folder), **options)


def weights_of(pipeline) -> torch.Tensor:
    return torch.cat([p.flatten() for p in pipeline.unet.parameters()])


def test_a_variant_is_loaded_where_a_component_has_it(both):
    plain, variant = (open_pipeline(spec(both, variant=name), CPU) for name in (None, "fp16"))
    theirs = DiffusionPipeline.from_pretrained(both, variant="fp16", use_safetensors=True)
    assert torch.equal(weights_of(variant), weights_of(theirs))
    assert not torch.equal(weights_of(variant), weights_of(plain))
    assert torch.equal(variant.vae.decoder.conv_in.weight, plain.vae.decoder.conv_in.weight)


def test_a_variant_in_parts_is_loaded(both):
    unet = open_pipeline(spec(both, variant="fp16"), CPU).unet
    shutil.rmtree(both / "unet")
    unet.save_pretrained(both / "unet", variant="fp16", max_shard_size="100KB")
    assert len(list((both / "unet").glob("*.fp16-*.safetensors"))) > 1
    assert torch.equal(weights_of(open_pipeline(spec(both, variant="fp16"), CPU)), torch.cat([p.flatten() for p in unet.parameters()]))  # fmt: skip


def test_the_variant_is_what_is_checked(both):
    file = both / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    held = load_file(file)
    del held["conv_in.weight"]
    save_file(held, file)
    check_tensors(spec(both))
    with pytest.raises(
        ModelError, match=r"'unet' has weights that do not fit .* 1 missing \(conv_in.weight\)"
    ):
        check_tensors(spec(both, variant="fp16"))


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("bf16", "variant = 'bf16', and no component of .* has weights of it. Leave it out."),
        (None, 'Give the model\'s entry variant = "fp16", or download the plain weights'),
    ],
)
def test_weights_that_are_not_there_say_which_are(both, variant, words):
    (both / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=words):
        check_tensors(spec(both, variant=variant))


def test_an_index_of_a_variant_leads_nowhere_else(both):
    (both / "unet" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    index = {"weight_map": {"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"}}
    (both / "unet" / "diffusion_pytorch_model.safetensors.index.fp16.json").write_text(json.dumps(index))  # fmt: skip
    with pytest.raises(ModelError, match="no safetensors file beside it"):
        check_tensors(spec(both, variant="fp16"))


def images(pipeline, model: ModelSpec) -> torch.Tensor:
    return generate(pipeline, model, families.prompts_of(2), 0, {})


def test_an_attention_function_is_one_models_alone(root):
    model = families.spec("flux-dev")
    before = open_pipeline(model, CPU)
    other = replace(model, attention_backend="_native_math")
    chosen, after = open_pipeline(other, CPU), open_pipeline(model, CPU)
    backends = [
        {getattr(m.processor, "_attention_backend", None) for m in p.transformer.modules() if hasattr(m, "processor")}
        for p in (before, chosen, after)
    ]  # fmt: skip
    assert backends == [{None}, {"_native_math"}, {None}]
    plain = images(before, model)
    calls = []
    original = torch.nn.attention.sdpa_kernel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.nn.attention, "sdpa_kernel", lambda *a, **k: calls.append(a) or original(*a, **k)
        )
        same, math = images(after, model), images(chosen, other)
    assert torch.equal(plain, same), "another entry's choice changed this one's images"
    assert calls and all(call == (torch.nn.attention.SDPBackend.MATH,) for call in calls)
    assert torch.allclose(plain, math, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "backend", "words"),
    [
        ("flux-dev", "flash", "attention_backend = 'flash' cannot be used here: .*flash-attn"),
        ("flux-dev", "sage", "attention_backend = 'sage' cannot be used here: .*sageattention"),
        ("sd-epsilon", "native", "has no effect on a UNet2DConditionModel"),
    ],
)
def test_an_attention_function_that_cannot_be_had_is_one_line(root, family, backend, words):
    with pytest.raises(ModelError, match=words) as caught:
        open_pipeline(replace(families.spec(family), attention_backend=backend), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["flash_hub", "sage_hub", "_flash_3_hub", "eager"])
def test_kernels_of_the_hub_are_no_choice(backend):
    study = small_study()
    values = study_spec(study)
    values["model"][0]["attention_backend"] = backend
    with pytest.raises(StudyError, match="attention_backend"):
        parse_study(values, study.path, check_files=False)


def test_both_are_part_of_what_a_model_is():
    study = small_study()
    values = study_spec(study)
    assert not {"variant", "attention_backend"} & set(values["model"][0]), (
        "old studies keep their spelling"
    )
    values["model"][0] |= {"variant": "fp16", "attention_backend": "_native_math"}
    read = parse_study(values, study.path, check_files=False)
    assert model_spec(read.models[0]) == values["model"][0]
