"""Concept banks: both bundled ones are whole; mistakes are named."""

from pathlib import Path

import pytest

from pipeline.concepts import read_concepts
from pipeline.errors import ConceptError
from pipeline.study import ConceptSource


@pytest.mark.parametrize("name", ["scenes", "general"])
def test_bundled_banks(name):
    bank = read_concepts(ConceptSource(Path(f"data/concepts/{name}.toml")))
    keys = [concept.key for concept in bank.concepts]
    assert len(keys) == len(set(keys)) >= 40
    assert all(concept.phrasings for concept in bank.concepts)


def test_families_are_chosen_and_checked():
    path = Path("data/concepts/general.toml")
    bank = read_concepts(ConceptSource(path, ("colour",)))
    assert {concept.family for concept in bank.concepts} == {"colour"} and len(bank.concepts) == 11
    with pytest.raises(ConceptError, match="flavour"):
        read_concepts(ConceptSource(path, ("flavour",)))


def test_doubled_concept(tmp_path):
    entry = '[[concept]]\nname = "a"\nfamily = "f"\nphrasings = ["a"]\n'
    (tmp_path / "bank.toml").write_text(f'name = "x"\n{entry}{entry}')
    with pytest.raises(ConceptError):
        read_concepts(ConceptSource(tmp_path / "bank.toml"))
