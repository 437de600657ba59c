"""Which text tokens belong to which word of a prompt, and which role a word plays."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.errors import ModelError

MARK = "\u2603prompt\u2603"
"""Stands for a prompt where a template is asked what comes before it."""
SPACE = "\u2581"
"""How sentencepiece writes a space."""
SPECIAL = -1
"""Word index of tokens that belong to no word: start, end, padding, registers."""

ROLES = ("subject", "relation", "object", "attribute")


def split_words(text: str) -> list[str]:
    """A prompt's words: what stands between white space, punctuation included."""
    return text.split()


def plain(word: str) -> str:
    """A word as it is compared: lower case, without punctuation at its ends."""
    return re.sub(r"^\W+|\W+$", "", word).lower()


def word_labels(text: str) -> list[str]:
    """The words, a repeated one numbered from its second place on: a, cat, near, a (2), dog."""
    seen: dict[str, int] = {}
    labels = []
    for word in split_words(text):
        seen[word] = seen.get(word, 0) + 1
        labels.append(word if seen[word] == 1 else f"{word} ({seen[word]})")
    return labels


def word_roles(text: str, roles: Mapping[str, Sequence[str]]) -> list[str]:
    """The role of every word: subject, relation, object, attribute, or '' for none.

    A role's phrase takes its first place in the prompt that no other role has taken, whole if it
    stands there as it is, word by word otherwise: in `a cat near a cat` the object is the second.
    """
    words = [plain(word) for word in split_words(text)]
    role_of = [""] * len(words)
    for role in ROLES:
        for phrase in roles.get(role, ()):
            for index in _words_of_phrase(words, role_of, [plain(part) for part in phrase.split()]):
                role_of[index] = role
    return role_of


def _words_of_phrase(words: list[str], role_of: list[str], phrase: list[str]) -> list[int]:
    """Indices of the words without a role that a phrase names: a run of words that is the phrase, else word by word.

    Word by word, each takes the first word like it; one that the prompt does not have, or only with a role, takes none.
    """
    size = len(phrase)
    for start in range(len(words) - size + 1):
        if words[start : start + size] == phrase and not any(role_of[start : start + size]):
            return list(range(start, start + size))
    free = [index for index, role in enumerate(role_of) if not role]
    first_of = {words[index]: index for index in reversed(free)}
    return [first_of[word] for word in phrase if word in first_of]


def token_words(tokenizer: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """The word index of each of `length` token positions; -1 for special tokens and padding.

    A token belongs to the word that it shares most characters with. Words beyond the window have
    no position.
    """
    if not getattr(tokenizer, "is_fast", False):
        return _token_words_one_by_one(tokenizer, text, length)
    return _by_spans(tokenizer, text, word_spans(text), length)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where each word of `split_words` stands in the text."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def _by_spans(
    tokenizer: Any, text: str, spans: Sequence[tuple[int, int]], length: int
) -> Int[np.ndarray, " length"]:
    encoded = tokenizer(
        text, truncation=True, max_length=length, return_offsets_mapping=True, verbose=False
    )
    token_words = np.full(length, SPECIAL)
    for position, (start, end) in enumerate(encoded["offset_mapping"][:length]):
        shared = [min(end, e) - max(start, s) for s, e in spans]
        if end > start and shared and max(shared) > 0:
            token_words[position] = int(np.argmax(shared))
    return token_words


