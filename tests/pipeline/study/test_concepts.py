"""Concept banks: the shipped ones are whole, bad ones get one clear error."""

from pathlib import Path

import pytest

from pipeline.errors import ConceptError
from pipeline.study.concepts import read_concepts
from pipeline.study.spec import ConceptSource

GOOD = """
[[concept]]
name = "red"
family = "colour"
phrasings = ["red", "a red thing"]
[[concept]]
name = "cat"
family = "object"
phrasings = ["a cat"]
"""


@pytest.fixture
def read(tmp_path):
    def read(text, families=None):
        path = tmp_path / "bank.toml"
        path.write_text(text)
        return read_concepts(ConceptSource(path, families))

    return read


def test_a_bank(read):
    bank = read(GOOD)
    assert bank.name == "bank"
    assert [concept.key for concept in bank.concepts] == ["colour/red", "object/cat"]
    assert bank.concepts[0].phrasings == ("red", "a red thing")


def test_some_families(read):
    assert [c.name for c in read(GOOD, ("object",)).concepts] == ["cat"]
    with pytest.raises(ConceptError, match="no family 'objects'.*Did you mean 'object'"):
        read(GOOD, ("objects",))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (GOOD, "", "concept is missing"),
        ('name = "red"', "", "name is missing"),
        ('name = "red"', 'name = "a/b"', "is not a name"),
        ('name = "red"', 'name = "cat"\nkind = "x"', "kind is an unknown key"),
        ('family = "colour"', 'family = "prompt"', "stands for the whole prompt"),
        ('["red", "a red thing"]', "[]", "holds 0"),
        ('["red", "a red thing"]', '["red", "red"]', "'red' twice"),
        ('["red", "a red thing"]', '["red", 5]', "not text"),
        ('name = "cat"\nfamily = "object"', 'name = "red"\nfamily = "colour"', "'colour/red' is there twice"),
    ],
)  # fmt: skip
def test_a_bad_bank(read, old, new, says):
    with pytest.raises(ConceptError, match=says):
        read(GOOD.replace(old, new, 1))


@pytest.mark.parametrize("name", ["general", "scenes"])
def test_the_shipped_banks(name):
    bank = read_concepts(ConceptSource(Path(f"data/concepts/{name}.toml")))
    families = {concept.family for concept in bank.concepts}
    assert bank.name == name and len(bank.concepts) >= 35 and len(families) >= 5
    assert all(1 <= len(concept.phrasings) <= 4 for concept in bank.concepts)


def test_the_general_bank_has_the_basic_colour_terms():
    bank = read_concepts(ConceptSource(Path("data/concepts/general.toml"), ("colour",)))
    expected = [
        "black",
        "white",
        "red",
        "green",
        "yellow",
        "blue",
        "brown",
        "orange",
        "pink",
        "purple",
        "gray",
    ]
    assert sorted(concept.name for concept in bank.concepts) == sorted(expected)
