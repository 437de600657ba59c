import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from pipeline.models.words import (
    SPECIAL,
    cleaned_layout,
    matched_words,
    piece_words,
    plain,
    split_words,
    token_words,
    word_average,
    word_labels,
    word_roles,
)


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer.from_pretrained("data/models/scenes-unet/tokenizer")


def test_every_token_belongs_to_its_word(tokenizer):
    text = "a cat left of an unknown-thing"
    layout = token_words(tokenizer, text, 40)
    ids = tokenizer(text).input_ids
    tokens = tokenizer.convert_ids_to_tokens(ids)
    for index, word in enumerate(split_words(text)):
        tokens_of = [t for t, w in zip(tokens, layout, strict=False) if w == index]
        assert "".join(tokens_of).replace("</w>", "") == word
    assert layout[0] == SPECIAL
    assert set(layout[len(ids) - 1 :]) == {SPECIAL}


def test_words_beyond_the_window_have_no_token(tokenizer):
    layout = token_words(tokenizer, "a cat on a plain red background", 5)
    assert list(layout) == [-1, 0, 1, 2, -1]


@given(st.text(max_size=60))
def test_any_text_gives_a_layout(text):
    tokenizer = CLIPTokenizer.from_pretrained("data/models/scenes-unet/tokenizer")
    layout = token_words(tokenizer, text, 16)
    assert len(layout) == 16
    assert layout.max() < max(1, len(split_words(text)))


def test_roles_take_the_first_free_place():
    roles = {"subject": ("cat",), "relation": ("left of",), "object": ("cat",)}
    tagged = word_roles("A cat, left of a cat.", roles)
    assert tagged == ["", "subject", "relation", "relation", "", "object"]


def test_a_phrase_that_does_not_stand_as_it_is_is_found_word_by_word():
    assert word_roles("big red dog", {"attribute": ("red big",)}) == ["attribute"] * 2 + [""]


def test_a_role_that_is_not_there_is_nowhere():
    assert word_roles("a dog", {"object": ("zebra",)}) == ["", ""]


def test_repeated_words_are_told_apart():
    assert word_labels("a cat a dog a") == ["a", "cat", "a (2)", "dog", "a (3)"]


def test_plain_words_have_no_punctuation():
    assert plain("“Cat’s,") == "cat’s"


def test_the_average_of_a_word_is_over_its_tokens(tokenizer):
    layout = token_words(tokenizer, "a zebra", 16)
    matrix = word_average([layout], 2)[0]
    assert matrix[:, :2].sum(0).tolist() == pytest.approx([1, 1])
    assert float(matrix[:, 2].sum()) == (layout == SPECIAL).sum()
    assert float(matrix[:, 3].sum()) == 16


@pytest.mark.parametrize(
    ("text", "cleaned", "indices"),
    [
        ("A Red dog, left of it.", "a red dog, left of it.", [0, 1, 2, 3, 4, 5]),
        ("see www.a.com a dog", "see a dog", [0, 2, 3]),
        ("a red/blue (dog)", "a red blue dog", [0, 1, 1, 2]),
        ("a dog's cat", "a dog`s cat", [0, 1, 2]),
        ("one two three end", "1 2 end", [SPECIAL, SPECIAL, 3]),
        ("a a a dog", "a a dog", [1, 2, 3]),
        ("", "", []),
    ],
)
def test_words_are_found_again_in_a_cleaned_text(text, cleaned, indices):
    """What cannot be told belongs to no word."""
    assert matched_words(split_words(text), split_words(cleaned)) == indices


class Cleans:
    """A pipeline that leaves out links and lowers the case, as PRX does, with the bundled tokenizer."""

    def __init__(self, tokenizer):
        self.tokenizer, self.text_preprocessor = tokenizer, self

    def clean_text(self, text):
        return " ".join(word.lower() for word in text.split() if "www." not in word)


def test_the_tokens_of_a_cleaned_prompt_are_its_words(tokenizer):
    layout = cleaned_layout(Cleans(tokenizer), "A dog www.dogs.com and a CAT", 16)
    ids = tokenizer("a dog and a cat").input_ids
    words = [tokenizer.decode(ids[position]).strip() for position in (layout == 5).nonzero()[0]]
    assert words == ["cat"] and 2 not in layout and set(layout) == {SPECIAL, 0, 1, 3, 4, 5}


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["\u2581a", "\u2581", "d", "og"], [0, 1, 1, 1]),
        (["\u2581a\u2581red", "\u2581", "\u2581", "dog", "\u2581"], [0, 2, 2, 2, SPECIAL]),
        (["<0xE7>", "<0x8C>"], [0, 0]),
        ([], []),
    ],
)
def test_pieces_belong_to_the_words_that_spaces_part(pieces, words):
    assert piece_words(pieces) == words
