"""Tiny pipelines of classes whose denoiser reads several text encoders, with random weights. Nothing is downloaded."""

from __future__ import annotations

from functools import wraps
from typing import Any

import diffusers as d
from diffusers.guiders import AdaptiveProjectedMixGuidance
from transformers import (
    ByT5Tokenizer,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5EncoderModel,
)

from tests.support.tiny_parts import AE, clip_text, clip_tokenizer, t5, t5_tokenizer, vae
from tests.support.unlisted_parts import qwen25_vl

SIDE = 16
"""Latents along a side of a square image of HiDream in tests; its class sets 128, whatever the folder says."""
_plain_init = d.HiDreamImagePipeline.__init__


@wraps(_plain_init)
def _with_small_images(self: Any, *args: Any, **kwargs: Any) -> None:
    _plain_init(self, *args, **kwargs)
    self.default_sample_size = SIDE


d.HiDreamImagePipeline.__init__ = _with_small_images


def byt5() -> T5EncoderModel:
    """Reads the bytes of quoted text."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=len(ByT5Tokenizer()), **sizes))


def hunyuan_image(guides: bool = True, **options: Any) -> Any:
    """Components that guide, from the second step on with what they remember; a second encoder of quoted text."""
    guider = AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=0)
    return d.HunyuanImagePipeline(
        transformer=d.HunyuanImageTransformer2DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=1,
            num_refiner_layers=1, text_embed_dim=16, text_embed_2_dim=16, rope_axes_dim=(8, 8), **options,
        ),
        vae=d.AutoencoderKLHunyuanImage(
            in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 32), layers_per_block=1,
            spatial_compression_ratio=2, sample_size=32, scaling_factor=0.75,
        ),
        text_encoder=qwen25_vl(layers=3),
        tokenizer=t5_tokenizer(),
        text_encoder_2=byt5(),
        tokenizer_2=ByT5Tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
        guider=guider if guides else None,
        ocr_guider=guider.new(guidance_scale=2.0) if guides else None,
    )  # fmt: skip


def hunyuan_image_distilled() -> Any:
    """Guidance as a number that the denoiser is given, and the timestep that a step leads to."""
    return hunyuan_image(guides=False, guidance_embeds=True, use_meanflow=True)


def long_clip(kind: Any = CLIPTextModelWithProjection) -> Any:
    config = clip_text(kind).config
    config.max_position_embeddings = 128
    return kind(config)


def hidream() -> Any:
    """Four text encoders, experts, a negated prediction; its images always have as many pixels."""
    llama = LlamaConfig(
        vocab_size=1200, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip
    return d.HiDreamImagePipeline(
        transformer=d.HiDreamImageTransformer2DModel(
            patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
            num_attention_heads=2, caption_channels=[16, 16], text_emb_dim=32, num_routed_experts=3,
            num_activated_experts=2, axes_dims_rope=(4, 2, 2), max_resolution=(SIDE, SIDE), llama_layers=(0, 1),
        ),
        vae=vae(**AE),
        text_encoder=long_clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=long_clip(),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(),
        tokenizer_3=t5_tokenizer(),
        text_encoder_4=LlamaForCausalLM(llama),
        tokenizer_4=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


STREAMS = {
    "hunyuan-image": hunyuan_image,
    "hunyuan-distilled": hunyuan_image_distilled,
    "hidream": hidream,
}
