"""Tokenizers, text encoders, autoencoders and denoisers with random weights, of which tiny pipelines are built.

Nothing is downloaded: vocabularies are made here.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import diffusers as d
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

CLIP_TOKENIZER = Path("data/models/scenes-unet/tokenizer")
WORDS = ["▁a", "▁dog", "▁cat", "▁on", "▁red", "▁plain", "▁left", "▁of", "▁rocket", "▁background"]
AE = {"use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 1.5, "shift_factor": 0.06}  # fmt: skip
QWEN3 = {"vocab_size": 1200, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def clip_tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(CLIP_TOKENIZER)


def clip_text(kind: Any = CLIPTextModel, width: int = 16, layers: int = 2) -> Any:
    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def t5_tokenizer(**options: Any) -> T5Tokenizer:
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocab += [(word, -1.0) for word in WORDS]
    vocab += [(letter, -3.0) for letter in string.ascii_lowercase + string.punctuation]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=64, **options)


def t5(kind: str = "t5", width: int = 16) -> Any:
    sizes = {
        "vocab_size": len(t5_tokenizer()),
        "d_model": width,
        "d_kv": 8,
        "d_ff": 2 * width,
        "num_layers": 1,
        "num_heads": 2,
    }
    return (
        UMT5EncoderModel(UMT5Config(**sizes))
        if kind == "umt5"
        else T5EncoderModel(T5Config(**sizes))
    )


def gemma_tokenizer() -> GemmaTokenizer:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", "\n"]
    words += list(string.printable.strip()) + [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return GemmaTokenizer(vocab=vocab, merges=[], model_max_length=2048)


def gemma(width: int = 16) -> Gemma2Model:
    config = Gemma2Config(
        vocab_size=len(gemma_tokenizer()),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=4096,
    )
    return Gemma2Model(config)


def vae(channels: int = 4, levels: int = 2, **options: Any) -> d.AutoencoderKL:
    return d.AutoencoderKL(
        block_out_channels=(8, *[16] * (levels - 1)),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=options.pop("sample_size", 32),
        **options,
    )


def unet(cross: int = 16, **options: Any) -> d.UNet2DConditionModel:
    sizes = {
        "sample_size": 16,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": cross,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return d.UNet2DConditionModel(**sizes | options)


def ddim(**options: Any) -> d.DDIMScheduler:
    return d.DDIMScheduler(**BETAS | {"clip_sample": False, "set_alpha_to_one": False} | options)


def flux2_vae(channels: int = 4) -> Any:
    """A mean and a deviation of each channel of a token."""
    decoder = d.AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(4, 4),
        layers_per_block=1, latent_channels=channels, norm_num_groups=1,
    )  # fmt: skip
    decoder.bn.running_mean.normal_()
    decoder.bn.running_var.uniform_(0.5, 2)
    return decoder


def qwen_vae() -> Any:
    """The decoder of a video model."""
    return d.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.1] * 4, latents_std=[1.2] * 4,
    )  # fmt: skip
