"""Adapters (LoRA) added to a model's weights when it is loaded: W + weight * scale * up @ down.

diffusers' own loader needs peft, wraps the layers that the tools here look into, and only warns of keys that match nothing.
Adding is what its `fuse_lora` does. Naming conventions of other trainers are translated by diffusers itself.

Source: Hu et al. 2021 (arXiv 2106.09685), section 4.1.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import ModelError, StudyError
from pipeline.models.families import family_named
from pipeline.models.files import read_object, read_shapes, refuse_links_out
from pipeline.models.folders import Component
from pipeline.models.guard import no_remote_code, one_line, quiet
from pipeline.models.weights import without_memory
from pipeline.study.adapters import adapter_files
from pipeline.study.settings import show
from pipeline.study.spec import AdapterSpec, ModelSpec

METADATA = "lora_adapter_metadata"  # where diffusers keeps what peft has in a file
NATIVE = "base_model.model."  # how the names begin that peft itself writes
OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "lora_mid": "Tucker decomposition",
    "lora_B.bias": "LoRA with a bias",
    "lora_up.bias": "LoRA with a bias",
}
"""Parts of names that tell adapters which are no plain LoRA."""
PLAIN = re.compile(r"[\w.]+")
SHOWN = 3
ADVICE = "Use the adapter with the model that it was trained on."

Modules = Callable[[str], nn.Module | None]


@dataclass(frozen=True)
class Change:
    """What an adapter adds to one layer.

    Attributes:
        component: the part of the pipeline, such as "unet".
        layer: its name there.
        down: [rank, in] or that of a convolution.
        up: [out, rank], likewise.
        scale: alpha / rank.
    """

    component: str
    layer: str
    down: Tensor
    up: Tensor
    scale: float

    def delta(self) -> Tensor:
        """What is added to the layer's weights at weight 1, in float32."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return self.scale * product.view(self.up.shape[0], *self.down.shape[1:])


@dataclass(frozen=True)
class Target:
    """The pipeline that adapters change.

    Attributes:
        title: the model, as messages begin.
        pipeline: its class.
        names: its components.
        module: gives a component's module, on the meta device where only names and shapes are wanted.
    """

    title: str
    pipeline: type
    names: frozenset[str]
    module: Modules

    @property
    def denoiser(self) -> str:
        """The component that names without one belong to."""
        return family_named(self.pipeline.__name__, dict.fromkeys(self.names, True)).denoiser


def check_adapters(spec: ModelSpec, components: list[Component], pipeline: type) -> None:
    """That a model's adapters fit it; nothing but the adapters is read.

    Args:
        spec: the model's entry.
        components: of its folder.
        pipeline: its class.

    Raises:
        ModelError: as `read_changes`.
    """

    @cache
    def module(name: str) -> nn.Module | None:
        component = next((each for each in components if each.name == name and each.stem), None)
        return without_memory(component) if component else None

    names = frozenset(each.name for each in components)
    target = Target(f"model {spec.name}", pipeline, names, module)
    for adapter in spec.adapters or ():
        read_changes(target, adapter)


def add_adapters(pipeline: Any, spec: ModelSpec) -> None:
    """Adds a model's adapters to the weights of its loaded pipeline.

    Raises:
        ModelError: as `read_changes`.
    """
    if not spec.adapters:
        return
    modules = {name: m for name, m in pipeline.components.items() if isinstance(m, nn.Module)}
    names = frozenset(pipeline.components)
    target = Target(f"model {spec.name}", type(pipeline), names, modules.get)
    add_changes(target, [(each.weight, read_changes(target, each)) for each in spec.adapters])


def read_changes(target: Target, adapter: AdapterSpec) -> list[Change]:
    """What an adapter adds to a pipeline, every name and shape checked.

    Raises:
        ModelError: the file is damaged, no plain LoRA, or has names or shapes that the pipeline does not.
    """
    title = f"{target.title}: adapter {adapter.source}"
    if family_named(target.pipeline.__name__, dict.fromkeys(target.names, True)).stage:
        raise ModelError(f"{title}: {target.pipeline.__name__} combines several pipelines, and adapters of it are not supported. Leave out adapters.")  # fmt: skip
    try:
        weights, *config = adapter_files(Path(adapter.source))
    except StudyError as error:
        raise ModelError(f"{target.title}: adapter {error}") from None
    if Path(adapter.source).is_dir():
        refuse_links_out(Path(adapter.source), title)
    names = read_shapes(weights, title)
    _refuse_other_kinds(names, title)
    scales = _read_config(config[0], title) if config else _metadata(weights, title)
    with one_line(f"{title} cannot be read", "Save it again with save_lora_weights of diffusers."):
        state = load_file(weights)
        tensors, alphas = _translate(state, target)
    return _paired(tensors, alphas, scales, target, title)


