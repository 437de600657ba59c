"""Folders of checkpoints as a trainer writes them, of a few bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def checkpoint(folder: Path, value: float = 0.0) -> Path:
    """A folder as save_pretrained writes it, with weights of a few bytes."""
    (folder / "unet").mkdir(parents=True)
    (folder / "tokenizer").mkdir()
    (folder / "unet" / "config.json").write_text("{}")
    save_file({"a": np.full(4, value, np.float32)}, folder / "unet" / "weights.safetensors")
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    index = {"_class_name": "X", "unet": ["diffusers", "U"], "tokenizer": ["transformers", "T"], "image_encoder": [None, None]}  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
