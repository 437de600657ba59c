"""Weights against configurations: every gap is named before anything is loaded; what libraries rename or tie is none."""

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import dynamic_modules_utils
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import (  # fmt: skip
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    T5EncoderModel,
    dynamic_module_utils,
)

from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.models.files import read_shapes
from pipeline.models.folders import Component
from pipeline.models.guard import no_remote_code
from pipeline.models.scorer import Scorer, check_scorer
from pipeline.models.weights import MAX_TABLES, building, check_tables, check_weights, compare
from pipeline.study.spec import ModelSpec, ScorerSpec
from tests.support.tiny_parts import clip_text, t5, vae
from tests.support.tiny_pipelines import folder_of

CPU = torch.device("cpu")


def saved(model, folder):
    model.save_pretrained(folder, safe_serialization=True)
    return Component("part", type(model), folder, "model m")


def change(component, act):
    file = component.folder / f"{component.stem}.safetensors"
    held = load_file(file)
    outcome = act(held)
    save_file({k: v.contiguous() for k, v in (outcome or held).items()}, file)


def refused(component, *words):
    with pytest.raises(ModelError) as caught:
        check_weights(component)
    said = str(caught.value)
    assert "\n" not in said and said.startswith("model m: 'part'"), said
    for word in words:
        assert word in said, said


def test_an_encoder_without_any_of_its_tensors_names_them(tmp_path):
    part = saved(clip_text(layers=4), tmp_path)
    count = len(read_shapes(tmp_path / "model.safetensors", ""))
    assert count == 68
    change(part, lambda held: held.clear() or {"other": torch.zeros(1)})
    refused(part, "68 missing (", "1 unexpected (other)", "random weights", "Download or save")


def test_each_kind_of_gap_is_counted_and_named(tmp_path):
    part = saved(vae(), tmp_path)

    def act(held):
        held["decoder.extra"] = held.pop("decoder.conv_in.bias")
        held["encoder.conv_in.bias"] = torch.zeros(99)

    change(part, act)
    refused(part, "1 missing (decoder.conv_in.bias)", "1 unexpected (decoder.extra)", "1 of another shape (encoder.conv_in.bias: (99,), not (8,))")  # fmt: skip


def test_names_of_older_versions_are_no_gap(tmp_path):
    """text_model. before each name and position_ids (CLIP); query, key, value, proj_attn (autoencoders)."""
    part = saved(clip_text(), tmp_path / "clip")
    positions = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
    change(part, lambda held: {f"text_model.{name}": t for name, t in held.items()} | positions)
    check_weights(part)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    part = saved(vae(), tmp_path / "vae")

    def rename(held):
        outcomes = {}
        for name, tensor in held.items():
            for new, was in old.items():
                name = name.replace(f"attentions.0.{new}.", f"attentions.0.{was}.")
            outcomes[name] = tensor
        assert outcomes.keys() != held.keys()
        return outcomes

    change(part, rename)
    check_weights(part)
    assert isinstance(AutoencoderKL.from_pretrained(tmp_path / "vae"), AutoencoderKL)


def test_tied_weights_are_no_gap_but_their_absence_is(tmp_path):
    part = saved(t5(), tmp_path)
    assert "shared.weight" in read_shapes(tmp_path / "model.safetensors", "")
    change(part, lambda held: held | {"encoder.embed_tokens.weight": held["shared.weight"].clone()})
    check_weights(part)
    change(part, lambda held: {n: t for n, t in held.items() if "embed" not in n and "shared" not in n})  # fmt: skip
    refused(part, "missing (")
    assert isinstance(T5EncoderModel.from_pretrained(tmp_path), T5EncoderModel)  # with random ones


def test_a_bias_that_a_scorer_may_leave_out_is_not_measured(tmp_path):
    folder = shutil.copytree("data/models/scenes-clip", tmp_path / "scorer")
    file = folder / "open_clip_model.safetensors"
    held = load_file(file)
    held["logit_scale"] = held["logit_scale"].reshape(1)
    save_file(held, file)
    Scorer(ScorerSpec(str(folder)))
    del held["visual.conv1.weight"]
    save_file(held, file)
    with pytest.raises(ModelError, match=r"1 missing \(visual.conv1.weight\)"):
        check_scorer(ScorerSpec(str(folder)))


def headers(shapes, file):
    """A safetensors file of that size on paper: its data is a hole."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)


def test_a_model_of_full_size_is_compared_without_its_memory(tmp_path):
    """Stable Diffusion's UNet, 860 million parameters, and CLIP's text encoder; peak memory is not theirs."""
    with torch.device("meta"):
        unet, clip = UNet2DConditionModel(cross_attention_dim=768), CLIPTextModel(CLIPTextConfig())
    for model, stem in ((unet, "diffusion_pytorch_model"), (clip, "model")):
        folder = tmp_path / stem
        folder.mkdir()
        (folder / "config.json").write_text(model.config.to_json_string() if stem == "model" else model.to_json_string())  # fmt: skip
        shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
        file = folder / f"{stem}.safetensors"
        headers(shapes, file)
        part = Component("part", type(model), folder, "model m")
        check_weights(part)
        shapes.popitem()
        headers(shapes, file)
        refused(part, "1 missing (")
    assert file.stat().st_blocks * 512 < 10**7


def test_a_model_is_stopped_while_it_is_built():
    said = "over 2,020 parts, and its file holds 10 tensors"
    with pytest.raises(ModelError, match=said), building("m", 10):
        torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(10**7))
    with building("m", 10):
        torch.nn.Linear(1, 1)
    torch.nn.ModuleList(
        torch.nn.Linear(1, 1, device="meta") for _ in range(2_000)
    )  # counted no more


def test_tables_besides_the_weights_have_a_limit():
    module = torch.nn.Module()
    module.register_buffer("table", torch.empty(MAX_TABLES // 4 + 1, device="meta"), False)
    with pytest.raises(ModelError, match="asks for tables of"):
        check_tables(module, "m")


def test_differences_read_as_a_sentence():
    assert not compare({"a": (1,)}, {"a": (1,), "text.position_ids": (1, 77)})
    outcomes = compare(dict.fromkeys("abcde", (1,)), {"e": (2,), "f": (1,)})
    assert str(outcomes) == "4 missing (a, b, c, ...); 1 unexpected (f); 1 of another shape (e: (2,), not (1,))"  # fmt: skip


def tiny(folder):
    AutoencoderTiny(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda f: (f / "diffusion_pytorch_model.safetensors").rename(f / "diffusion_pytorch_model.bin"), "pickle, never loaded"),
        (lambda f: (f / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Evil"}}'), "auto_map"),
        (lambda f: (f / "config.json").write_text('{"num_decoder_blocks": [1000000]}'), "num_decoder_blocks"),
        (lambda f: (f / "notes.txt").symlink_to("/etc/passwd"), "link out"),
        (lambda f: (f / "config.json").unlink(), "config.json"),
        (lambda f: change(Component("x", AutoencoderTiny, f, ""), lambda held: held.popitem() and None), "1 missing ("),
    ],
)  # fmt: skip
def test_a_steps_decoder_is_checked_as_a_model_is(tmp_path, act, said):
    folder = tiny(tmp_path / "taesd")
    model = ModelSpec("m", "m", "data/models/scenes-unet", steps_decoder=str(folder))
    loading.check_tensors(model)
    act(folder)
    with pytest.raises(ModelError, match="steps_decoder = .* could not be loaded") as caught:
        loading.check_tensors(model)
    assert said in str(caught.value)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the Hub without the network. Returns: what puts a folder there, and gives the snapshot."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def put(folder, name):
        cached = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, cached / "snapshots" / ("0" * 40))
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("0" * 40)
        return cached / "snapshots" / ("0" * 40)

    return put


def test_a_hub_id_is_checked_in_the_cache(hub, tmp_path):
    model = ModelSpec("m", "m", "owner/tiny")
    loading.check_tensors(model)  # nothing is known of it yet
    snapshot = hub(folder_of("sd-epsilon", tmp_path / "families"), "owner/tiny")
    loading.check_tensors(model)
    assert type(loading.open_pipeline(model, CPU)).__name__ == "StableDiffusionPipeline"
    change(Component("x", CLIPTextModel, snapshot / "text_encoder", ""), lambda held: held.popitem() and None)  # fmt: skip
    for act in (loading.check_tensors, lambda spec: loading.open_pipeline(spec, CPU)):
        with pytest.raises(ModelError, match=r"model m: 'text_encoder' .* 1 missing"):
            act(model)
    config = snapshot / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": ["evil.Evil", None]}))  # fmt: skip
    for act in (loading.check_tensors, lambda spec: loading.open_pipeline(spec, CPU)):
        with pytest.raises(ModelError, match="auto_map"):
            act(model)
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    loading.check_tensors(model)  # a part of a download says nothing


def test_a_scorer_of_the_hub_is_checked_in_the_cache(hub):
    spec = ScorerSpec("hf-hub:owner/tiny")
    snapshot = hub("data/models/scenes-clip", "owner/tiny")
    Scorer(spec)
    config = snapshot / "open_clip_config.json"
    held = json.loads(config.read_text())
    held["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    config.write_text(json.dumps(held))
    for act in (check_scorer, Scorer):
        with pytest.raises(ModelError, match="trust_remote_code"):
            act(spec)


def test_no_python_of_a_folder_is_run_whatever_asks_for_it(tmp_path, monkeypatch):
    """The barrier alone, without any allow list before it."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    canary = tmp_path / "pwned"
    folder = Path(shutil.copytree("data/models/scenes-unet", tmp_path / "model"))
    code = f"open({str(canary)!r}, 'w').close()\nfrom transformers import CLIPTokenizer\nclass Evil(CLIPTokenizer): pass\n"
    (folder / "tokenizer" / "evil.py").write_text(code)
    (folder / "unet" / "diffusers.py").write_text(code)
    config = folder / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}))  # fmt: skip
    asks = (
        lambda: AutoTokenizer.from_pretrained(folder / "tokenizer", trust_remote_code=True),
        lambda: AutoTokenizer.from_pretrained(folder / "tokenizer"),
        lambda: DiffusionPipeline.from_pretrained(folder, trust_remote_code=True),
    )
    for ask in asks:
        with no_remote_code(), pytest.raises((RuntimeError, ValueError), match="code"):
            ask()
        assert not canary.exists()
    asks[0]()
    assert canary.exists()  # so the corpus' canary does sing
