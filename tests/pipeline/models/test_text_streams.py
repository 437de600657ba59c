"""Words of prompts that several text encoders read: quoted text of HunyuanImage, the three streams of HiDream."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from diffusers.pipelines.hunyuan_image.pipeline_hunyuanimage import extract_glyph_text
from transformers import ByT5Tokenizer

from pipeline.models.text_streams import glyph_spans, quoted_layout, streams_layout
from pipeline.models.words import SPECIAL, split_words
from tests.support.families import pipeline_of

QUOTED = (
    'a red sign with "Open all day" on it',
    "a dog's bowl and the cat's",
    "“café” and ‘bar’, then 'x' \"y z\"",
)


@pytest.mark.parametrize("text", QUOTED)
def test_a_word_of_quoted_text_is_where_the_second_encoder_has_it(text):
    glyphs, words = extract_glyph_text(text), split_words(text)
    spans = list(glyph_spans(text))
    assert spans
    for start, end, word in spans:
        assert glyphs[start:end] and glyphs[start:end] in words[word]


def hunyuan(window=128):
    transformer = SimpleNamespace(context_embedder_2=object())
    return SimpleNamespace(
        transformer=transformer, tokenizer_2=ByT5Tokenizer(), tokenizer_2_max_length=window
    )


@pytest.mark.parametrize("text", QUOTED)
def test_bytes_of_quoted_text_are_those_of_its_words(text):
    pipeline = hunyuan()
    layout, words = quoted_layout(pipeline, text), split_words(text)
    ids = np.array(pipeline.tokenizer_2(extract_glyph_text(text)).input_ids)
    assert len(layout) == len(ids) and layout[-1] == SPECIAL
    for word in set(layout) - {SPECIAL}:
        assert pipeline.tokenizer_2.decode(ids[layout == word]) in words[word]


def test_quoted_text_is_cut_at_the_window_and_left_out_without_quotes():
    text = 'a sign "' + "long " * 60 + '"'
    assert len(quoted_layout(hunyuan(window=32), text)) == 32
    assert len(quoted_layout(hunyuan(), "a plain sign")) == 0
    pipeline = hunyuan()
    pipeline.transformer.context_embedder_2 = None
    assert len(quoted_layout(pipeline, text)) == 0


def test_a_word_of_hidream_is_in_all_three_streams(root):
    pipeline, text = pipeline_of("hidream"), "a dog on a red background"
    streams = streams_layout(pipeline, text, 3 * 64).reshape(3, 64)
    for tokenizer, stream in zip((pipeline.tokenizer_3, pipeline.tokenizer_4, pipeline.tokenizer_4), streams, strict=True):  # fmt: skip
        ids = np.array(tokenizer(text).input_ids)
        for number, word in enumerate(text.split()):
            assert tokenizer.decode(ids[stream[: len(ids)] == number]).strip() == word
    assert (streams_layout(pipeline, text, 64) == streams[0]).all()
