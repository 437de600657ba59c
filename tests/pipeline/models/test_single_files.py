"""A checkpoint in one file gives the images of the same weights in a folder, and is checked as a folder is."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file, save_file

from pipeline.diffusion.generate import generate
from pipeline.errors import ModelError, StudyError
from pipeline.models.loading import check_tensors, open_pipeline
from pipeline.models.single_files import shapes_in
from pipeline.study.plan import find_revisions
from pipeline.study.reading import parse_study
from pipeline.study.spec import ModelSpec, model_spec, study_spec
from tests.support import families
from tests.support.hostile import watched
from tests.support.single_file import of_text, of_unet, of_vae, write_single_file
from tests.support.synthetic import small_study
from tests.support.tiny_pipelines import build, folder_of

CPU = torch.device("cpu")
# The view of a folder: made in the place for temporary files, its links removed by name.
VIEW = re.compile(r"os\.\w+ .*/stepscope-model-|os\.(remove|rmdir) \('[^/']+', \d+\)")


@pytest.fixture
def file(root, tmp_path) -> Path:
    """Weights in one file, and beside it the folder that they are of, without weights."""
    write_single_file(
        open_pipeline(families.spec("sd-epsilon"), CPU), tmp_path / "model.safetensors"
    )
    folder = Path(shutil.copytree(folder_of("sd-epsilon", root), tmp_path / "config"))
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    return tmp_path / "model.safetensors"


def spec(file: Path, **options: object) -> ModelSpec:
    named = {"source": str(file), "config": str(file.parent / "config"), **options}
    return replace(families.spec("sd-epsilon"), **named)


def change(file: Path, **tensors: torch.Tensor | None) -> None:
    """Replaces, adds or (None) removes tensors, by names with "__" for "."."""
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    stored = {n: t for n, t in (load_file(file) | named).items() if t is not None}
    save_file(stored, file)


def test_images_are_those_of_the_folder_to_the_bit(file):
    model = families.spec("sd-epsilon")
    prompts = families.prompts_of(2)
    single = open_pipeline(spec(file), CPU)
    plain = generate(open_pipeline(model, CPU), model, prompts, 0, {})
    assert torch.equal(generate(single, spec(file), prompts, 0, {}), plain)
    assert not single.unet.training and not any(p.requires_grad for p in single.unet.parameters())


def test_a_number_type_and_an_adapters_check_work_as_with_a_folder(file):
    half = open_pipeline(spec(file, dtype="bfloat16"), CPU)
    assert {half.unet.dtype, half.vae.dtype, half.text_encoder.dtype} == {torch.bfloat16}
    check_tensors(spec(file))


def test_what_the_file_does_not_hold_comes_from_the_folder(file, root):
    weights = folder_of("sd-epsilon", root) / "vae" / "diffusion_pytorch_model.safetensors"
    stored = {n: t for n, t in load_file(file).items() if not n.startswith("first_stage_model.")}
    save_file(stored, file)
    with pytest.raises(ModelError, match="config.vae has no weights"):
        check_tensors(spec(file))
    shutil.copy(weights, file.parent / "config" / "vae")
    pipeline = open_pipeline(spec(file), CPU)
    assert torch.equal(pipeline.vae.decoder.conv_in.weight, load_file(weights)["decoder.conv_in.weight"])  # fmt: skip


UNET = "model__diffusion_model__"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({f"{UNET}input_blocks__0__0__weight": None}, r"'unet' has weights that do not fit .* 1 missing \(conv_in.weight\)"),
        ({f"{UNET}out__2__bias": torch.zeros(5)}, r"'unet' has weights that do not fit .* of another shape \(conv_out.bias"),
        ({f"{UNET}extra__weight": torch.zeros(1)}, r"'unet': the file holds tensors that diffusers does not know \(model.diffusion_model.extra.weight\)"),
        ({"first_stage_model__extra": torch.zeros(1)}, r"'vae': the file holds tensors that diffusers does not know \(first_stage_model.extra\)"),
        ({"cond_stage_model__transformer__text_model__extra": torch.zeros(1)}, r"'text_encoder' has weights .* unexpected"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_one_line(file, changed, words):
    change(file, **changed)
    for look in (check_tensors, lambda model: open_pipeline(model, CPU)):
        with pytest.raises(ModelError, match=words) as caught:
            look(spec(file))
        assert "\n" not in str(caught.value)


def test_a_files_training_leftovers_are_not_looked_at(file):
    change(file, first_stage_model__loss__logvar=torch.zeros(()), model_ema__x=torch.zeros(3))
    check_tensors(spec(file))


def test_another_models_file_is_refused(file, root):
    folder = folder_of("flux-dev", root)
    with pytest.raises(ModelError, match="holds no UNet or transformer in a layout that is known"):
        check_tensors(spec(file, config=str(folder)))
    save_file({"lora_unet.up.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(ModelError, match="holds no UNet or transformer"):
        check_tensors(spec(file))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-4]), "truncated or damaged"),
        (lambda file: file.write_bytes(b"\xff" * 64), "not a whole safetensors file"),
        (lambda file: file.write_bytes(b"\x80\x04cos\nsystem\n"), "not a whole safetensors file"),
        (lambda file: file.unlink(), "no safetensors file"),
    ],
)
def test_a_damaged_file_is_refused_before_anything_is_loaded(file, harm, words):
    harm(file)
    with pytest.raises(ModelError, match=words):
        check_tensors(spec(file))


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("input_blocks.{}.0.x", [1], "'unet': the file holds 6,... tensors of it .at most 5,000"),
        (
            "input_blocks.1.0.x",
            [2**39, 2**39],
            "'unet': its tensors are not in the layout of a known",
        ),
        ("input_blocks.x.0.x", [2], "'unet': the file holds tensors that diffusers does not know"),
    ],
)
def test_names_and_shapes_that_would_take_for_ever_are_refused(file, name, shape, words):
    """Of the header alone: the tensors have no bytes."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    for number in range(6_000 if "{}" in name else 1):
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        header[f"model.diffusion_model.{name.format(number)}"] = entry
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + rest)
    with pytest.raises(ModelError, match=words) as caught:
        check_tensors(spec(file))
    assert "\n" not in str(caught.value)


