"""The demo models' text encoders, and a short training that teaches them to read captions.

Trained only through a denoiser, a text encoder learns which object goes where last of all. So it is
first trained to answer, for each place of the picture, what the caption puts there.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from pipeline.demo.clip import tokenize
from pipeline.demo.corpus import batch_indices
from pipeline.demo.scenes import (
    COLOURS,
    OBJECTS,
    PLACES,
    SIZES,
    TEXTURES,
    Scene,
    caption,
    place_name,
)
from pipeline.demo.tokenizer import CONTEXT_LENGTH
from pipeline.demo.training import Stage

WIDTH = 128
SLOTS = (*(len(OBJECTS) + 1,) * (len(PLACES) + 1), len(SIZES) + 1, len(COLOURS), len(TEXTURES))


def text_config(tokenizer: CLIPTokenizer, layers: int = 4) -> CLIPTextConfig:
    """The configuration of every text encoder of the demo."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def build_text_encoder(tokenizer: CLIPTokenizer, layers: int = 4) -> CLIPTextModelWithProjection:
    """An untrained text encoder whose tokens start small, as CLIP's do."""
    return CLIPTextModelWithProjection(text_config(tokenizer, layers))


def without_projection(encoder: CLIPTextModelWithProjection) -> CLIPTextModel:
    """The same encoder in the form that Stable Diffusion uses."""
    bare = CLIPTextModel(encoder.config)
    projected = {
        name: value
        for name, value in encoder.state_dict().items()
        if not name.startswith("text_projection")
    }
    names = bare.state_dict().keys()
    bare.load_state_dict(
        {
            name if name in names else name.removeprefix("text_model."): value
            for name, value in projected.items()
        }
    )
    return bare


class CaptionReader(nn.Module):
    """A text encoder with heads that answer what is where, from its tokens or pooled output."""

    def __init__(self, encoder: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.encoder = encoder
        self.queries = nn.Parameter(torch.randn(len(SLOTS), WIDTH))
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, 4, batch_first=True) for _ in range(2)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, size) for size in SLOTS)
        self.pooled_heads = nn.ModuleList(nn.Linear(WIDTH, size) for size in SLOTS)

    def forward(self, tokens: Int[Tensor, "n token"]) -> list[list[Float[Tensor, "n answer"]]]:
        """For three views of the text, the logits of every slot."""
        out = self.encoder(tokens, output_hidden_states=True)
        queries = self.queries.expand(len(tokens), -1, -1)
        views = (out.last_hidden_state, self.norm(out.hidden_states[-2]))
        read = [
            attention(queries, view, view, need_weights=False)[0]
            for attention, view in zip(self.attention, views, strict=True)
        ]
        answers = [[head(x[:, slot]) for slot, head in enumerate(self.heads)] for x in read]
        return [*answers, [head(out.text_embeds) for head in self.pooled_heads]]


def scene_answers(scenes: list[Scene]) -> Int[Tensor, "scene slot"]:
    """What a `CaptionReader` should answer: objects by place, size, colour, texture."""
    answers = torch.zeros(len(scenes), len(SLOTS), dtype=torch.long)
    for row, scene in enumerate(scenes):
        for index, name in enumerate(scene.objects):
            where = place_name(scene, index)
            slot = len(PLACES) if where is None else PLACES.index(where)
            answers[row, slot] = 1 + OBJECTS.index(name)
        answers[row, -3] = 1 + tuple(SIZES).index(scene.size) if scene.size else 0
        answers[row, -2] = tuple(COLOURS).index(scene.colour)
        answers[row, -1] = TEXTURES.index(scene.texture)
    return answers


def reading_stage(
    reader: CaptionReader,
    tokenizer: CLIPTokenizer,
    scenes: list[Scene],
    *,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
) -> Stage:
    """Cross-entropy of every slot's answer."""
    tokens = tokenize(tokenizer, [caption(scene) for scene in scenes])
    answers = scene_answers(scenes)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        indices = batch_indices(len(scenes), batch_size, generator)
        total = torch.zeros(())
        with sdpa_kernel(SDPBackend.MATH):
            views = reader(tokens[indices])
        for view in views:
            for slot, logits in enumerate(view):
                total = total + F.cross_entropy(logits.float(), answers[indices, slot])
        return total / len(views)

    return Stage("text", reader, loss, learning_rate, ema_decay=0.99)