def _token_words_one_by_one(tokenizer: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """For tokenizers without offsets: each word's tokens are counted by encoding it alone."""
    before = tokenizer.build_inputs_with_special_tokens([0]).index(0)
    window = length - (len(tokenizer.build_inputs_with_special_tokens([0])) - 1)
    indices = [
        index
        for index, word in enumerate(split_words(text))
        for _ in tokenizer(word, add_special_tokens=False).input_ids
    ][:window]
    token_words = np.full(length, SPECIAL)
    token_words[before : before + len(indices)] = indices
    return token_words


def window_layout(
    pipeline: Any, text: str, length: int, tokenizer: str = "tokenizer"
) -> Int[np.ndarray, " length"]:
    """One tokenizer's window over all text positions (FLUX: T5's; CLIP's sees the whole only)."""
    return token_words(getattr(pipeline, tokenizer), text, length)


def clip_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """Stable Diffusion (1, 2, XL): the CLIP window; both encoders of XL share their tokens."""
    tokenizer = getattr(pipeline, "tokenizer", None) or getattr(pipeline, "tokenizer_2", None)
    if tokenizer is None:
        return np.full(length, SPECIAL)
    window = min(length, getattr(tokenizer, "model_max_length", length))
    if not getattr(tokenizer, "is_fast", False):
        return _fit(token_words(tokenizer, text, window), length)
    return _fit(_by_spans(tokenizer, *with_vectors(pipeline, tokenizer, text), window), length)


def with_vectors(pipeline: Any, tokenizer: Any, text: str) -> tuple[str, list[tuple[int, int]]]:
    """A prompt as its pipeline reads it, and where each word stands in that.

    A token of textual inversion with several vectors becomes as many tokens: "<cat>" is read as "<cat> <cat>_1".
    """
    convert = getattr(pipeline, "maybe_convert_prompt", None)
    if convert is None or not getattr(tokenizer, "added_tokens_encoder", None):
        return text, word_spans(text)
    parts, spans, end = [], [], 0
    for start, stop in word_spans(text):
        parts += [text[end:start], convert(text[start:stop], tokenizer)]
        begin = sum(map(len, parts[:-1]))
        spans.append((begin, begin + len(parts[-1])))
        end = stop
    return "".join(parts), spans


def sd3_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """SD3: the CLIP window (two encoders side by side in the channels), then T5's, or zeros."""
    clip = token_words(pipeline.tokenizer, text, min(length, pipeline.tokenizer_max_length))
    if pipeline.text_encoder_3 is None or length <= len(clip):
        return _fit(clip, length)
    return np.concatenate([clip, token_words(pipeline.tokenizer_3, text, length - len(clip))])


def registers_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """AuraFlow: register tokens, then its tokenizer's window."""
    registers = pipeline.transformer.register_tokens.shape[1]
    words = token_words(pipeline.tokenizer, text, length - registers)
    return np.concatenate([np.full(registers, SPECIAL), words])


def lower_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """PixArt: T5's window over the prompt as its pipeline cleans it, in lower case."""
    return token_words(pipeline.tokenizer, text.lower().strip(), length)


def sana_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """Sana: the first token and the last `length - 1` of its instruction followed by the prompt."""
    parameters = inspect.signature(pipeline.__call__).parameters
    instruction = "\n".join(parameters["complex_human_instruction"].default or ())
    before = len(pipeline.tokenizer.encode(instruction)) - 2 if instruction else 0
    spans = [
        (start + len(instruction), end + len(instruction))
        for start, end in word_spans(text.lower().strip())
    ]
    full_text = instruction + text.lower().strip()
    token_words = _by_spans(pipeline.tokenizer, full_text, spans, before + length)
    return np.concatenate([token_words[:1], token_words[len(token_words) - length + 1 :]])


def cleaned_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """PRX: the prompt as its pipeline cleans it; a word that cleaning leaves out has no token."""
    cleaned, tokenizer = pipeline.text_preprocessor.clean_text(text), pipeline.tokenizer
    indices = np.array([*matched_words(split_words(text), split_words(cleaned)), SPECIAL])
    # an index of -1 is that of the last, which is none
    return _moved_right(tokenizer, cleaned, indices[token_words(tokenizer, cleaned, length)])


def matched_words(words: Sequence[str], cleaned: Sequence[str]) -> list[int]:
    """The index of the word that each word of a cleaned text comes from; -1 where that cannot be told.

    Words that are equal but for case and punctuation match in their order; between two matches, one word for several, or as
    many for as many.
    """
    a, b = [plain(word) for word in words], [plain(word) for word in cleaned]
    indices = []
    for _, start, stop, first, last in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for number in range(last - first):
            if stop - start == last - first:
                indices.append(start + number)
            else:
                indices.append(start if stop - start == 1 else SPECIAL)
    return indices


def left_padded_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """CogView4: the prompt's tokens are the last ones, for padding comes before them."""
    tokens = len(
        pipeline.tokenizer(text, truncation=True, max_length=length, verbose=False).input_ids
    )
    words = token_words(pipeline.tokenizer, text, min(tokens, length))
    return np.concatenate([np.full(length - len(words), SPECIAL), words])


def pieces_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """Kolors: padding, two tokens of the beginning, and the pieces of a tokenizer that tells no offsets.

    Raises:
        ModelError: the pieces hold another number of words than the prompt.
    """
    tokenizer = pipeline.tokenizer
    words = piece_words(tokenizer.tokenize(text))
    if max(words, default=SPECIAL) + 1 != len(split_words(text)):
        raise ModelError(
            f"the prompt {text[:80]!r} is read as {max(words) + 1} words, so which tokens are which word cannot be told. Write it "
            "with plain spaces between the words, or leave out the measures of words."
        )
    begin = len(tokenizer.build_inputs_with_special_tokens([]))
    words = words[: length - begin]
    return np.array([*[SPECIAL] * (length - len(words)), *words])


def piece_words(pieces: Sequence[str]) -> list[int]:
    """The word of each piece of a text whose spaces are SPACE; a piece of spaces alone belongs to the word behind it, if there is one."""
    words, word, inside = [], SPECIAL, False
    for piece in pieces:
        words.append(word if inside and not piece.startswith(SPACE) else word + 1)
        for mark in piece:
            word += mark != SPACE and not inside
            inside = mark != SPACE
    return [each if each <= word else SPECIAL for each in words]


def chat_layout(
    pipeline: Any, text: str, length: int, right: bool = False, **options: Any
) -> Int[np.ndarray, " length"]:
    """Z-Image, FLUX.2 Klein: a chat of one message, as the tokenizer's own template has it.

    Args:
        right: padding is left out, or comes after the text whatever the tokenizer does.
        options: of the template.
    """

    def render(content: str) -> str:
        message = {"role": "user", "content": content}
        return pipeline.tokenizer.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True, **options
        )

    layout = rendered_layout(pipeline.tokenizer, render, text, length)
    return layout if right else _moved_right(pipeline.tokenizer, render(text), layout)


