"""Tokenizers, processors and text encoders of pipelines that the table of families lacks, with random weights."""

from __future__ import annotations

import string
from typing import Any

import diffusers as d
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    XLMRobertaTokenizer,
)

from tests.support.tiny_parts import AE, QWEN3, t5_tokenizer, vae

TEMPLATE = (
    "{% for m in messages %}{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{{ m['content'][0]['text'] }}{% endif %}{% endfor %}"
)


def chat_tokenizer(**options: Any) -> Any:
    """One whose prompts become a chat."""
    tokenizer = t5_tokenizer(**options)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def bert_tokenizer() -> BertTokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "red"]
    words += [f"##{letter}" for letter in string.ascii_lowercase]
    words += [letter for letter in string.ascii_lowercase if letter != "a"]
    return BertTokenizer(
        vocab={word: number for number, word in enumerate(words)}, model_max_length=77
    )


def xlm_tokenizer() -> XLMRobertaTokenizer:
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocab += [(letter, -3.0) for letter in string.ascii_lowercase] + [("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocab, model_max_length=77)


def mistral3(kind: Any = Mistral3ForConditionalGeneration, layers: int = 31) -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    text = {"model_type": "mistral", "vocab_size": 1200, "num_hidden_layers": layers, "num_key_value_heads": 1, "head_dim": 8}  # fmt: skip
    vision = {"model_type": "pixtral", "num_hidden_layers": 1, "image_size": 32, "patch_size": 8, "head_dim": 8}  # fmt: skip
    return kind(
        Mistral3Config(text_config=sizes | text, vision_config=sizes | vision, image_token_index=1)
    )


def pixtral_processor() -> PixtralProcessor:
    tokens = ["[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    return PixtralProcessor(
        image_processor=PixtralImageProcessor(),
        tokenizer=t5_tokenizer(additional_special_tokens=tokens),
        chat_template=TEMPLATE,
    )


def qwen3_vl_processor() -> Qwen3VLProcessor:
    tokens = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=t5_tokenizer(additional_special_tokens=tokens),
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=TEMPLATE,
    )


def bert(width: int = 16) -> BertModel:
    config = BertConfig(
        vocab_size=len(bert_tokenizer()), hidden_size=width, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=128,
    )  # fmt: skip
    return BertModel(config)


def qwen25_vl(layers: int = 2) -> Qwen2_5_VLForConditionalGeneration:
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2,
            "num_key_value_heads": 2, "rope_theta": 1e6, "vocab_size": 1200,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}}  # fmt: skip
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, hidden_size=16, vocab_size=1200,
        vision_end_token_id=3, vision_start_token_id=2, vision_token_id=4,
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen3_vl(kind: Any = Qwen3VLForConditionalGeneration, layers: int = 2) -> Any:
    rope = {"mrope_section": [2, 1, 1], "rope_type": "default", "rope_theta": 1e6}
    config = Qwen3VLConfig(
        text_config=QWEN3 | {"num_hidden_layers": layers, "rope_parameters": rope},
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
                       "deepstack_visual_indexes": [0]},
    )  # fmt: skip
    return kind(config)


def flow(**options: Any) -> Any:
    return d.FlowMatchEulerDiscreteScheduler(**options)


def ae(channels: int = 4, **options: Any) -> Any:
    """An autoencoder with a scale and a shift."""
    return vae(channels, **AE | options)


def vae8(**options: Any) -> Any:
    """An autoencoder whose latents are an eighth as wide as its images, which some pipelines take for granted."""
    return d.AutoencoderKL(
        block_out_channels=(8,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=4, sample_size=32, **options,
    )  # fmt: skip


def movq(levels: int = 2) -> Any:
    plain = levels - 1
    return d.VQModel(
        block_out_channels=(32,) * levels, down_block_types=("DownEncoderBlock2D",) * plain + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * plain, latent_channels=4, norm_num_groups=8,
        norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4,
    )  # fmt: skip
