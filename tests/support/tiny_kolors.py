"""A tiny Kolors pipeline with random weights; diffusers offers the class only where the package sentencepiece is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers as d

from tests.support.tiny_parts import BETAS, unet, vae

TEXT = [
    "a dog on a red background",
    "a cat left of a rocket",
    "a picture of a plain blue rocket, user",
]


def vocabulary(folder: Path) -> Path:
    """A model of sentencepiece, trained on a few words; each letter is a piece too."""
    import sentencepiece

    with (folder / "tokenizer.model").open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT * 4), model_writer=stream, vocab_size=64, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    return folder / "tokenizer.model"


def kolors(kind: str = "KolorsPipeline") -> Any:
    """SDXL's UNet over the tokens of a language model, with padding before the prompt."""
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    folder = tempfile.mkdtemp(prefix="kolors-")
    tokenizer = ChatGLMTokenizer(str(vocabulary(Path(folder))))
    config = ChatGLMConfig(
        num_layers=2, padded_vocab_size=128, hidden_size=16, ffn_hidden_size=32, kv_channels=8, num_attention_heads=2,
        seq_length=256, add_qkv_bias=True, multi_query_attention=True, original_rope=True,
    )  # fmt: skip
    encoder = ChatGLMModel(config, empty_init=False)
    for name, weights in encoder.named_parameters():  # of which some are made without values
        weights.data.fill_(1) if "norm" in name else weights.data.normal_(std=0.3)
    return getattr(d, kind)(
        vae=vae(force_upcast=False),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet(
            cross=16, addition_embed_type="text_time", addition_time_embed_dim=8, encoder_hid_dim=16,
            encoder_hid_dim_type="text_proj", projection_class_embeddings_input_dim=16 + 6 * 8, use_linear_projection=True,
        ),
        scheduler=d.EulerDiscreteScheduler(**BETAS),
    )  # fmt: skip


def kolors_pag() -> Any:
    return kolors("KolorsPAGPipeline")


KOLORS: dict[str, Callable[[], Any]] = {"kolors": kolors, "kolors-pag": kolors_pag}
if not find_spec("sentencepiece"):
    KOLORS = {}
