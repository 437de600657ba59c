"""Embeddings of textual inversion: vectors for a token of their own, added to a pipeline's tokenizers and text encoders.

Source: Gal et al. 2022 (arXiv 2208.01618). diffusers adds them; every file, shape and token is checked before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from pipeline.errors import ModelError, StudyError
from pipeline.models.files import Shape, read_shapes, view
from pipeline.models.folders import Component
from pipeline.models.guard import no_remote_code, one_line, quiet
from pipeline.models.weights import without_memory
from pipeline.study.inversions import embedding_file
from pipeline.study.settings import show
from pipeline.study.spec import EmbeddingSpec, ModelSpec

PARTS = ("clip_l", "clip_g")
"""The tensors of a file for two text encoders, in their order (SDXL)."""
MAX_VECTORS = 75  # what fits into CLIP's window
ADVICE = "Use the embedding with a model of the kind that it was trained on."
ENCODERS = (CLIPTextModel, CLIPTextModelWithProjection)


@dataclass(frozen=True)
class Encoder:
    """A text encoder of a pipeline: its name, how long its embeddings are, and its tokenizer's vocabulary."""

    name: str
    width: int
    words: Mapping[str, int]


def check_embeddings(spec: ModelSpec, components: list[Component], pipeline: type) -> None:
    """That a model's embeddings fit it; of the model, configurations and tokenizers are read.

    Raises:
        ModelError: as `_refuse`, or a file is damaged.
    """
    if not spec.embeddings:
        return
    _refuse_pipeline(spec, pipeline)
    _refuse(spec, [_encoder_of(component, components) for component in _encoders(components)])


def add_embeddings(pipeline: Any, spec: ModelSpec) -> None:
    """Adds a model's embeddings to its loaded pipeline, as diffusers does it.

    Raises:
        ModelError: as `check_embeddings`, or a value is no finite number.
    """
    if not spec.embeddings:
        return
    _refuse_pipeline(spec, type(pipeline))
    names = [n for n, part in sorted(pipeline.components.items()) if isinstance(part, ENCODERS)]
    encoders = [
        Encoder(
            name,
            pipeline.components[name].get_input_embeddings().weight.shape[-1],
            getattr(pipeline, tokenizer_of(name)).get_vocab(),
        )
        for name in names
    ]
    _refuse(spec, encoders)
    for each in spec.embeddings:
        title = _title(spec, each)
        with one_line(f"{title} cannot be added", ADVICE), no_remote_code(), quiet():
            for name, tensor in zip(names, _tensors(each, title), strict=True):
                pipeline.load_textual_inversion(
                    tensor,
                    token=each.token,
                    tokenizer=getattr(pipeline, tokenizer_of(name)),
                    text_encoder=pipeline.components[name],
                )


def tokenizer_of(encoder: str) -> str:
    """The name of a text encoder's tokenizer in a pipeline."""
    return encoder.replace("text_encoder", "tokenizer")


def _refuse_pipeline(spec: ModelSpec, pipeline: type) -> None:
    # FLUX has the method too, but its words reach the image by T5, which gets no vectors
    if not pipeline.__name__.startswith(("StableDiffusionPipeline", "StableDiffusionXLPipeline", "LatentConsistencyModelPipeline")):  # fmt: skip
        raise ModelError(f"model {spec.name}: {pipeline.__name__} takes no embeddings of textual inversion; Stable Diffusion 1, 2 and XL do. Leave out embeddings.")  # fmt: skip


def _encoders(components: list[Component]) -> list[Component]:
    return sorted((c for c in components if c.kind in ENCODERS), key=lambda c: c.name)


def _encoder_of(component: Component, components: list[Component]) -> Encoder:
    module: Any = without_memory(component)
    tokenizer = next(c for c in components if c.name == tokenizer_of(component.name))
    with view(tokenizer.files()) as folder, no_remote_code(), quiet():
        kind: Any = tokenizer.kind
        words = kind.from_pretrained(folder).get_vocab()
    return Encoder(component.name, module.get_input_embeddings().weight.shape[-1], words)


def _refuse(spec: ModelSpec, encoders: list[Encoder]) -> None:
    """Refuses files that are not of these encoders, and tokens that are words of a tokenizer already."""
    taken: set[str] = set()
    for each in spec.embeddings or ():
        title = _title(spec, each)
        counts = set()
        for encoder, shape in zip(encoders, _shapes(each, title, len(encoders)), strict=True):
            count = 1 if len(shape) == 1 else shape[0]
            counts.add(count)
            if (
                len(shape) not in (1, 2)
                or shape[-1] != encoder.width
                or not 0 < count <= MAX_VECTORS
            ):
                raise ModelError(f"{title} holds {show(list(shape))}, and {encoder.name} takes 1 to {MAX_VECTORS} vectors of {encoder.width}. {ADVICE}")  # fmt: skip
            new = {each.token, *(f"{each.token}_{i}" for i in range(1, count))}
            known = sorted(
                token for token in new if token in taken or _is_word(token, encoder.words)
            )
            if known:
                raise ModelError(f"{title}: token {show(known[0])} is a word of the tokenizer already. Choose another token, such as <{known[0].strip('<>')[:20]}-1>.")  # fmt: skip
        if len(counts) > 1:
            raise ModelError(f"{title} has {min(counts)} vectors for one text encoder and {max(counts)} for the other. {ADVICE}")  # fmt: skip
        taken |= {each.token, *(f"{each.token}_{i}" for i in range(1, max(counts, default=1)))}


def _is_word(token: str, words: Mapping[str, int]) -> bool:
    """Whether a tokenizer has a token already; CLIP's ends words with "</w>" and reads them in lower case."""
    return any(name in words for name in (token, token.lower(), f"{token.lower()}</w>"))


def _title(spec: ModelSpec, each: EmbeddingSpec) -> str:
    return f"model {spec.name}: embedding {each.source}"


def _file(each: EmbeddingSpec, title: str) -> Path:
    try:
        return embedding_file(Path(each.source))
    except StudyError as error:
        raise ModelError(f"{title.partition(':')[0]}: embedding {error}") from None


def _shapes(each: EmbeddingSpec, title: str, encoders: int) -> list[Shape]:
    """The shape of each text encoder's vectors, of the header alone."""
    shapes = read_shapes(_file(each, title), title)
    wanted = list(PARTS) if encoders == 2 else list(shapes)[:1]
    if encoders not in (1, 2) or len(shapes) != encoders or not set(wanted) <= shapes.keys():
        known = "one tensor" if encoders == 1 else f"two tensors, {' and '.join(PARTS)}"
        raise ModelError(f"{title} holds {', '.join(sorted(shapes)[:3])[:200]}; an embedding for this model is {known}. {ADVICE}")  # fmt: skip
    return [shapes[name] for name in wanted]


def _tensors(each: EmbeddingSpec, title: str) -> list[Tensor]:
    """The vectors of each text encoder."""
    stored = load_file(_file(each, title))
    names = list(PARTS) if len(stored) == 2 else list(stored)
    if not all(torch.isfinite(stored[name]).all() for name in names):
        raise ModelError(f"{title} holds values that are no finite numbers. Take an earlier checkpoint.")  # fmt: skip
    return [stored[name] for name in names]
