"""Which text key is which word: the tokens that the text encoder was given, read back by the layout, are the words of the prompt."""

from __future__ import annotations

import pytest
import torch

from pipeline.diffusion.phrases import encode_texts
from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.models.text_streams import quoted_layout
from pipeline.models.words import SPECIAL, rendered_layout
from pipeline.study.spec import Measures
from tests.support.families import FULL, LAST, TEXTS, pipeline_of, prompts_of, spec, watch
from tests.support.tiny_kolors import KOLORS
from tests.support.tiny_parts import t5_tokenizer
from tests.support.tiny_today import TODAY

pytestmark = pytest.mark.long

WORDY = "a red dog left of a rocket, user"  # a word of the templates, too
MASKED = (
    "qwen-image",
    "z-image",
    "lumina2",
    "hunyuan-image",
    "hunyuan-distilled",
)  # padding never reaches the denoiser


def keys_of(name, pipeline, text):
    """The ids that stand at the denoiser's text keys, from the call of the text encoder itself."""
    seen = []
    hook = pipeline.text_encoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((kwargs.get("input_ids", args[0] if args else None), kwargs)),
        with_kwargs=True,
    )  # fmt: skip
    try:
        encode_texts(pipeline, loading.family_of(pipeline), [text])
    finally:
        hook.remove()
    ids, kwargs = seen[0]
    ids = ids[0]
    if name in MASKED:
        ids = ids[kwargs["attention_mask"][0].bool()]
    return ids[getattr(pipeline, "prompt_template_encode_start_idx", 0) :]


@pytest.mark.parametrize("text", [*TEXTS, WORDY])
@pytest.mark.parametrize(
    "name", [*(n for n in TODAY if n != "hidream"), "prx", *KOLORS]
)  # of several encoders: hidream
def test_the_keys_of_a_word_are_its_tokens(root, name, text):
    pipeline = pipeline_of(name)
    ids = keys_of(name, pipeline, text)
    length = -(-len(ids) // 32) * 32 if name in MASKED else len(ids)
    layout = loading.family_of(pipeline).layout(pipeline, text, length)
    assert len(layout) == length and set(layout[len(ids) :]) <= {SPECIAL}
    tokenizer = getattr(pipeline.tokenizer, "tokenizer", pipeline.tokenizer)
    for number, word in enumerate(text.split()):
        (indices,) = (layout[: len(ids)] == number).nonzero()
        assert len(indices) and (indices == torch.arange(indices[0], indices[-1] + 1).numpy()).all()
        assert tokenizer.decode(ids[indices].tolist()).strip() == word


def test_a_template_that_changes_the_prompt_is_refused():
    with pytest.raises(ModelError, match="does not stand in the tokenizer's chat template"):
        rendered_layout(t5_tokenizer(), lambda text: text[::-1], "a red dog", 16)


@pytest.mark.parametrize("name", ["lumina2", "qwen-image", "z-image", "hunyuan-image", "hidream"])
def test_words_of_prompts_of_different_lengths_are_those_of_each_alone(root, name):
    """Where each item's text has its own length, attention of a batch is that of its items; relevance, where padding is left out.

    Of the others each prompt is sampled alone, for the scale of relevance follows the padding.
    """
    texts = ("a dog", "a cat left of a rocket on a red background " * 4)
    prompts, pipeline = prompts_of(name, texts), pipeline_of(name)
    padded = loading.family_of(pipeline).solo
    assert padded == (name not in ("lumina2", "hidream"))
    measures = Measures(attention=LAST, relevance=None if padded else LAST)
    together = watch(name, pipeline, spec(name), prompts, measures).columns
    for item, prompt in enumerate(prompts):
        (alone,) = watch(name, pipeline, spec(name), (prompt,), measures).columns
        assert len(alone["words"]) == len(together[item]["words"])
        for one, other in zip(alone["words"], together[item]["words"], strict=True):
            assert one["word"] == other["word"]
            assert one["mass"] == pytest.approx(other["mass"], rel=1e-4, abs=1e-6)


def test_quoted_text_is_read_with_the_words_that_it_is_of(root):
    """HunyuanImage puts it before the prompt; without the second encoder's keys the words get less."""
    text = 'a red sign "open all day" on it'
    pipeline, (prompt,) = pipeline_of("hunyuan-image"), prompts_of("hunyuan-image", (text,))
    quoted = quoted_layout(pipeline, text)
    layout = loading.family_of(pipeline).layout(pipeline, text, 1128)
    assert (layout[: len(quoted)] == quoted).all() and set(quoted) == {SPECIAL, 3, 4, 5}
    ids = keys_of("hunyuan-image", pipeline, text)
    for number, word in enumerate(text.split()):
        (indices,) = (layout[len(quoted) :][: len(ids)] == number).nonzero()
        assert pipeline.tokenizer.decode(ids[indices]).replace(" ", "") == word
    measures = Measures(attention=LAST, relevance=LAST)
    run = watch("hunyuan-image", pipeline, spec("hunyuan-image"), (prompt,), measures)
    assert torch.equal(run.plain, run.watched) and torch.equal(run.replays[-1], run.views[-1].prediction)  # fmt: skip
    for source in ("attention", "relevance"):
        rows = [r for r in run.columns[0]["words"] if (r["source"], r["layer_group"]) == (source, "all")]  # fmt: skip
        assert [r["word"] for r in rows if r["word_index"] >= 0] == text.split()
        assert all(r["mass"][0] > 0 for r in rows)


def test_an_image_of_hidream_that_is_padded_is_where_it_is(root):
    """Of 7 x 9 tokens, to the 64 that its denoiser knows: maps have the image's own shape."""
    model = spec("hidream", height=28, width=36)
    run = watch("hidream", pipeline_of("hidream"), model, prompts_of("hidream")[:1], FULL)
    assert run.plain.shape == (1, 3, 28, 36) and torch.equal(run.plain, run.watched)
    assert torch.equal(run.replays[-1], run.views[-1].prediction)
    for row in run.columns[0]["explanations"]:  # of latents, or of tokens
        assert (row["height"], row["width"]) in ((14, 18), (7, 9))
