"""A corpus of model and scorer folders that mean harm or are broken: each is a small change to a folder that is in order."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

REFUSED, LOADS = "refused", "loads"
EVIL = 'import pathlib\npathlib.Path({canary!r}).write_text("ran")\nclass Evil: pass\n'
BIG = 10**12


@dataclass(frozen=True)
class Case:
    """One folder.

    Attributes:
        name: what is done to it.
        what: "model" or "scorer".
        change: does it; is given the folder.
        outcome: REFUSED in one line, or LOADS although the harm lies beside what is loaded.
        said: a part of the line.
    """

    name: str
    what: str
    change: Callable[[Path], object]
    outcome: str = REFUSED
    said: str = ""


class Pickle:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.canary}",))


def canary(folder: Path) -> Path:
    """The file that any code of the corpus writes when it is run."""
    return folder.parent / "pwned"


def set_keys(file: str, **changes: Any) -> Callable[[Path], object]:
    """Changes keys of a JSON file; "a__b" is b in a."""

    def change(folder: Path) -> None:
        values = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
        for key, value in changes.items():
            *path, last = key.split("__") if not key.startswith("_") else [key]
            table = values
            for part in path:
                table = table.setdefault(part, {})
            table[last] = value
        (folder / file).write_text(json.dumps(values))

    return change


def text(file: str, data: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(data.encode() if isinstance(data, str) else data)  # fmt: skip


def python(*files: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        for file in files:
            (folder / file).write_text(EVIL.format(canary=str(canary(folder))))

    return change


def pickled(file: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(pickle.dumps(Pickle(canary(folder))))

    return change


def both(*changes: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [change(folder) for change in changes]


def link(file: str, target: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(target)

    return change


def tensors(file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:  # fmt: skip
    def act(folder: Path) -> None:
        held = load_file(folder / file)
        change(held)
        save_file(held, folder / file)

    return act


def drop(count: int) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda held: [held.pop(name) for name in sorted(held)[:count]]


def rename(held: dict[str, torch.Tensor]) -> None:
    name = sorted(held)[0]
    held[f"{name}.old"] = held.pop(name)


def reshape(held: dict[str, torch.Tensor]) -> None:
    name = next(name for name in sorted(held) if held[name].ndim)
    held[name] = torch.cat([held[name], held[name]])


def add(held: dict[str, torch.Tensor]) -> None:
    held["surplus.weight"] = torch.zeros(2)


def shard(file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:  # fmt: skip
    """The weights in two files under an index, which names every tensor, after a change of what they hold."""

    def act(folder: Path) -> None:
        path = folder / file
        held = load_file(path)
        path.unlink()
        names = sorted(held)
        where = {name: f"{path.stem}-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(names)}  # fmt: skip
        change(held)
        for part in sorted(set(where.values())):
            save_file({n: t for n, t in held.items() if where.get(n, part) == part}, path.parent / part)  # fmt: skip
        index = {"metadata": {"total_size": 1}, "weight_map": where}
        (path.parent / f"{path.name}.index.json").write_text(json.dumps(index))

    return act


def nest(change: Callable[[Path], object], name: str = "prior") -> Callable[[Path], object]:
    """A whole pipeline as a component of itself, changed."""

    def act(folder: Path) -> None:
        moved = folder.parent / "inner"
        shutil.copytree(folder, moved)
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.move(moved, folder / name)
        change(folder / name)
        entry = {name: ["diffusers", "StableDiffusionPipeline"]}
        set_keys("model_index.json", **entry)(folder)

    return act


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


CONFIGS = ("model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json")  # fmt: skip
SCORER_CONFIGS = ("open_clip_config.json", "tokenizer_config.json", "config.json")
AUTO = {"AutoTokenizer": ["evil.Evil", None], "AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
UNET, TEXT, VAE = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"  # fmt: skip

CODE = {
    "auto_map": AUTO,
    "trust_remote_code": True,
    "custom_pipeline": "evil.py",
    "attn_implementation": "owner/kernel",
    "_attn_implementation": "owner/kernel@main:run",
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
}


def code_cases() -> list[Case]:
    """Every configuration of a model and of a scorer, with every key that asks for code."""
    cases = [
        Case(f"{key} in {file}", "model", set_keys(file, **{key: value}), said=key)
        for file in CONFIGS
        for key, value in CODE.items()
    ]
    cases += [
        Case(f"{key} in {file}", "scorer", set_keys(file, **{key: value}), said=key)
        for file in SCORER_CONFIGS
        for key, value in CODE.items()
    ]
    return cases


SIZES: dict[str, list[dict[str, Any]]] = {
    "unet/config.json": [
        {"layers_per_block": 10**7}, {"layers_per_block": 1000}, {"layers_per_block": [1000, 1000], "transformer_layers_per_block": 1000},
        {"block_out_channels": [BIG, BIG]}, {"block_out_channels": [2**23, 2**23]}, {"block_out_channels": [8] * 50_000},
        {"down_block_types": ["CrossAttnDownBlock2D"] * 900, "up_block_types": ["CrossAttnUpBlock2D"] * 900, "block_out_channels": [8] * 900},
        {"sample_size": 10**9}, {"cross_attention_dim": BIG}, {"attention_head_dim": 0}, {"norm_num_groups": -4}, {"in_channels": 2**24},
        {"in_channels": -1}, {"transformer_layers_per_block": deep(100)}, {"block_out_channels": deep(900)}, {"norm_eps": "x" * 300_000},
        {"time_embedding_dim": 2**24},
    ],
    "text_encoder/config.json": [
        {"num_hidden_layers": 10**7}, {"num_hidden_layers": 1000}, {"hidden_size": 4 * 10**9}, {"hidden_size": 2**22}, {"vocab_size": 10**10},
        {"vocab_size": 2**24}, {"intermediate_size": 10**9}, {"max_position_embeddings": 2**30}, {"num_attention_heads": 10**6},
        {"num_attention_heads": 0}, {"id2label": {str(i): "x" for i in range(150_000)}}, {"vocab_size": -1},
    ],
    "vae/config.json": [{"latent_channels": 10**9}, {"block_out_channels": [2**40, 2**40]}, {"layers_per_block": 10**6}, {"latents_mean": [0.1] * 200_000}],
    "scheduler/scheduler_config.json": [
        {"num_train_timesteps": 5 * 10**8}, {"num_train_timesteps": 1e9}, {"num_train_timesteps": 10**30}, {"trained_betas": [0.1] * 500_000},
        {"beta_schedule": "evil"}, {"steps_offset": BIG},
    ],
    "tokenizer/tokenizer_config.json": [{"model_max_length": 5 * 10**8}, {"extra_ids": 5 * 10**8}, {"added_tokens_decoder": {str(i): {"content": str(i)} for i in range(120_000)}}],
}  # fmt: skip
SCORER_SIZES: list[dict[str, Any]] = [
    {"vision_cfg__layers": 10**7}, {"vision_cfg__layers": [10**6] * 4}, {"vision_cfg__layers": [1000] * 4}, {"vision_cfg__width": 10**9},
    {"vision_cfg__image_size": 10**9}, {"text_cfg__layers": 10**7}, {"text_cfg__layers": 1000}, {"text_cfg__context_length": 10**9},
    {"text_cfg__context_length": 10**6}, {"text_cfg__vocab_size": 10**10}, {"text_cfg__width": 16_384}, {"text_cfg__heads": 0}, {"embed_dim": BIG},
    {"embed_dim": -1},
]  # fmt: skip


def size_cases() -> list[Case]:
    cases = [
        Case(f"size {number} of {file}", "model", set_keys(file, **changes))
        for file, each in SIZES.items()
        for number, changes in enumerate(each)
    ]
    for number, changes in enumerate(SCORER_SIZES):
        inner = {f"model_cfg__{key}": value for key, value in changes.items()}
        cases.append(Case(f"size {number} of a scorer", "scorer", set_keys("open_clip_config.json", **inner)))  # fmt: skip
    return cases


SCORER_KEYS: dict[str, Any] = {
    "text_cfg__hf_model_name": "owner/evil",
    "text_cfg__hf_tokenizer_name": ["owner/evil"],
    "text_cfg__tokenizer_mode": {"a": 1},
    "text_cfg__evil": "x",
    "text_cfg__act_kwargs": {"inplace": True},
    "text_cfg__norm_kwargs": {"device": "cuda"},
    "vision_cfg__timm_model_name": "hf-hub:owner/evil",
    "vision_cfg__timm_model_name ": "x",
    "vision_cfg__hf_model_name": "owner/evil",
    "multimodal_cfg": {"evil": 1},
    "cast_dtype": "float16",
    "output_dict": True,
    "text_cfg": [],
    "vision_cfg": "evil.py",
}
TOKENIZER_KWARGS: list[dict[str, Any]] = [
    {"trust_remote_code": True}, {"bpe_path": "/etc/passwd"}, {"reduction_mask": "syntax"}, {"cache_dir": "/tmp"}, {"subfolder": "../x"},
    {"clean": "evil"}, {"tokenizer_type": "bert"}, {"config": "evil"}, {"gguf_file": "x.gguf"}, {"revision": "x"}, {"tokenizer_file": "/etc/passwd"},
]  # fmt: skip
TOKENIZER_KEYS: list[dict[str, Any]] = [
    {"vocab_file": "/etc/passwd"}, {"merges_file": "../../x"}, {"tokenizer_file": "/etc/passwd"}, {"spm_path": "/etc/passwd"},
    {"sp_model_kwargs": {"model_file": "/etc/passwd"}}, {"init_inputs": ["/etc/passwd"]}, {"tokenizer_class": "../evil"},
    {"tokenizer_class": "evil.Evil"}, {"tokenizer_class": ["evil", "Evil"]}, {"processor_class": "a/b"}, {"evil": {"a": 1}},
]  # fmt: skip
TOKENIZER_JSON: list[Any] = [
    {"padding": {"strategy": {"Fixed": 10**9}, "pad_id": 0, "pad_type_id": 0, "pad_token": "x", "direction": "Right"}},
    {"truncation": {"max_length": BIG, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}},
]  # fmt: skip


def key_cases() -> list[Case]:
    """Keys that lead out of the folder or are of another shape."""
    cases = []
    for key, value in SCORER_KEYS.items():
        change = set_keys("open_clip_config.json", **{f"model_cfg__{key}": value})
        cases.append(Case(f"scorer {key} = {value}", "scorer", change))
    for options in TOKENIZER_KWARGS:
        change = set_keys("open_clip_config.json", model_cfg__text_cfg__tokenizer_kwargs=options)
        if "trust_remote_code" in options:  # the way that ran code at `run --plan`
            change = both(change, set_keys("tokenizer_config.json", auto_map=AUTO))
        cases.append(Case(f"tokenizer_kwargs {options}", "scorer", change))
    for what, prefix in (("model", "tokenizer/"), ("scorer", "")):
        for number, keys in enumerate(TOKENIZER_KEYS):
            change = set_keys(f"{prefix}tokenizer_config.json", **keys)
            cases.append(Case(f"tokenizer key {number} {list(keys)} of a {what}", what, change))
        for number, keys in enumerate(TOKENIZER_JSON):
            change = set_keys(f"{prefix}tokenizer.json", **keys)
            cases.append(Case(f"tokenizer.json {number} of a {what}", what, change))
    cases.append(Case("no model_cfg", "scorer", text("open_clip_config.json", "{}")))
    cases.append(Case("model_cfg is a list", "scorer", set_keys("open_clip_config.json", model_cfg=[])))  # fmt: skip
    weights = set_keys("text_encoder/config.json", transformers_weights="../../evil.bin")
    cases.append(Case("transformers_weights", "model", weights, said="transformers_weights"))
    return cases


CLASSES = ("AutoTokenizer", "AutoModel", "OnnxRuntimeModel", "utils", "__doc__", "logging", "FlaxUNet2DConditionModel", "Evil", "evil.Evil", "ConfigMixin")  # fmt: skip
GARBAGE = {"empty": "", "list": "[]", "null": "null", "deep": "[" * 90_000, "digits": "9" * 5_000, "UTF-16": '{"a": 1}'.encode("utf-16"), "cut": '{"a": ', "zero": b"\0" * 100}  # fmt: skip


def shape_cases() -> list[Case]:
    """Class names that are no component's, and files that are no JSON."""
    cases = [
        Case(f"{library}'s {name} as text encoder", "model", set_keys("model_index.json", text_encoder=[library, name]))
        for library in ("diffusers", "transformers")
        for name in CLASSES
    ]  # fmt: skip
    for file in ("unet/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"):
        cases += [Case(f"{file}: {name}", "model", text(file, data)) for name, data in GARBAGE.items()]  # fmt: skip
    cases += [Case(f"scorer tokenizer.json: {name}", "scorer", text("tokenizer.json", data)) for name, data in GARBAGE.items()]  # fmt: skip
    for file in ("unet/config.json", "scheduler/scheduler_config.json"):
        cases.append(Case(f"a class of a module in {file}", "model", set_keys(file, _class_name=["evil", "Evil"])))  # fmt: skip
    return cases