def _refuse_other_kinds(names: Mapping[str, object], title: str) -> None:
    for name in names:
        kind = next((kind for part, kind in OTHER_KINDS.items() if part in name), None)
        if kind is not None:
            raise ModelError(f"{title}: {show(name)} is {kind}, which is not supported; plain LoRA is.")  # fmt: skip


def _metadata(file: Path, title: str) -> Mapping[str, Any]:
    """What diffusers wrote into a file's header of how its adapter is scaled; {} where nothing."""
    with one_line(f"{title}: its metadata cannot be read", "Save it again."):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return dict(json.loads(header.get("__metadata__", {}).get(METADATA, "{}")))


def _read_config(file: Path, title: str) -> dict[str, Any]:
    config = read_object(file, title)
    allowed: dict[str, tuple[object, ...]] = {"peft_type": ("LORA",), "bias": ("none",)}
    allowed["init_lora_weights"] = (True, False, None, "gaussian", "orthogonal")  # others change W
    for key in ("use_dora", "fan_in_fan_out", "modules_to_save", "megatron_config", "lora_bias"):
        allowed[key] = (None, False, [])
    for key, values in allowed.items():
        if key in config and config[key] not in values:
            raise ModelError(f"{title}: {file.name} has {key} = {show(config[key])}, which is not supported. Allowed: {show(values[0])}.")  # fmt: skip
    return config


def _translate(state: dict[str, Tensor], target: Target) -> tuple[dict[str, Tensor], dict[str, float]]:  # fmt: skip
    """A file's tensors under the names of components and layers, and the alphas that it has."""
    if all(name.startswith(NATIVE) for name in state):
        state = {f"{target.denoiser}.{name.removeprefix(NATIVE)}": t for name, t in state.items()}
    alphas: Mapping[str, Any] = {}
    reader = getattr(target.pipeline, "lora_state_dict", None)
    if reader is not None:
        options: dict[str, Any] = {}
        if "return_alphas" in inspect.signature(reader).parameters:
            options["return_alphas"] = True
        if target.denoiser == "unet" and (unet := target.module("unet")) is not None:
            options["unet_config"] = unet.config
        with no_remote_code(), quiet():
            answer = reader(dict(state), **options)
        state, alphas = answer if isinstance(answer, tuple) else (answer, {})
    named = {_component(name, target): value for name, value in {**state, **(alphas or {})}.items()}
    matrices = {name: value for name, value in named.items() if not name.endswith(".alpha")}
    return matrices, {
        name.removesuffix(".alpha"): float(value)
        for name, value in named.items()
        if name.endswith(".alpha")
    }


def _component(name: str, target: Target) -> str:
    """A name as COMPONENT.LAYER.lora_A.weight, whichever of diffusers' spellings it has."""
    alpha = ".alpha" if name.endswith(".alpha") else ""
    first, _, rest = name.removesuffix(".alpha").partition(".")
    if first not in target.names:
        first, rest = target.denoiser, name.removesuffix(".alpha")
    if first.startswith("text_encoder"):
        old = "_lora." in rest or rest.endswith("_lora")
        spelling = StateDictType.DIFFUSERS_OLD if old else StateDictType.DIFFUSERS
        (rest,) = convert_state_dict_to_peft({rest: 0}, spelling)
    (rest,) = convert_unet_state_dict_to_peft({rest: 0})
    rest = re.sub(r"\.lora_([AB])\.\w+\.weight$", r".lora_\1.weight", rest)
    if alpha:  # of sd-scripts, whose alpha diffusers names after one of the matrices
        rest = rest.removesuffix(".lora_A.weight")
    return f"{first}.{rest}{alpha}"


def _paired(
    tensors: Mapping[str, Tensor],
    alphas: Mapping[str, float],
    scales: Mapping[str, Any],
    target: Target,
    title: str,
) -> list[Change]:
    """The pairs of matrices, with the layer of the pipeline that each belongs to."""
    suffixes = (".lora_A.weight", ".lora_B.weight")
    unknown = [name for name in tensors if not name.endswith(suffixes)]
    layers = sorted({name[: -len(suffixes[0])] for name in tensors if name not in unknown})
    unknown += [layer + s for layer in layers for s in suffixes if layer + s not in tensors]
    if unknown or not layers:
        raise ModelError(f"{title}: {_few(unknown) or 'it'} is no pair of LoRA matrices (lora_A and lora_B). {ADVICE}")  # fmt: skip
    changes, missing = [], []
    for name in layers:
        down, up = (tensors[name + suffix] for suffix in suffixes)
        component, layer = name.split(".", 1)
        actual = _layer(target, component, layer)
        if actual is None:
            missing.append(name)
            continue
        if min(down.ndim, up.ndim) < 2 or not len(down):
            raise ModelError(f"{title}: {name} has matrices of {tuple(down.shape)} and {tuple(up.shape)}, which are none. {ADVICE}")  # fmt: skip
        scale = _scale(component, layer, len(down), alphas.get(name), scales, title)
        changes.append(Change(component, actual, down, up, scale))
    if missing:
        raise ModelError(f"{title}: {len(missing)} of {len(layers)} layers are not in this {target.pipeline.__name__}: {_few(missing)}. {ADVICE}")  # fmt: skip
    for change in changes:
        _check_change(change, target, title)
    return changes


