"""Perturbed-attention guidance (PAG): layers that run a part of each batch with attention of every position to itself alone.

diffusers gives some self-attention layers of the denoiser processors of PAG's for the time of a pipeline's call. They split the
batch into its parts (unconditional, conditional, perturbed), so a call of other parts needs the layers' plain processors.

Source: Ahn et al. 2024, arXiv 2403.17377; diffusers, `pipelines/pag`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers.models.attention_processor import AttnProcessor2_0, JointAttnProcessor2_0
from torch import nn

NORMS = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
"""Of queries and keys. PAG's processors leave them out, of every part."""


def is_perturbing(layer: Any) -> bool:
    """Whether an attention layer has a processor of PAG's."""
    return type(layer.processor).__name__.startswith("PAG")


def perturbed_scale(pipeline: Any, timestep: float) -> float:
    """The scale of perturbed-attention guidance at a timestep, which falls with it where the call asks for that."""
    if not pipeline.do_pag_adaptive_scaling:
        return float(pipeline.pag_scale)
    return max(0.0, float(pipeline.pag_scale - pipeline.pag_adaptive_scale * (1000 - timestep)))


@dataclass(frozen=True)
class Perturbation:
    """PAG's processors in a denoiser, by the layer, as they stood at a call."""

    processors: Mapping[nn.Module, Any]

    @classmethod
    def of(cls, denoiser: nn.Module) -> Perturbation:
        """That of a denoiser as it is now."""
        layers = (layer for layer in denoiser.modules() if hasattr(layer, "processor"))
        return cls({layer: layer.processor for layer in layers if is_perturbing(layer)})

    @contextmanager
    def present(self) -> Iterator[None]:
        """The layers perturb the last part of a batch, also after the pipeline's call has ended."""
        with _changed({layer: {"processor": each} for layer, each in self.processors.items()}):
            yield

    @contextmanager
    def absent(self) -> Iterator[None]:
        """The layers compute of every item what PAG's processors compute of those that they do not perturb."""
        with _changed({layer: _plain(layer) for layer in self.processors}):
            yield


def _plain(layer: Any) -> dict[str, Any]:
    """The attributes of a layer that is not perturbed."""
    joint = getattr(layer, "add_k_proj", None) is not None
    processor = JointAttnProcessor2_0() if joint else AttnProcessor2_0()
    norms = (name for name in NORMS if getattr(layer, name, None) is not None)
    return {"processor": processor, **dict.fromkeys(norms)}


@contextmanager
def _changed(layers: Mapping[nn.Module, Mapping[str, Any]]) -> Iterator[None]:
    """Layers with other attributes, for a while."""
    before = {layer: {name: getattr(layer, name) for name in new} for layer, new in layers.items()}
    _set(layers)
    try:
        yield
    finally:
        _set(before)


def _set(layers: Mapping[nn.Module, Mapping[str, Any]]) -> None:
    for layer, attributes in layers.items():
        for name, value in attributes.items():
            setattr(layer, name, value)
