"""Concepts as a model's own text encoders read them: the tokens of every phrasing."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.diffusion.generate import fixed_arguments
from pipeline.errors import ModelError
from pipeline.models.families import Family
from pipeline.study.concepts import Concept

AT_ONCE = 32
"""Phrasings in one call of the text encoders."""


@dataclass(frozen=True)
class Phrases:
    """The word tokens of all phrasings of some concepts, one after the other; special tokens are left out.

    Attributes:
        tokens: as the denoiser gets a prompt's tokens.
        phrase: the number of the phrasing that each token is of.
        average: a concept's mean over its phrasings of the mean over each one's tokens; rows sum to 1.
        indices: where each token stands among the text keys of its phrasing alone; None = nowhere in particular.
    """

    concepts: tuple[Concept, ...]
    tokens: Float[Tensor, "token d"]
    phrase: Int[Tensor, " token"]
    average: Float[Tensor, "concept token"]
    indices: Int[Tensor, " token"] | None = None

    def families(self) -> list[list[int]]:
        """The indices of the concepts of each family."""
        families: dict[str, list[int]] = {}
        for index, concept in enumerate(self.concepts):
            families.setdefault(concept.family, []).append(index)
        return list(families.values())


@torch.no_grad()
def encode_phrases(pipeline: Any, family: Family, concepts: Sequence[Concept]) -> Phrases:
    """Reads every phrasing of some concepts as the pipeline reads a prompt.

    Raises:
        ModelError: no phrasing of a concept has a token of its own.
    """
    texts = [text for concept in concepts for text in concept.phrasings]
    read: list[tuple[Tensor, Tensor]] = []
    at_once = 1 if family.solo else AT_ONCE
    for start in range(0, len(texts), at_once):
        part = texts[start : start + at_once]
        embedded = encode_texts(pipeline, family, part)
        read += [_of_words(pipeline, family, *pair) for pair in zip(part, embedded, strict=True)]
    tokens, indices = (torch.cat(each) for each in zip(*read, strict=True))
    counts = torch.tensor([len(phrase) for phrase, _ in read])
    phrase = torch.repeat_interleave(torch.arange(len(read)), counts)
    average = _average(concepts, counts).to(tokens.device)
    return Phrases(tuple(concepts), tokens, phrase.to(tokens.device), average, indices)


def encode_texts(
    pipeline: Any, family: Family, texts: Sequence[str]
) -> Float[Tensor, "text token d"]:
    """What the denoiser attends to for some prompts: the pipeline's own encoding, with the arguments of its call."""
    accepted = inspect.signature(pipeline.encode_prompt).parameters
    call = inspect.signature(pipeline.__call__).parameters
    defaults = {
        name: call[name].default
        for name in accepted
        if name in call and call[name].default is not inspect.Parameter.empty
    }
    wanted = {
        **defaults,
        **fixed_arguments(pipeline, family),
        "prompt": list(texts),
        "device": pipeline._execution_device,
        "num_images_per_prompt": 1,
        "do_classifier_free_guidance": False,
    }
    encoded = pipeline.encode_prompt(**{k: v for k, v in wanted.items() if k in accepted})
    return encoded[0] if isinstance(encoded, tuple | list) else encoded


def _of_words(
    pipeline: Any, family: Family, text: str, embedded: Float[Tensor, "token d"]
) -> tuple[Float[Tensor, "word_token d"], Int[Tensor, " word_token"]]:
    """The tokens of a text that belong to words, and their indices."""
    if family.layout is None:
        return embedded[:0], torch.zeros(0, dtype=torch.long)
    registers = _registers(pipeline)
    layout = family.layout(pipeline, text, len(embedded) + registers)[registers:]
    indices = torch.from_numpy(layout >= 0).nonzero().flatten().to(embedded.device)
    return embedded[indices], indices


def _registers(pipeline: Any) -> int:
    """Tokens that the denoiser itself puts before the text (AuraFlow)."""
    registers = getattr(getattr(pipeline, "transformer", None), "register_tokens", None)
    return 0 if registers is None else registers.shape[1]


def _average(
    concepts: Sequence[Concept], counts: Int[Tensor, " phrase"]
) -> Float[Tensor, "concept token"]:
    average = torch.zeros(len(concepts), int(counts.sum()))
    starts = torch.cumsum(counts, 0) - counts
    phrase = 0
    for row, concept in enumerate(concepts):
        numbers = range(phrase, phrase + len(concept.phrasings))
        read = [n for n in numbers if counts[n]]
        if not read:
            raise ModelError(
                f"concept {concept.key!r}: the model's tokenizer reads no word in {concept.phrasings[0]!r}. Give a phrasing of "
                "words in the file of concepts, or leave out concept-attention."
            )
        for n in read:
            average[row, starts[n] : starts[n] + counts[n]] = 1 / (len(read) * int(counts[n]))
        phrase += len(concept.phrasings)
    return average
