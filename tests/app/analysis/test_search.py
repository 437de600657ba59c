"""The search of prompts: words and phrases, all of which count."""

from __future__ import annotations

import pytest

from app.analysis import search


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("  ", []),
        ("cat", ["cat"]),
        ("cat  dog cat", ["cat", "dog"]),
        ('cat "on a blue" dog', ["cat", "on a blue", "dog"]),
        ('"on a blue', ["on a blue"]),
        ('"" " "', []),
        ('cat"a dog"', ["cat", "a dog"]),
        (" ".join(map(str, range(50))), [str(number) for number in range(search.MOST_TERMS)]),
    ],
)
def test_terms_of_a_search(text: str, terms: list[str]) -> None:
    assert search.terms(text) == terms
