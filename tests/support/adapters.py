"""Adapters (LoRA) as trainers write them, with random matrices."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

RANK = 2


def matrices(module: nn.Module, layers: list[str], seed: int = 0) -> dict[str, torch.Tensor]:
    """lora_A and lora_B of layers, in peft's names."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer in layers:
        weight = module.get_submodule(layer).weight
        state[f"{layer}.lora_A.weight"] = torch.randn(RANK, *weight.shape[1:], generator=generator)
        up = torch.randn(weight.shape[0], RANK, *[1] * (weight.ndim - 2), generator=generator)
        state[f"{layer}.lora_B.weight"] = up
    return state


def write_adapter(folder: Path, state: dict[str, torch.Tensor], metadata: dict | None = None, name: str = "pytorch_lora_weights.safetensors") -> Path:  # fmt: skip
    """A folder as save_lora_weights writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": "pt"} | ({"lora_adapter_metadata": json.dumps(metadata)} if metadata else {})
    save_file({key: value.contiguous() for key, value in state.items()}, folder / name, about)
    return folder


def prefixed(component: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names with the component before them."""
    return {f"{component}.{key}": value for key, value in state.items()}