def _moved_right(
    tokenizer: Any, text: str, layout: Int[np.ndarray, " length"]
) -> Int[np.ndarray, " length"]:
    """The layout of a text whose padding comes before it, where the tokenizer pads on the left."""
    if tokenizer.padding_side != "left":
        return layout
    tokens = tokenizer(text, truncation=True, max_length=len(layout), verbose=False).input_ids
    return np.roll(layout, len(layout) - len(tokens))


def instructed_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """Qwen-Image: the pipeline's own template, of which the first tokens are left out."""
    left_out = pipeline.prompt_template_encode_start_idx
    render = pipeline.prompt_template_encode.format
    return rendered_layout(pipeline.tokenizer, render, text, left_out + length)[left_out:]


def suffixed_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """Krea 2: a template of which the first tokens are left out, padding, and the template's end."""
    tokenizer, left_out = pipeline.tokenizer, pipeline.prompt_template_encode_start_idx
    end = len(tokenizer(pipeline.prompt_template_encode_suffix).input_ids)
    before = pipeline.prompt_template_encode_prefix
    window = left_out + length - end
    layout = rendered_layout(tokenizer, lambda prompt: before + prompt, text, window)
    layout = _moved_right(tokenizer, before + text, layout)
    return np.concatenate([layout[left_out:], np.full(end, SPECIAL)])


def processor_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """FLUX.2: a chat of a system message and the prompt, by a processor of texts and images."""
    processor = pipeline.tokenizer

    def render(prompt: str) -> str:
        texts = {"system": pipeline.system_message, "user": prompt}
        messages = [
            {"role": role, "content": [{"type": "text", "text": content}]}
            for role, content in texts.items()
        ]
        return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)

    tokenizer, begin = processor.tokenizer, processor.tokenizer.bos_token
    started = begin is not None and render(text).startswith(begin)
    # a processor adds no second token of the beginning
    encode = partial(tokenizer, add_special_tokens=False) if started else tokenizer
    layout = rendered_layout(encode, render, text, length)
    if tokenizer.padding_side != "left":
        return layout
    tokens = encode(render(text), truncation=True, max_length=length, verbose=False).input_ids
    return np.roll(layout, length - len(tokens))


def system_layout(pipeline: Any, text: str, length: int) -> Int[np.ndarray, " length"]:
    """Lumina2: the prompt behind a system prompt."""
    before = f"{pipeline.system_prompt} <Prompt Start> "
    return rendered_layout(pipeline.tokenizer, lambda prompt: before + prompt, text, length)


def rendered_layout(
    tokenizer: Any, render: Callable[[str], str], text: str, length: int
) -> Int[np.ndarray, " length"]:
    """The words of a prompt inside a longer text, by the tokenizer's offsets.

    Args:
        tokenizer: of the longer text.
        render: makes the longer text of a prompt.
        text: the prompt.
        length: of the window.

    Raises:
        ModelError: the prompt does not stand in the longer text as it is.
    """
    before = render(MARK).partition(MARK)[0]
    whole_text, plain_text = render(text), text.strip()
    start = len(before) + (len(text) - len(text.lstrip()))
    if not whole_text.startswith(plain_text, start):
        start = len(before)  # a template that strips its messages
    if not whole_text.startswith(plain_text, start):
        raise ModelError(
            f"the prompt {text[:80]!r} does not stand in the tokenizer's chat template as it is, so its words cannot be told. "
            "Leave out the measures of words."
        )
    spans = [(start + begin, start + end) for begin, end in word_spans(plain_text)]
    return _by_spans(tokenizer, whole_text, spans, length)


def _fit(layout: Int[np.ndarray, " short"], length: int) -> Int[np.ndarray, " length"]:
    return np.concatenate([layout, np.full(length - len(layout), SPECIAL)])


def word_average(
    layouts: Sequence[Int[np.ndarray, " token"]], words: int
) -> Float[Tensor, "b token column"]:
    """The matrix that turns attention per token into attention per word.

    Columns: the mean over each word's tokens (0 for a word that has none), then the sum over the
    special tokens, then the sum over all.
    """
    matrix = torch.zeros(len(layouts), len(layouts[0]), words + 2)
    for item, layout in enumerate(layouts):
        for position, word in enumerate(layout):
            share = 1.0 if word == SPECIAL else 1.0 / int((layout == word).sum())
            matrix[item, position, words if word == SPECIAL else int(word)] = share
    matrix[:, :, -1] = 1.0
    return matrix