WEIGHTS = {"one missing": drop(1), "all missing": drop(10**6), "one more": add, "another name": rename, "another shape": reshape}  # fmt: skip


def weight_cases() -> list[Case]:
    """Gaps that libraries fill with random numbers."""
    cases = []
    for part, file in (("unet", UNET), ("text_encoder", TEXT), ("vae", VAE)):
        for name, change in WEIGHTS.items():
            cases.append(Case(f"{part}: {name}", "model", tensors(file, change), said=f"'{part}'"))
            cases.append(Case(f"{part} in parts: {name}", "model", shard(file, change), said=f"'{part}'"))  # fmt: skip
        whole = shard(file, lambda held: None)
        cases.append(Case(f"{part} in parts", "model", whole, LOADS))
    for name, change in WEIGHTS.items():
        broken = tensors("open_clip_model.safetensors", change)
        cases.append(Case(f"scorer: {name}", "scorer", broken, said="weights that do not fit"))

    def only_variant(folder: Path) -> None:
        (folder / UNET).rename((folder / UNET).with_suffix(".fp16.safetensors"))

    def variant_beside(folder: Path) -> None:
        file = (folder / UNET).with_suffix(".fp16.safetensors")
        shutil.copy(folder / UNET, file)
        tensors(str(file.relative_to(folder)), drop(3))(folder)

    cases.append(Case("only a variant", "model", only_variant, said="fp16"))
    cases.append(Case("a broken variant beside", "model", variant_beside, LOADS))
    return cases


