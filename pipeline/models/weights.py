"""That the weights of every component are those that its configuration asks for, before anything is loaded.

A model is built without memory (on the meta device) from its configuration; the names and shapes of its tensors are compared
with the headers of the safetensors files. Libraries only warn of gaps and fill them at random, so that a study would publish
numbers of a model that nobody trained.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.models.model_loading_utils import _fetch_remapped_cls_from_config
from diffusers.models.modeling_utils import LegacyModelMixin
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from transformers import PreTrainedConfig

from pipeline.errors import ModelError
from pipeline.models.files import Shape, read_shapes
from pipeline.models.folders import Component
from pipeline.models.guard import no_remote_code, one_line, quiet
from pipeline.models.single_files import shapes_in

SHOWN = 3
ADVICE = "Download or save the model again."
LEFT_OUT: Mapping[str, str] = {
    r"(^|\.)position_ids$": "0, 1, 2, ...: older versions stored it, newer ones make it",
    r"(^|\.)inv_freq$": "a table of frequencies that older versions stored and newer ones make",
}
"""Tensors that a file may hold although the model asks for none, and why. What transformers and diffusers know of each class
themselves (tied weights, heads that an encoder does not have) is taken from them."""
SPARE_PARAMETERS = (
    2_000  # beyond twice what the file holds: a file may be empty, and weights are tied
)
SPARE_MODULES = 20_000
SPARE_ELEMENTS = 2**20
MAX_TABLES = (
    2**30
)  # bytes of what a model makes besides its weights; 151 MB are the most known (Sana 4K)


@dataclass(frozen=True)
class Differences:
    """How the tensors in the files differ from those of the model, by name."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def without(self, prefix: str) -> Differences:
        """The differences in other tensors than those whose names begin so."""
        kinds = (self.missing, self.unexpected, self.misshapen)
        return Differences(
            *(tuple(n for n in names if not n.startswith(prefix)) for names in kinds)
        )

    def __str__(self) -> str:
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.misshapen),
        )
        return "; ".join(f"{len(names)} {what} ({_few(names)})" for what, names in kinds if names)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(n[:120] for n in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def check_weights(component: Component, unused: str | None = None) -> None:
    """Refuses a component whose weights are not exactly those that its configuration asks for.

    Args:
        component: the component.
        unused: how the names of tensors begin that are not used, so that they may be missing or there.

    Raises:
        ModelError: names the component, how many tensors are missing, unexpected or of another shape, and the first ones.
    """
    title = f"{component.title}: {component.name!r}"
    shapes, sharded = _stored(component, title)
    problem = f"{title} cannot be built from its configuration"
    with one_line(problem, ADVICE), no_remote_code(), quiet(), building(title, len(shapes)):
        differences = _differences(component, shapes, sharded)
    refuse_differences(differences.without(unused) if unused else differences, title)


def _stored(component: Component, title: str) -> tuple[dict[str, Shape], bool]:
    """(the names and shapes of the tensors that are stored, whether in several files), of the headers alone."""
    file = component.checkpoint
    if file is not None:
        stored = read_shapes(file, component.title)
        return shapes_in(component.kind, component.name, component.folder, stored, title), False
    files = component.files()
    shapes: dict[str, Shape] = {}
    for name, part in files.items():
        if name.endswith(".safetensors"):
            shapes |= read_shapes(part, component.title)
    return shapes, any(name.endswith(".index.json") for name in files)


def refuse_differences(differences: Differences, title: str) -> None:
    """Raises a ModelError that says what differs, where something does."""
    if differences:
        raise ModelError(
            f"{title} has weights that do not fit its configuration: {differences}. Its numbers would be those of random weights. "
            f"{ADVICE}"
        )


def without_memory(component: Component) -> nn.Module:
    """A component's model on the meta device: the names and shapes that its configuration asks for.

    Raises:
        ModelError: it cannot be built.
    """
    kind: Any = component.kind
    title = f"{component.title}: {component.name!r}"
    problem = f"{title} cannot be built from its configuration"
    with one_line(problem, ADVICE), no_remote_code(), quiet(), torch.device("meta"):
        if issubclass(kind, ModelMixin):
            return kind.from_config(kind.load_config(component.folder))
        return kind(kind.config_class.from_pretrained(component.folder))


def _differences(component: Component, shapes: dict[str, Shape], sharded: bool) -> Differences:
    if issubclass(component.kind, ModelMixin):
        return _of_diffusers(component.kind, component, shapes, sharded)
    return _of_transformers(component.kind, component, shapes, f"{component.title}: {component.name!r}")  # fmt: skip


def compare(
    expected: Mapping[str, Shape], stored: Mapping[str, Shape], ignored: tuple[str, ...] = ()
) -> Differences:
    """The differences by name; names that match an `ignored` pattern may be there although nothing asks for them."""
    patterns = [re.compile(pattern) for pattern in (*LEFT_OUT, *ignored)]
    extra = sorted(stored.keys() - expected.keys())
    return Differences(
        tuple(sorted(expected.keys() - stored.keys())),
        tuple(name for name in extra if not any(p.search(name) for p in patterns)),
        tuple(
            f"{name}: {stored[name]}, not {shape}"
            for name, shape in sorted(expected.items())
            if name in stored and stored[name] != shape
        ),
    )


def shapes_of(model: nn.Module) -> dict[str, Shape]:
    """The names and shapes of what a model stores."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _of_diffusers(
    kind: Any, component: Component, shapes: dict[str, Shape], sharded: bool
) -> Differences:
    config = kind.load_config(component.folder)
    if issubclass(kind, LegacyModelMixin):  # one class once stood for several
        kind = _fetch_remapped_cls_from_config(config, kind)
    with torch.device("meta"):
        model = kind.from_config(config)
    check_tables(model, f"{component.title}: {component.name!r}")
    if not sharded:
        stored: Any = OrderedDict(shapes)  # names are all it looks at
        model._fix_state_dict_keys_on_load(stored)
        shapes = dict(stored)
    ignored = getattr(kind, "_keys_to_ignore_on_load_unexpected", None) or ()
    return compare(shapes_of(model), shapes, tuple(ignored))


def _of_transformers(
    kind: Any, component: Component, shapes: dict[str, Shape], title: str
) -> Differences:
    """transformers renames, splits and ties weights while it loads, so it is asked itself, with tensors that hold nothing."""
    config = kind.config_class.from_pretrained(component.folder)
    encoder = getattr(config, "encoder", None)
    if kind.__name__.endswith("Encoder") and isinstance(encoder, PreTrainedConfig):
        config = encoder  # a half of T5Gemma, under the configuration of both (PRX)
    with torch.device("meta"):
        model = kind(config)
    check_tables(model, title)
    asked = sum(tensor.numel() for tensor in model.state_dict().values())
    if asked > 2 * sum(map(torch.Size.numel, map(torch.Size, shapes.values()))) + SPARE_ELEMENTS:
        return compare(shapes_of(model), shapes)
    nothing = torch.zeros(())
    stored = {name: nothing.expand(shape) for name, shape in shapes.items()}
    _, info = kind.from_pretrained(
        None,
        config=config,
        state_dict=stored,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    misshapen = (f"{name}: {tuple(was)}, not {tuple(is_)}" for name, was, is_ in info["mismatched_keys"])  # fmt: skip
    extra = (n for n in info["unexpected_keys"] if not any(re.search(p, n) for p in LEFT_OUT))
    return Differences(tuple(sorted(info["missing_keys"])), tuple(sorted(extra)), tuple(misshapen))


def check_tables(model: nn.Module, title: str) -> None:
    """What a model makes besides its weights (positions, frequencies) must fit into MAX_TABLES bytes.

    Raises:
        ModelError: it does not.
    """
    size = sum(tensor.numel() * tensor.element_size() for _, tensor in model.named_buffers())
    if size > MAX_TABLES:
        raise ModelError(
            f"{title} asks for tables of {size:,} bytes besides its weights (at most {MAX_TABLES:,}). Look at the sizes in "
            "its configuration, or download the model again."
        )


@contextmanager
def building(title: str, tensors: int) -> Iterator[None]:
    """Stops a model that has far more layers than its file has tensors, while it is being built.

    Raises:
        ModelError: when it has.
    """
    hooks = (
        register_module_parameter_registration_hook(
            _counter(title, tensors, 2 * tensors + SPARE_PARAMETERS)
        ),
        register_module_module_registration_hook(
            _counter(title, tensors, 20 * tensors + SPARE_MODULES)
        ),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _counter(title: str, tensors: int, most: int) -> Callable[..., None]:
    count = 0

    def one_more(*_: object) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise ModelError(
                f"{title}: its configuration asks for over {most:,} parts, and its file holds {tensors:,} tensors. Download "
                "or save the model again."
            )

    return one_more
