"""Tiny pipelines with random weights, of classes that the table of families lacks: what is known of them is learnt in the trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers as d
import torch
from transformers import (
    Gemma2Config,
    Gemma2Model,
    Qwen3Config,
    Qwen3Model,
)

from tests.support.tiny_pipelines import build, spread, t5_tokenizer, vae

AE = {"use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 1.5, "shift_factor": 0.06}  # fmt: skip
QWEN3 = {"vocab_size": 1200, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip


def chat_tokenizer() -> Any:
    """One whose prompts become a chat."""
    tokenizer = t5_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['content'] is string %}{{ m['content'] }}"
        "{% else %}{{ m['content'][0]['text'] }}{% endif %}{% endfor %}"
    )
    return tokenizer


def sdxl_pag() -> Any:
    """A mean and a deviation of each channel."""
    return d.StableDiffusionXLPAGPipeline(**build("sdxl").components, pag_applied_layers="mid")


def sd3_pag() -> Any:
    """A shift."""
    parts = {k: part for k, part in build("sd3").components.items() if k not in ("image_encoder", "feature_extractor")}  # fmt: skip
    return d.StableDiffusion3PAGPipeline(**parts, pag_applied_layers="blocks.0")


def z_image() -> Any:
    """A list of latents, and a negated prediction."""
    return d.ZImagePipeline(
        transformer=d.ZImageTransformer2DModel(
            in_channels=16, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
            axes_dims=[8, 4, 4], axes_lens=[512, 32, 32],
        ),
        vae=vae(16, **AE),
        text_encoder=Qwen3Model(Qwen3Config(**QWEN3, num_hidden_layers=2)),
        tokenizer=chat_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


def lumina2() -> Any:
    """A negated prediction, a shift."""
    encoder = Gemma2Config(
        vocab_size=1200, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=12,
    )  # fmt: skip
    return d.Lumina2Pipeline(
        transformer=d.Lumina2Transformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, hidden_size=24, num_layers=1, num_refiner_layers=1,
            num_attention_heads=2, num_kv_heads=1, multiple_of=16, axes_dim_rope=(4, 4, 4), axes_lens=(512, 512, 512),
            cap_feat_dim=24,
        ),
        vae=vae(4, **AE),
        text_encoder=Gemma2Model(encoder),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


UNLISTED = {each.__name__: each for each in (sdxl_pag, sd3_pag, z_image, lumina2)}


def unlisted_folder(name: str, root: Path) -> Path:
    """The pipeline, saved under `root` as a user's folder; built once."""
    folder = root / f"unlisted-{name}"
    if not folder.is_dir():
        torch.manual_seed(0)
        spread(UNLISTED[name]()).save_pretrained(folder, safe_serialization=True)
    return folder
