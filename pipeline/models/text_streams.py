"""Which text key is which word, of denoisers that attend to what several text encoders give: HunyuanImage and HiDream."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from diffusers.pipelines.hunyuan_image.pipeline_hunyuanimage import extract_glyph_text
from jaxtyping import Int

from pipeline.models.words import SPECIAL, instructed_layout, token_words, word_spans

QUOTES = (r"\'(.*?)\'", r"\"(.*?)\"", r"‘(.*?)’", r"“(.*?)”")
"""What HunyuanImage takes for text that is to be written in the image, in its order."""
HIDREAM_WINDOW = 128
"""`max_sequence_length` of HiDream's call, which studies leave as it is."""
BEFORE, BETWEEN = 'Text "', '". Text "'


def glyph_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """HunyuanImage: quoted text as ByT5 reads it, the prompt in its template, then the padding of both."""
    quoted = quoted_layout(pipeline, text)
    window = min(length - len(quoted), pipeline.tokenizer_max_length)
    layout = np.concatenate([quoted, instructed_layout(pipeline, text, window)])
    return np.concatenate([layout, np.full(length - len(layout), SPECIAL)])


def quoted_layout(pipeline: Any, text: str) -> Int[np.ndarray, " token"]:
    """The word of each token of the quoted text of a prompt, as the second encoder gets it; none without quotes."""
    glyphs = extract_glyph_text(text)
    if glyphs is None or pipeline.transformer.context_embedder_2 is None:
        return np.full(0, SPECIAL)
    tokenizer, window = pipeline.tokenizer_2, pipeline.tokenizer_2_max_length
    tokens = tokenizer(glyphs, truncation=True, max_length=window, verbose=False).input_ids
    layout = np.full(len(tokens), SPECIAL)
    for start, end, word in glyph_spans(text):
        # ByT5's tokens are the bytes of its text
        first, last = (len(glyphs[:position].encode()) for position in (start, end))
        layout[first : min(last, len(tokens) - 1)] = word
    return layout


def glyph_spans(text: str) -> Iterator[tuple[int, int, int]]:
    """(start, end, word): where each word of the quoted text of a prompt stands in what ByT5 is given."""
    begin = len(BEFORE)
    for match in (match for pattern in QUOTES for match in re.finditer(pattern, text)):
        for word, (start, end) in enumerate(word_spans(text)):
            low, high = max(start, match.start(1)), min(end, match.end(1))
            if low < high:
                yield begin + low - match.start(1), begin + high - match.start(1), word
        begin += match.end(1) - match.start(1) + len(BETWEEN)


def streams_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """HiDream: T5's window, then Llama's twice, of its last layer and of the one that belongs to a block.

    Args:
        pipeline: the pipeline.
        text: the prompt.
        length: of all three, or of T5's window alone, as concepts are read.
    """
    window = min(length, HIDREAM_WINDOW, pipeline.tokenizer_3.model_max_length)
    first = token_words(pipeline.tokenizer_3, text, window)
    each, rest = divmod(length - window, 2)
    again = token_words(pipeline.tokenizer_4, text, each) if each else np.full(0, SPECIAL)
    return np.concatenate([first, again, again, np.full(rest, SPECIAL)])
