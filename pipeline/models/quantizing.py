"""Denoisers whose weights are quantised when they are loaded: smaller, and not quite the same model.

Only the weights of linear layers are stored as integers, with a scale for each row; sums are taken in the model's own number
type. So every tool works as it does on the model itself, gradients included.

Source: torchao (https://github.com/pytorch/ao), `Int8WeightOnlyConfig` and `IntxWeightOnlyConfig` with 4 bits a row.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch

from pipeline.errors import ModelError
from pipeline.models.devices import denoisers
from pipeline.models.guard import one_line
from pipeline.study.spec import ModelSpec

ADVICE = "Leave out quantization."


def check_quantization(spec: ModelSpec) -> None:
    """That the package of a model's quantization is installed, and that nothing of the entry excludes it.

    Raises:
        ModelError: names the package, or the other key.
    """
    if spec.quantization is None:
        return
    backend = spec.quantization.backend
    problem = f"model {spec.name}: quantization = {{ backend = {backend!r} }}"
    if importlib.util.find_spec(backend) is None:
        raise ModelError(f"{problem} needs the package {backend}, which is not installed. Install it (pip install {backend}), or leave out quantization.")  # fmt: skip
    for key in ("adapters", "compile", "offload"):
        if getattr(spec, key):
            raise ModelError(f"{problem} and {key} exclude each other. Leave out one of them.")


def quantize(pipeline: Any, spec: ModelSpec) -> None:
    """Quantises the denoisers of a loaded pipeline as its entry asks; the other parts stay as they are.

    Raises:
        ModelError: as `check_quantization`, or the package cannot quantise this model.
    """
    if spec.quantization is None:
        return
    check_quantization(spec)
    with one_line(f"model {spec.name}: quantization cannot be used here", ADVICE):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the package, about its own plans
            from torchao.quantization import quantize_

            config = _config(spec.quantization.bits)
        for module in denoisers(pipeline):
            quantize_(module, config)


def _config(bits: int) -> Any:
    """The package's setting: integers of so many bits with one scale a row."""
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerAxis

    if bits == 8:
        return Int8WeightOnlyConfig()
    types: Any = torch  # whose stubs lack int4
    return IntxWeightOnlyConfig(weight_dtype=types.int4, granularity=PerAxis(0))
