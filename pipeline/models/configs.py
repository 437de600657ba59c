"""What a configuration in a model's folder may say. Every JSON file goes through here before a library reads it.

Three rules, none of which lists attacks:
1. A class's own keys are allowed (`known_keys` asks the class); of keys that it does not know, only plain values.
2. Keys that ask a library for code, files or a network are refused by name at any depth, unless they are empty (REFUSED).
3. Every number, list, text and depth has an upper bound (LIMITS), so that no table or loop is made of a number alone.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

import diffusers
from diffusers import ConfigMixin, DiffusionPipeline, SchedulerMixin
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from pipeline.errors import ModelError
from pipeline.study.settings import show

_CODE = "names Python code, and code of a model's folder is never run"
_ELSEWHERE = "reads what lies outside the model's folder"
_KERNEL = "names an attention kernel that is fetched and run; only 'eager' and 'sdpa' are allowed"
REFUSED: Mapping[str, str] = {
    "auto_map": _CODE,
    "custom_pipeline": _CODE,
    "custom_pipelines": _CODE,
    "custom_generate": _CODE,
    "custom_revision": _CODE,
    "code_revision": _CODE,
    "trust_remote_code": _CODE,
    "_auto_class": _CODE,
    "kernel_config": _CODE,
    "use_kernels": _CODE,
    "allow_all_kernels": _CODE,
    "fusion_config": "changes the model's code",
    "attn_implementation": _KERNEL,
    "_attn_implementation": _KERNEL,
    "_attn_implementation_internal": _KERNEL,
    "experts_implementation": _KERNEL,
    "_experts_implementation": _KERNEL,
    "attn_backend": _KERNEL,
    "quantization_config": "asks for quantised weights, which are not supported",
    "transformers_weights": _ELSEWHERE,
    "gguf_file": _ELSEWHERE,
    "dduf_file": _ELSEWHERE,
    "adapter_kwargs": _ELSEWHERE,
    "peft_config": _ELSEWHERE,
    "base_model_name_or_path": _ELSEWHERE,
    "cache_dir": _ELSEWHERE,
    "proxies": _ELSEWHERE,
    "subfolder": _ELSEWHERE,
    "hf_model_name": _ELSEWHERE,
    "backbone_kwargs": _ELSEWHERE,
    "use_pretrained_backbone": _ELSEWHERE,
    "distributed_config": "spreads the model over machines",
    "device_map": "spreads the model over devices",
    "tp_plan": "spreads the model over devices",
}
"""Keys and why each is refused, whatever it holds, unless that is nothing (null, false, "", [], {})."""

BUILT_IN_ATTENTION = ("eager", "sdpa")
FREE_TEXT = frozenset({"_name_or_path", "name_or_path", "special_tokens_map_file", "hf_tokenizer_name", "chat_template", "id2label", "label2id", "task_specific_params"})  # fmt: skip
"""Texts that no library takes as a path: where a model came from, and what people read."""
IDENTIFIERS = frozenset({"_class_name", "tokenizer_class", "processor_class", "image_processor_type", "feature_extractor_type", "model_type"})  # fmt: skip
IDENTIFIER = re.compile(r"\w[\w-]{0,99}", re.ASCII)

MAX_DEPTH = 8
MAX_ITEMS = 100_000  # of one list or object
MAX_VALUES = 300_000  # of a whole file
MAX_TEXT = 200_000  # characters; chat templates of 10,000 exist
MAX_INTEGER = 2**24
NOT_SET = 10**15  # transformers writes 10**30 where a tokenizer has no limit
UNLIMITED = re.compile(r"rope_theta|theta")
LIMITS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"extra_ids"), 1_000),
    (re.compile(r"\w*timesteps|\w*_steps"), 100_000),
    (re.compile(r"\w*(layers|layers_per_block|blocks|heads|depths?|groups|experts)"), 1_024),
    (re.compile(r"sample_size|image_size|size|crop_size|height|width|\w+_edge"), 65_536),
    (re.compile(r"\w*context_length|\w*max_position_embeddings|pos_embed_max_size|\w*max_length"), 2**20),
)  # fmt: skip
"""The largest number that a key may hold; MAX_INTEGER for whole numbers of other keys. The largest known: 40 to 80 layers,
1,000 timesteps, 65,536 samples (audio), 131,072 positions, a vocabulary of 901,629."""

LEGACY = frozenset(
    [
        "architectures",
        "torch_dtype",
        "dtype",
        "transformers_version",
        "model_type",
        "task_specific_params",
        "pruned_heads",
        "id2label",
        "label2id",
        "text_config_dict",
        "vision_config_dict",
        "rope_scaling",
        "rope_parameters",
        "_name_or_path",
        "_attn_implementation_autoset",
    ]
)
"""Keys that transformers has written and reads in every class."""
TOKENIZER_KEYS = frozenset(
    [
        "added_tokens_decoder",
        "additional_special_tokens",
        "extra_special_tokens",
        "bos_token",
        "eos_token",
        "unk_token",
        "pad_token",
        "sep_token",
        "cls_token",
        "mask_token",
        "model_input_names",
        "chat_template",
        "sp_model_kwargs",
        "init_inputs",
        "never_split",
        "model_specific_special_tokens",
    ]
)
"""Keys of tokenizers that hold lists or objects; all others are plain."""
PICTURE_KEYS = frozenset({"size", "crop_size", "pad_size", "patch_size", "image_mean", "image_std"})
"""Keys of image processors that hold lists or objects; all others are plain."""
PICTURE_PARTS = ("image_processor", "video_processor")
"""What a processor of texts and images holds beside its tokenizer."""
SENTENCEPIECE_KEYS = frozenset({"enable_sampling", "nbest_size", "alpha", "add_bos", "add_eos"})


def check_config(
    values: Mapping[str, Any],
    title: str,
    known: Collection[str],
    parts: Mapping[str, Collection[str]] | None = None,
    nested: Collection[str] | None = None,
    strict: bool = False,
    texts: bool = False,
) -> None:
    """Holds a configuration against the three rules.

    Args:
        values: the file's object.
        title: the model and the file, as messages begin.
        known: the keys that the class knows.
        parts: keys whose object has known keys of its own.
        nested: the known keys that may hold lists and objects; None = all.
        strict: keys that are not known are refused, plain or not.
        texts: texts may hold anything (tokens), not only names.

    Raises:
        ModelError: names the first key that is not allowed, its value and why.
    """
    check_values(values, title, texts)
    for key, value in values.items():
        if parts and key in parts and isinstance(value, dict):
            check_config(value, f"{title}: {key}", parts[key], None, nested, strict, texts)
        elif key not in known and (strict or not _is_plain(value)):
            raise _refusal(title, key, value, "is not a key that its class knows")
        elif nested is not None and key not in nested and isinstance(value, dict | list):
            raise _refusal(title, key, value, "holds more than one value")


def check_values(values: Mapping[str, Any], title: str, texts: bool = False) -> None:
    """Rules 2 and 3: no key that asks for code or other files, and nothing beyond the limits.

    Raises:
        ModelError: names the key.
    """
    for number, (key, value, depth, free) in enumerate(_walk(values)):
        if number > MAX_VALUES or depth > MAX_DEPTH:
            what = (
                f"more than {MAX_VALUES:,} values" if number > MAX_VALUES else "nested too deeply"
            )
            raise ModelError(f"{title} is {what}. No model's configuration is. {ADVICE}")
        _check_name(title, key, value)
        if isinstance(value, dict | list) and len(value) > MAX_ITEMS:
            raise _refusal(title, key, value, f"has over {MAX_ITEMS:,} items")
        if isinstance(value, str):
            _check_text(title, key, value, free or texts)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(title, key, value)


ADVICE = "Remove it, or download or save the model again."


def _refusal(title: str, key: str, value: object, reason: str) -> ModelError:
    return ModelError(f"{title}: {show(key)} = {show(value)} {reason}. {ADVICE}")


def _walk(values: Mapping[str, Any]) -> Iterator[tuple[str, Any, int, bool]]:
    """(key, value, depth, whether its text is free), parents first; items of a list have the list's key."""
    waiting: list[tuple[str, Any, int, bool]] = [("", values, 0, False)]
    while waiting:
        key, value, depth, free = waiting.pop()
        yield key, value, depth, free
        if depth > MAX_DEPTH or (isinstance(value, dict | list) and len(value) > MAX_ITEMS):
            continue  # whoever asked has been told
        if isinstance(value, dict):
            waiting += [(k, v, depth + 1, free or k in FREE_TEXT) for k, v in value.items()]
        elif isinstance(value, list):
            waiting += [(key, item, depth + 1, free) for item in value]