README = "---\nprior:\n- owner/evil\ndecoder:\n- owner/evil\nbase_model: owner/evil\n---\n"


def beside_cases() -> list[Case]:
    """Files that some library would read or run, beside those that are loaded."""
    everywhere = ("evil.py", "pipeline.py", "diffusers.py", "transformers.py")
    adapter = {"base_model_name_or_path": "owner/evil", "peft_type": "LORA"}
    return [
        Case("Python beside the index", "model", python(*everywhere), LOADS),
        Case("Python in a component", "model", python(*(f"unet/{name}" for name in everywhere)), LOADS),
        Case("Python in a tokenizer", "model", python(*(f"tokenizer/{name}" for name in everywhere)), LOADS),
        Case("Python in a scorer", "scorer", python(*everywhere), LOADS),
        Case("a README that names a prior", "model", text("README.md", README), LOADS),
        Case("an adapter", "model", set_keys("text_encoder/adapter_config.json", **adapter), LOADS),
        Case("a distributed checkpoint", "model", both(pickled("text_encoder/.metadata"), pickled("text_encoder/__0_0.distcp")), LOADS),
        Case("a pickle beside safetensors", "model", both(pickled("unet/diffusion_pytorch_model.bin"), pickled("text_encoder/pytorch_model.bin")), LOADS),
        Case("a pickle in a scorer", "scorer", pickled("open_clip_pytorch_model.bin"), LOADS),
        Case("a pickle named as safetensors", "model", pickled(TEXT)),
        Case("a scorer's pickle named as safetensors", "scorer", pickled("open_clip_model.safetensors")),
        Case("a link out of a scorer", "scorer", link("tokenizer.json", "/etc/passwd")),
        Case("a link to a device", "scorer", link("vocab.json", "/dev/zero")),
        Case("custom_generate", "model", lambda folder: (folder / "text_encoder/custom_generate").mkdir() or python("text_encoder/custom_generate/generate.py")(folder), LOADS),
        Case("a nested pipeline", "model", nest(lambda folder: None), LOADS),
        Case("a pipeline as UNet", "model", nest(lambda folder: None, "unet"), said="whole pipeline"),
        Case("a nested pipeline with a pickle", "model", nest(both(lambda folder: (folder / UNET).unlink(), pickled("unet/diffusion_pytorch_model.bin"))), said="pickle"),
        Case("a nested pipeline with auto_map", "model", nest(set_keys("tokenizer/tokenizer_config.json", auto_map=AUTO)), said="auto_map"),
        Case("a nested pipeline with a link", "model", nest(link("vae/config.json", "/etc/passwd")), said="link out"),
        Case("a nested pipeline of another library", "model", nest(set_keys("model_index.json", unet=["evil", "Evil"])), said="'evil'"),
        Case("a nested pipeline of another class", "model", nest(set_keys("model_index.json", _class_name="Evil")), said="Evil"),
    ]  # fmt: skip


def corpus() -> list[Case]:
    """Every case, each under a name of its own."""
    groups = (code_cases, size_cases, key_cases, shape_cases, weight_cases, beside_cases)
    return [case for group in groups for case in group()]