def _few(names: list[str]) -> str:
    return ", ".join(name[:120] for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _layer(target: Target, component: str, layer: str) -> str | None:
    """The name of a layer with weights; text encoders had "text_model." before their names in older versions."""
    module = target.module(component)
    if module is None:
        return None
    for name in (layer, layer.removeprefix("text_model."), f"text_model.{layer}"):
        try:
            candidate = module.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(getattr(candidate, "weight", None), Tensor):
            return name
    return None


def _scale(
    component: str,
    layer: str,
    rank: int,
    alpha: float | None,
    scales: Mapping[str, Any],
    title: str,
) -> float:
    """alpha / rank: of the file's tensors, else of its metadata, else 1."""
    if alpha is None:
        prefix = f"{component}." if any(name.startswith(f"{component}.") for name in scales) else ""
        alpha = _number(scales.get(f"{prefix}lora_alpha", rank), title)
        patterns = scales.get(f"{prefix}alpha_pattern") or {}
        if not isinstance(patterns, dict):
            raise ModelError(f"{title}: alpha_pattern {show(patterns)} is no object. Save the adapter again.")  # fmt: skip
        for pattern, value in patterns.items():
            plain = pattern.lstrip("^").replace("\\.", ".")
            if not PLAIN.fullmatch(plain):
                raise ModelError(f"{title}: alpha_pattern {show(pattern)} is a pattern; only names of layers are supported.")  # fmt: skip
            if layer == plain or layer.endswith(f".{plain}"):
                alpha = _number(value, title)
                break
        if scales.get(f"{prefix}use_rslora"):
            return alpha / math.sqrt(rank)
    return _number(alpha, title) / rank


def _number(value: object, title: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelError(f"{title}: alpha = {show(value)} is not a number. Save the adapter again.")
    return float(value)


def _check_change(change: Change, target: Target, title: str) -> None:
    """That the matrices have the layer's shape, and hold numbers."""
    module = target.module(change.component)
    assert module is not None
    weight: Any = module.get_submodule(change.layer).weight
    down, up = tuple(change.down.shape), tuple(change.up.shape)
    name = f"{change.component}.{change.layer}"
    spatial = all(side == 1 for side in up[2:])
    fits = len(up) > 1 and spatial and up[1] == down[0] > 0
    product = (up[0], *down[1:])
    if fits and len(product) != weight.ndim:  # a linear layer once was a convolution of one pixel
        product = (*product, 1, 1) if weight.ndim == 4 else product[:2] + tuple(s for s in product[2:] if s != 1)  # fmt: skip
    if not fits or product != tuple(weight.shape):
        raise ModelError(f"{title}: {name} has matrices of {down} and {up}, which do not make weights of {tuple(weight.shape)}. {ADVICE}")  # fmt: skip
    if not (change.down.isfinite().all() and change.up.isfinite().all()):
        raise ModelError(f"{title}: {name} holds values that are no finite numbers. Take an earlier checkpoint.")  # fmt: skip


@torch.no_grad()
def add_changes(target: Target, changes: list[tuple[float, list[Change]]]) -> None:
    """Adds adapters to a pipeline's weights, in float32, rounded once; at weight 0 no bit changes.

    Args:
        target: the loaded pipeline.
        changes: each adapter's weight and what it adds.
    """
    sums: dict[tuple[str, str], Tensor] = {}
    for weight, each in changes:
        for change in each if weight else []:
            key = (change.component, change.layer)
            delta = weight * change.delta()
            sums[key] = sums[key] + delta.reshape(sums[key].shape) if key in sums else delta
    for (component, layer), delta in sums.items():
        module = target.module(component)
        assert module is not None
        parameter: Any = module.get_submodule(layer).weight
        added = parameter.float() + delta.reshape(parameter.shape).to(parameter.device)
        parameter.copy_(added.to(parameter.dtype))