def test_a_configuration_is_checked_as_a_folder_is(file):
    config = file.parent / "config" / "unet" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"block_out_channels": [8, 2**30]}))
    with pytest.raises(ModelError, match="unet"):
        check_tensors(spec(file))
    config.unlink()
    os.symlink("/etc/passwd", config)
    with pytest.raises(ModelError, match="is a link out of the model's folder"):
        check_tensors(spec(file))


def read(**model: object):
    study = small_study()
    values = study_spec(study)
    values["model"][0] |= model
    return parse_study(values, Path("study.toml"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"config": None}, 'is a file, so config = "FOLDER" must name the folder of its configuration'),
        ({"config": "no-such"}, "config = 'no-such' is no folder"),
        ({"config": "data"}, "config = 'data' has no model_index.json"),
        ({"source": "README.md"}, "source = 'README.md' is no safetensors file. .*pickles are never loaded"),
        ({"source": "gone.safetensors"}, "source = 'gone.safetensors' does not exist"),
        ({"variant": "fp16"}, "variant has no effect on a single file"),
        ({"revision": "main"}, "revision has no effect on a single file"),
    ],
)  # fmt: skip
def test_an_entry_that_means_nothing_is_one_line(file, changed, words):
    entry = {"source": str(file), "config": str(file.parent / "config")} | changed
    entry = {key: value for key, value in entry.items() if value is not None}
    with pytest.raises(StudyError, match=words) as caught:
        read(**entry)
    assert "\n" not in str(caught.value)


def test_file_and_configuration_are_part_of_what_a_model_is(file):
    config = file.parent / "config"
    study = read(source=str(file), config=str(config))
    assert "config" not in model_spec(small_study().models[0]), "old studies keep their spelling"
    assert model_spec(study.models[0])["config"] == str(config)
    name = study.models[0].name
    before = find_revisions(study).models
    scheduler = config / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text() + "\n")
    other = find_revisions(study).models
    assert before[name] == other[name] and before[f"{name}/config"] != other[f"{name}/config"]
    change(file, betas=torch.zeros(3))
    assert find_revisions(study).models[name] != before[name]


def test_sdxl_and_flux_have_the_names_that_diffusers_asks_for(root, tmp_path):
    pipeline, folder = build("sdxl", seed=0), folder_of("sdxl", root)
    first, second = pipeline.text_encoder, pipeline.text_encoder_2
    tensors = of_unet(pipeline.unet) | of_vae(pipeline.vae)
    tensors |= of_text(first, "conditioner.embedders.0.transformer.")
    tensors |= open_clip_names(second)
    stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name, model in (("unet", pipeline.unet), ("vae", pipeline.vae), ("text_encoder_2", second)):
        shapes = shapes_in(type(model), name, folder / name, stored, name)
        assert shapes == {n: tuple(t.shape) for n, t in model.state_dict().items()}
    file = tmp_path / "xl.safetensors"
    save_file({n: t.contiguous() for n, t in tensors.items()}, file)
    model = replace(families.spec("sdxl"), source=str(file), config=str(folder))
    single = open_pipeline(model, CPU)
    plain = build("sdxl", seed=0)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        theirs, ours = getattr(plain, name).state_dict(), getattr(single, name).state_dict()
        assert all(torch.equal(ours[n], t) for n, t in theirs.items())


