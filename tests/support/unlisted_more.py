"""Tiny pipelines with random weights, of the newer classes of diffusers' mapping that the table of families lacks."""

from __future__ import annotations

from typing import Any

import diffusers as d
from transformers import (
    GlmImageConfig,
    GlmImageForConditionalGeneration,
    GlmImageImageProcessor,
    GlmImageProcessor,
    Qwen3Config,
    Qwen3Model,
    Qwen3VLModel,
    Siglip2ImageProcessor,
    Siglip2VisionConfig,
    Siglip2VisionModel,
)

from tests.support.tiny_parts import (
    AE,
    QWEN3,
    flux2_vae,
    gemma,
    qwen_vae,
    t5,
    t5_tokenizer,
)
from tests.support.tiny_pipelines import build
from tests.support.unlisted_parts import (
    TEMPLATE,
    ae,
    chat_tokenizer,
    flow,
    qwen3_vl,
    qwen3_vl_processor,
    vae8,
)


def flux_kontext() -> Any:
    """It also edits images, and chooses their size by itself."""
    return d.FluxKontextPipeline(**build("flux-dev").components)


def ovis() -> Any:
    return d.OvisImagePipeline(
        transformer=d.OvisImageTransformer2DModel(
            in_channels=16, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(4, 4, 8),
        ),
        vae=ae(),
        text_encoder=Qwen3Model(Qwen3Config(**QWEN3, num_hidden_layers=2)),
        tokenizer=chat_tokenizer(),
        scheduler=flow(),
    )  # fmt: skip


def ideogram4() -> Any:
    """Tokens whose squares hold the channels last; a second denoiser for guidance."""
    sizes = {
        "in_channels": 16, "num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2, "intermediate_size": 32,
        "adaln_dim": 16, "llm_features_dim": 13 * 16, "mrope_section": (4, 2, 2),
    }  # fmt: skip
    return d.Ideogram4Pipeline(
        transformer=d.Ideogram4Transformer2DModel(**sizes),
        unconditional_transformer=d.Ideogram4Transformer2DModel(**sizes),
        vae=flux2_vae(),
        text_encoder=qwen3_vl(Qwen3VLModel, layers=36),
        tokenizer=chat_tokenizer(),
        scheduler=flow(),
    )


def lumina() -> Any:
    """Guidance of three channels, conditional items first."""
    return d.LuminaPipeline(
        transformer=d.LuminaNextDiT2DModel(
            sample_size=16, patch_size=2, in_channels=4, hidden_size=8, num_layers=1, num_attention_heads=1,
            num_kv_heads=1, multiple_of=16, cross_attention_dim=16,
        ),
        vae=vae8(**AE),
        text_encoder=gemma(),
        tokenizer=t5_tokenizer(),
        scheduler=flow(),
    )  # fmt: skip


def nucleus() -> Any:
    return d.NucleusMoEImagePipeline(
        transformer=d.NucleusMoEImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=4,
            joint_attention_dim=16, axes_dims_rope=(8, 4, 4), moe_enabled=False, capacity_factors=[8.0],
        ),
        vae=qwen_vae(),
        text_encoder=qwen3_vl(layers=9),
        processor=qwen3_vl_processor(),
        scheduler=flow(),
    )  # fmt: skip


def qwen_image21() -> Any:
    """Latents that are flattened, not packed."""
    return d.QwenImage21Pipeline(
        transformer=d.QwenImage21Transformer2DModel(
            in_channels=4, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2, context_in_dim=16,
            axes_dims_rope=(8, 4, 4),
        ),
        vae=d.AutoencoderKLQwenImage21(
            base_dim=8, decoder_base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1,
            latents_mean=[0.1] * 4, latents_std=[1.2] * 4,
        ),
        text_encoder=qwen3_vl(),
        processor=qwen3_vl_processor(),
        scheduler=flow(),
    )  # fmt: skip


def z_image_omni() -> Any:
    """Lists of lists of latents: it also edits images."""
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_patches": 16, "patch_size": 4}  # fmt: skip
    return d.ZImageOmniPipeline(
        transformer=d.ZImageTransformer2DModel(
            in_channels=16, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
            axes_dims=[8, 4, 4], axes_lens=[512, 32, 32], siglip_feat_dim=16,
        ),
        vae=ae(16),
        text_encoder=Qwen3Model(Qwen3Config(**QWEN3, num_hidden_layers=2)),
        tokenizer=chat_tokenizer(),
        siglip=Siglip2VisionModel(Siglip2VisionConfig(**vision)),
        siglip_processor=Siglip2ImageProcessor(patch_size=4, max_num_patches=16),
        scheduler=flow(),
    )  # fmt: skip


def glm_image() -> Any:
    """A language model that writes tokens of the image first."""
    tokens = {"image_token": "<|image|>", "grid_bos_token": "<sop>", "grid_eos_token": "<eop>"}
    tokenizer = chat_tokenizer(extra_special_tokens=tokens, bos_token="<bos>")
    sizes = {"hidden_size": 16, "intermediate_size": 16}
    text = {"vocab_size": 1200, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
            "vision_vocab_size": 128, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1]},
            "max_position_embeddings": 512, "pad_token_id": 0, "eos_token_id": 1000}  # fmt: skip
    vision = {"depth": 1, "num_heads": 2, "image_size": 32, "patch_size": 8}
    config = GlmImageConfig(
        text_config=sizes | text, vision_config=sizes | vision,
        vq_config={"embed_dim": 16, "num_embeddings": 128, "latent_channels": 16},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image|>"), image_start_token_id=126, image_end_token_id=127,
    )  # fmt: skip
    return d.GlmImagePipeline(
        tokenizer=t5_tokenizer(),
        processor=GlmImageProcessor(GlmImageImageProcessor(), tokenizer, chat_template=TEMPLATE),
        text_encoder=t5(),
        vision_language_encoder=GlmImageForConditionalGeneration(config),
        vae=vae8(latents_mean=[0.1] * 4, latents_std=[1.2] * 4),
        transformer=d.GlmImageTransformer2DModel(
            patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
            text_embed_dim=16, time_embed_dim=16, condition_dim=8, prior_vq_quantizer_codebook_size=128,
        ),
        scheduler=flow(),
    )  # fmt: skip


MORE = {
    "glm_image": (glm_image, "GlmImagePipeline"),
    "nucleus": (nucleus, "NucleusMoEImagePipeline"),
    "qwen_image21": (qwen_image21, "QwenImage21Pipeline"),
    "z_image_omni": (z_image_omni, "ZImageOmniPipeline"),
    "flux_kontext": (flux_kontext, "FluxKontextPipeline"),
    "ovis": (ovis, "OvisImagePipeline"),
    "ideogram4": (ideogram4, "Ideogram4Pipeline"),
    "lumina": (lumina, "LuminaPipeline"),
}
