"""Tiny pipelines of today's classes, with random weights: two denoiser calls a step, chat templates, negated predictions.

Nothing is downloaded.
"""

from __future__ import annotations

from typing import Any

import diffusers as d
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLModel,
)

from tests.support.tiny_parts import AE, QWEN3, flux2_vae, qwen_vae, t5, t5_tokenizer, vae
from tests.support.tiny_streams import STREAMS

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{{ m['content'][0]['text'] }}{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def chat_tokenizer(**options: Any) -> Any:
    """One whose prompts become a chat."""
    tokenizer = t5_tokenizer(**options)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def cogview4() -> Any:
    """Two denoiser calls a step, padding before the prompt, a schedule that follows the size."""
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
        tokenizer=t5_tokenizer(padding_side="left"),
        scheduler=d.FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    )  # fmt: skip


def chroma() -> Any:
    """FLUX's layers, with two denoiser calls a step and a mask of the text."""
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


def qwen_image() -> Any:
    """Tokens, and the decoder of a video model."""
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "rope_theta": 1e6, "vocab_size": 1200,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}}  # fmt: skip
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, hidden_size=16, vocab_size=1200,
        vision_end_token_id=3, vision_start_token_id=2, vision_token_id=4,
    )  # fmt: skip
    return d.QwenImagePipeline(
        transformer=d.QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
        ),
        vae=qwen_vae(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


def z_image() -> Any:
    """A list of latents, and a negated prediction."""
    return d.ZImagePipeline(
        transformer=d.ZImageTransformer2DModel(
            in_channels=16, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
            axes_dims=[8, 4, 4], axes_lens=[1024, 32, 32],
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
        vae=vae(4, levels=4, sample_size=64, **AE),
        text_encoder=Gemma2Model(encoder),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


def flux2() -> Any:
    """A processor of texts and images in the place of a tokenizer; guidance as a number."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    text = {"model_type": "mistral", "vocab_size": 1200, "num_hidden_layers": 31, "num_key_value_heads": 1, "head_dim": 8}  # fmt: skip
    vision = {"model_type": "pixtral", "num_hidden_layers": 1, "image_size": 32, "patch_size": 8, "head_dim": 8}  # fmt: skip
    tokens = ["[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    tokenizer = t5_tokenizer(additional_special_tokens=tokens, padding_side="left")
    return d.Flux2Pipeline(
        transformer=d.Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4),
        ),
        vae=flux2_vae(),
        text_encoder=Mistral3ForConditionalGeneration(
            Mistral3Config(text_config=sizes | text, vision_config=sizes | vision, image_token_index=1)
        ),
        tokenizer=PixtralProcessor(
            image_processor=PixtralImageProcessor(), tokenizer=tokenizer, chat_template=TEMPLATE
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


def krea2() -> Any:
    """Two denoiser calls a step, of which the conditional one counts; text of several layers of its encoder."""
    rope = {"mrope_section": [2, 1, 1], "rope_type": "default", "rope_theta": 1e6}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16, "deepstack_visual_indexes": []}  # fmt: skip
    encoder = Qwen3VLConfig(
        text_config=QWEN3 | {"num_hidden_layers": 2, "rope_parameters": rope}, vision_config=vision
    )
    return d.Krea2Pipeline(
        transformer=d.Krea2Transformer2DModel(
            in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=2, num_key_value_heads=1,
            intermediate_size=16, timestep_embed_dim=8, text_hidden_dim=16, num_text_layers=2, text_num_attention_heads=2,
            text_num_key_value_heads=1, text_intermediate_size=16, num_layerwise_text_blocks=1,
            num_refiner_text_blocks=1, axes_dims_rope=(4, 2, 2),
        ),
        vae=qwen_vae(),
        text_encoder=Qwen3VLModel(encoder),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        text_encoder_select_layers=(0, 1),
    )  # fmt: skip


TODAY = {
    "cogview4": cogview4,
    "chroma": chroma,
    "flux2-klein": flux2_klein,
    "qwen-image": qwen_image,
    "z-image": z_image,
    "lumina2": lumina2,
    "flux2": flux2,
    "krea2": krea2,
    **STREAMS,
}