def _check_name(title: str, key: str, value: object) -> None:
    if key in REFUSED and value:
        if REFUSED[key] is _KERNEL and value in BUILT_IN_ATTENTION:
            return
        raise _refusal(title, key, value, REFUSED[key])
    named = isinstance(value, str) and IDENTIFIER.fullmatch(value)
    if key in IDENTIFIERS and value is not None and not named:
        raise _refusal(title, key, value, "is not the name of a class")


def _check_text(title: str, key: str, value: str, free: bool) -> None:
    if len(value) > MAX_TEXT:
        raise _refusal(title, key, value, f"is a text of over {MAX_TEXT:,} characters")
    if not free and re.search(r"[/\\\x00-\x1f\x7f]|\.py$", value):
        raise _refusal(title, key, value, "may be the path of a file or a name on the Hub")


def _check_number(title: str, key: str, value: float) -> None:
    if key.endswith("max_length") and value >= NOT_SET:
        return
    for pattern, most in LIMITS:
        if pattern.fullmatch(key):
            if not 0 <= value <= most:
                raise _refusal(title, key, value, f"is not from 0 to {most:,}")
            return
    if isinstance(value, int) and abs(value) > MAX_INTEGER and not UNLIMITED.fullmatch(key):
        raise _refusal(title, key, value, f"is over the limit of {MAX_INTEGER:,}")


