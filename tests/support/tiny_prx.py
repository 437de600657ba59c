"""A tiny PRX pipeline with random weights: image and text in one softmax, the text as keys alone."""

from __future__ import annotations

from typing import Any

import diffusers as d
from transformers import T5GemmaConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from tests.support.tiny_parts import AE, gemma_tokenizer, vae


def prx() -> Any:
    """Two blocks, squares of 2 as tokens."""
    tokenizer = gemma_tokenizer()
    tokenizer.model_max_length = 64
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "layer_types": ["full_attention"],
    }  # fmt: skip
    config = T5GemmaConfig(encoder=sizes, is_encoder_decoder=False, dropout_rate=0.0)
    encoder = T5GemmaEncoder(config.encoder)
    encoder.config = config  # which published folders have, and diffusers reads
    return d.PRXPipeline(
        transformer=d.PRXTransformer2DModel(
            patch_size=2, in_channels=4, context_in_dim=8, hidden_size=16, mlp_ratio=2.0, num_heads=2, depth=2,
            axes_dim=[4, 4],
        ),
        vae=vae(4, **AE),
        text_encoder=encoder,
        tokenizer=tokenizer,
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip
