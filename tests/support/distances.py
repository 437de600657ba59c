"""Weights of distances: LPIPS on AlexNet with planted numbers, a tiny DINOv2, and the tables of a study that name them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from pipeline.models.lpips import BACKBONES, head_name

SIDE = 28  # px that the tiny models see
PREPARES = {
    "do_resize": True,
    "size": {"shortest_edge": 32},
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "image_processor_type": "BitImageProcessor",
}
# Large random weights: with transformers' own, every image has nearly the same embedding.
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
}


def lpips_tensors(seed: int = 0, backbone: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of LPIPS on AlexNet (0) or VGG16 (1), random; heads are not below 0."""
    from torchvision import models

    torch.manual_seed(seed)
    chosen = BACKBONES[backbone]
    with torch.device("meta"):
        features = getattr(models, chosen.function)(weights=None).features
    channels = [features[tap - 1].out_channels for tap in chosen.taps]
    shapes = {f"features.{name}": each.shape for name, each in features.state_dict().items()}
    tensors = {
        name: torch.randn(shape) / shape[1:].numel() ** 0.5 for name, shape in shapes.items()
    }
    return tensors | {head_name(n): torch.rand(1, c, 1, 1) for n, c in enumerate(channels)}


def write_lpips(file: Path, seed: int = 0) -> Path:
    """LPIPS on AlexNet as a file."""
    save_file(lpips_tensors(seed), file)
    return file


def write_dino(folder: Path, kind: str = "dinov2", seed: int = 0, **prepares: object) -> Path:
    """A tiny DINOv2 or DINO with random weights."""
    torch.manual_seed(seed)
    if kind == "vit":
        config = ViTConfig(**SIZES, intermediate_size=32, image_size=SIDE, patch_size=14)
        model = ViTModel(config, add_pooling_layer=False)
    else:
        model = Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2, image_size=56, patch_size=14))
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "preprocessor_config.json").write_text(json.dumps({**PREPARES, **prepares}))
    return folder


def table(kind: str, weights: Path, reference: str, **more: str) -> str:
    """A [[distance]] of a study file."""
    keys = {"kind": kind, "weights": str(weights), "reference": reference, **more}
    return "\n[[distance]]\n" + "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in keys.items()
    )
