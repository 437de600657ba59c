"""Tiny pipelines with random weights, of classes that the table of families lacks: what is known of them is learnt in the trial."""

from __future__ import annotations

from typing import Any

import diffusers as d
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from tests.support.tiny_parts import t5, t5_tokenizer, vae
from tests.support.tiny_pipelines import build
from tests.support.unlisted_parts import (
    AE,
    QWEN3,
    chat_tokenizer,
    flux2_vae,
    qwen25_vl,
    qwen_vae,
    vae8,
)


def sdxl_pag() -> Any:
    """A mean and a deviation of each channel."""
    return d.StableDiffusionXLPAGPipeline(**build("sdxl").components, pag_applied_layers="mid")


def sd3_pag() -> Any:
    """A shift."""
    parts = {k: part for k, part in build("sd3").components.items() if k not in ("image_encoder", "feature_extractor")}  # fmt: skip
    return d.StableDiffusion3PAGPipeline(**parts, pag_applied_layers="blocks.0")


def chroma() -> Any:
    """Squares of latents as tokens, two denoiser calls a step."""
    transformer = d.ChromaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=[4, 4, 8], approximator_hidden_dim=32, approximator_layers=1,
        approximator_num_channels=16,
    )  # fmt: skip
    return d.ChromaPipeline(
        transformer=transformer,
        vae=vae(4, **AE),
        text_encoder=t5(width=32),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )


def qwen_image() -> Any:
    """Tokens, and the decoder of a video model."""
    return d.QwenImagePipeline(
        transformer=d.QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
        ),
        vae=qwen_vae(),
        text_encoder=qwen25_vl(),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


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


def flux2_klein() -> Any:
    """A mean and a deviation of each channel of a token; it also edits images."""
    return d.Flux2KleinPipeline(
        transformer=d.Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        ),
        vae=flux2_vae(),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**QWEN3, num_hidden_layers=28)),
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
        vae=vae8(**AE),
        text_encoder=Gemma2Model(encoder),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


def cogview4() -> Any:
    """Two denoiser calls a step, a schedule that follows the size."""
    encoder = GlmConfig(
        vocab_size=1200, hidden_size=32, intermediate_size=8, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, pad_token_id=0,
    )  # fmt: skip
    return d.CogView4Pipeline(
        transformer=d.CogView4Transformer2DModel(
            patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=4, num_attention_heads=4,
            text_embed_dim=32, time_embed_dim=8, condition_dim=4, rope_axes_dim=(8, 8),
        ),
        vae=vae(4, **AE),
        text_encoder=GlmModel(encoder),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    )  # fmt: skip


FIRST = {
    "sdxl_pag": (sdxl_pag, "StableDiffusionXLPAGPipeline"),
    "sd3_pag": (sd3_pag, "StableDiffusion3PAGPipeline"),
    "chroma": (chroma, "ChromaPipeline"),
    "qwen_image": (qwen_image, "QwenImagePipeline"),
    "z_image": (z_image, "ZImagePipeline"),
    "flux2_klein": (flux2_klein, "Flux2KleinPipeline"),
    "lumina2": (lumina2, "Lumina2Pipeline"),
    "cogview4": (cogview4, "CogView4Pipeline"),
}