def _is_plain(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return not any(isinstance(item, dict | list) for item in items)


@cache
def known_keys(kind: type) -> frozenset[str]:
    """The keys of a class's configuration, as the class itself says: its arguments, or its configuration's fields."""
    if issubclass(kind, PreTrainedModel):
        return LEGACY | _fields(getattr(kind, "config_class", None))
    if issubclass(kind, SchedulerMixin):
        return (
            _all_schedulers()
        )  # a configuration may hold another scheduler's keys, for those that take over
    if issubclass(kind, PreTrainedTokenizerBase):
        return TOKENIZER_KEYS | _arguments(kind)
    if issubclass(kind, ConfigMixin | DiffusionPipeline):
        return _arguments(kind)
    return PICTURE_KEYS | frozenset(PICTURE_PARTS if issubclass(kind, ProcessorMixin) else ())


@cache
def parts_of(kind: type) -> Mapping[str, Collection[str]]:
    """The parts of a composed configuration (a text and a vision tower, an image processor) and the keys of each."""
    if issubclass(kind, ProcessorMixin):
        return dict.fromkeys(PICTURE_PARTS, PICTURE_KEYS)
    specs = getattr(getattr(kind, "config_class", None), "sub_configs_defaults", {})
    return {key: LEGACY | _fields(spec.config_class) for key, spec in specs.items()}


def _fields(config: Any) -> frozenset[str]:
    if not dataclasses.is_dataclass(config):
        return frozenset()
    named: Mapping[str, str] = getattr(config, "attribute_map", {})
    parts = getattr(config, "sub_configs_defaults", {})
    return frozenset({f.name for f in dataclasses.fields(config)} | {*named, *parts})


def _arguments(kind: Any) -> frozenset[str]:
    return frozenset(inspect.signature(kind.__init__).parameters) - {"self", "args", "kwargs"}


@cache
def _all_schedulers() -> frozenset[str]:
    kinds = [getattr(diffusers, name) for name in dir(diffusers) if name.endswith("Scheduler")]
    return frozenset().union(*(_arguments(k) for k in kinds if inspect.isclass(k)))


def check_component_config(values: Mapping[str, Any], title: str, kind: type) -> None:
    """The configuration of a component, by its class.

    Raises:
        ModelError: names the key.
    """
    if issubclass(kind, PreTrainedTokenizerBase):
        return check_tokenizer_config(values, title, kind)
    if issubclass(kind, ProcessorMixin):
        values = _sides(values) | {
            key: _sides(values[key]) for key in PICTURE_PARTS if isinstance(values.get(key), dict)
        }
    return check_config(values, title, known_keys(kind), parts_of(kind))


def _sides(values: Mapping[str, Any]) -> dict[str, Any]:
    """An image processor's settings with the sides of its sizes; those of language models give them as numbers of pixels."""
    size = values.get("size")
    if not isinstance(size, dict):
        return dict(values)
    sides = {
        key: math.isqrt(value)
        if key.endswith("_edge") and type(value) is int and value > 0
        else value
        for key, value in size.items()
    }
    return {**values, "size": sides}


def check_tokenizer_config(
    values: Mapping[str, Any], title: str, kind: type = PreTrainedTokenizerBase
) -> None:
    """The tokenizer_config.json of a component or a scorer.

    Raises:
        ModelError: names the key.
    """
    check_config(values, title, known_keys(kind), texts=True)
    for key, value in values.items():
        elsewhere = key.endswith(("_file", "_path", "_dir")) and key not in FREE_TEXT
        if elsewhere and value is not None:
            raise _refusal(title, key, value, _ELSEWHERE)
    for key in ("sp_model_kwargs", "init_inputs"):
        allowed = SENTENCEPIECE_KEYS if key == "sp_model_kwargs" else frozenset()
        if not set(values.get(key) or ()) <= allowed:
            raise _refusal(title, key, values[key], f"may only hold {sorted(allowed)}")


def check_tokenizer_json(values: Mapping[str, Any], title: str) -> None:
    """A tokenizer.json: the vocabulary is data, of the rest every number has a limit (padding to 10**9 tokens).

    Raises:
        ModelError: names the key.
    """
    for part in ("truncation", "padding"):
        check_values({part: values.get(part)}, title, texts=True)


def check_index_config(index: Mapping[str, Any], title: str, kind: type) -> None:
    """What a model_index.json says beside its components.

    Raises:
        ModelError: names the key.
    """
    settings = {key: value for key, value in index.items() if not isinstance(value, list)}
    check_config(settings, title, known_keys(kind))
