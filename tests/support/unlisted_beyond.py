"""Tiny pipelines with random weights, of text-to-image classes that diffusers' mapping does not list."""

from __future__ import annotations

from typing import Any

import diffusers as d
from transformers import (
    CLIPTextModel,
    Mistral3Model,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from tests.support.tiny_parts import clip_tokenizer, flux2_vae, t5_tokenizer
from tests.support.tiny_streams import long_clip
from tests.support.unlisted_parts import TEMPLATE, ae, flow, mistral3, qwen25_vl, vae8


def kandinsky5() -> Any:
    """Latents with one frame and channels last."""
    tokens = ["<|image_pad|>", "<|video_pad|>"]
    return d.Kandinsky5T2IPipeline(
        transformer=d.Kandinsky5Transformer3DModel(
            in_visual_dim=4, in_text_dim=16, in_text_dim2=16, time_dim=16, out_visual_dim=4, patch_size=(1, 2, 2),
            model_dim=16, ff_dim=32, num_text_blocks=1, num_visual_blocks=1, axes_dims=(1, 1, 2), visual_cond=False,
            attention_type="regular",
        ),
        vae=ae(),
        text_encoder=qwen25_vl(),
        tokenizer=Qwen2VLProcessor(
            Qwen2VLImageProcessor(), t5_tokenizer(additional_special_tokens=tokens), Qwen2VLVideoProcessor(),
            chat_template=TEMPLATE,
        ),
        text_encoder_2=long_clip(CLIPTextModel),
        tokenizer_2=clip_tokenizer(),
        scheduler=flow(),
    )  # fmt: skip


def ernie() -> Any:
    """Squares of latents as channels; a mean and a deviation of each."""
    return d.ErnieImagePipeline(
        transformer=d.ErnieImageTransformer2DModel(
            hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=16, out_channels=16,
            text_in_dim=16, rope_axes_dim=(4, 6, 6),
        ),
        vae=flux2_vae(),
        text_encoder=mistral3(Mistral3Model, layers=2),
        tokenizer=t5_tokenizer(),
        scheduler=flow(),
    )  # fmt: skip


def omnigen() -> Any:
    """A flow that predicts the way to the image."""
    return d.OmniGenPipeline(
        transformer=d.OmniGenTransformer2DModel(
            hidden_size=16, num_attention_heads=4, num_key_value_heads=4, intermediate_size=32, num_layers=1,
            in_channels=4, time_step_dim=4, rope_scaling={"long_factor": [1, 2], "short_factor": [1, 2]},
        ),
        vae=vae8(),
        tokenizer=t5_tokenizer(),
        scheduler=flow(invert_sigmas=True, num_train_timesteps=1),
    )  # fmt: skip


BEYOND = {
    "kandinsky5": (kandinsky5, "Kandinsky5T2IPipeline"),
    "ernie": (ernie, "ErnieImagePipeline"),
    "omnigen": (omnigen, "OmniGenPipeline"),
}