def open_clip_names(encoder) -> dict[str, torch.Tensor]:
    """A text encoder as open_clip names it, with queries, keys and values in one matrix."""
    prefix, state = "conditioner.embedders.1.model.", encoder.state_dict()
    named = {
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    tensors = {prefix + theirs: state[ours] for ours, theirs in named.items()}
    tensors[f"{prefix}text_projection"] = state["text_projection.weight"].T
    inner = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
    for layer in range(encoder.config.num_hidden_layers):
        ours, theirs = f"text_model.encoder.layers.{layer}.", f"{prefix}transformer.resblocks.{layer}."  # fmt: skip
        for kind in ("weight", "bias"):
            parts = [state[f"{ours}self_attn.{way}_proj.{kind}"] for way in "qkv"]
            tensors[f"{theirs}attn.in_proj_{kind}"] = torch.cat(parts)
            tensors |= {f"{theirs}{t}.{kind}": state[f"{ours}{o}.{kind}"] for o, t in inner.items()}
    return tensors


def test_flux_has_the_names_that_diffusers_asks_for(tmp_path):
    """Of the width of FLUX, which diffusers takes for granted, with a block of each kind and without memory."""
    with torch.device("meta"):
        model = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    shapes = shapes_in(FluxTransformer2DModel, "transformer", tmp_path, flux_shapes(), "flux")
    assert shapes == {n: tuple(t.shape) for n, t in model.state_dict().items()}
    with pytest.raises(ModelError, match=r"does not know \(extra\)"):
        shapes_in(FluxTransformer2DModel, "transformer", tmp_path, flux_shapes() | {"extra": (1,)}, "flux")  # fmt: skip
    short = {n: s for n, s in flux_shapes().items() if n != "img_in.bias"}
    with pytest.raises(ModelError, match="not in the layout of a known checkpoint"):
        shapes_in(FluxTransformer2DModel, "transformer", tmp_path, short, "flux")


def flux_shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of a FLUX with one double and one single block, as its authors name them."""
    d, wide = 3072, 12288
    linear = {
        **{f"{name}.in_layer": (d, size) for name, size in (("time_in", 256), ("vector_in", 768), ("guidance_in", 256))},
        **{f"{name}.out_layer": (d, d) for name in ("time_in", "vector_in", "guidance_in")},
        "txt_in": (d, 4096), "img_in": (d, 64), "final_layer.linear": (64, d), "final_layer.adaLN_modulation.1": (2 * d, d),
        **{f"double_blocks.0.{side}_mod.lin": (6 * d, d) for side in ("img", "txt")},
        **{f"double_blocks.0.{side}_attn.qkv": (3 * d, d) for side in ("img", "txt")},
        **{f"double_blocks.0.{side}_attn.proj": (d, d) for side in ("img", "txt")},
        **{f"double_blocks.0.{side}_mlp.0": (wide, d) for side in ("img", "txt")},
        **{f"double_blocks.0.{side}_mlp.2": (d, wide) for side in ("img", "txt")},
        "single_blocks.0.modulation.lin": (3 * d, d), "single_blocks.0.linear1": (3 * d + wide, d),
        "single_blocks.0.linear2": (d, d + wide),
    }  # fmt: skip
    norms = [f"double_blocks.0.{side}_attn.norm" for side in ("img", "txt")] + [
        "single_blocks.0.norm"
    ]
    shapes = {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    return shapes | {f"{name}.{way}_norm.scale": (128,) for name in norms for way in ("query", "key")}  # fmt: skip


def test_nothing_is_printed_fetched_or_run(file, tmp_path, capfd, caplog):
    (file.parent / "config" / "unet" / "evil.py").write_text("raise SystemExit")
    capfd.readouterr()
    with watched(tmp_path) as harm:
        open_pipeline(spec(file), CPU)
    assert [line for line in harm if not VIEW.match(line)] == []
    assert capfd.readouterr() == ("", "") and not caplog.records
