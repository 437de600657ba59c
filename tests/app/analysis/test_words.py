"""Words: numbers of repeated ones, order, roles and sums."""

from __future__ import annotations

import pandas as pd
import pytest

from app.analysis import words


def test_a_word_that_comes_again_gets_a_number() -> None:
    rows = pd.DataFrame({"word_index": [0, 1, 2, 0, 1, 2], "word": ["a", "cat", "a"] * 2})
    assert words.numbered(rows) == ["a", "cat", "a (2)"] * 2
    two = pd.DataFrame({"prompt_id": [1, 1, 2], "word_index": [0, 1, 0], "word": ["a", "a", "a"]})
    assert words.numbered(two) == ["a", "a (2)", "a"]


def test_the_telling_words_stand_in_the_prompts_order() -> None:
    order = words.in_prompt_order("a cat, left of a Rocket", ["rocket", "of", "cat", "a", "a (2)"])
    assert order == ["a", "a (2)", "cat", "of", "rocket"]
    assert words.telling(order, 5) == ["cat", "rocket"]
    assert words.telling(order, 1) == ["cat"]
    assert words.telling(["a", "of"], 5) == ["a", "of"]  # rather than none


def test_attended_words_get_at_least_the_mean_of_the_words_with_a_role() -> None:
    rows = pd.DataFrame(
        {
            "prompt_id": [1, 1, 1, 1],
            "word": ["Cat", "red (2)", "of", "<end>"],
            "role": ["object", "attribute", "", "special"],
            "value": [0.5, 0.1, 0.9, 5.0],
        }
    )
    assert words.attended(rows) == {1: {"cat"}}


def test_a_roles_curve_is_the_mean_or_the_sum_of_its_words() -> None:
    rows = pd.DataFrame(
        {"model_id": 1, "role": ["object"], "step": 0, "prompts": 4,
         "total": 0.6, "total_sd": 0.2, "each": 0.3, "each_sd": 0.1}
    )  # fmt: skip
    mean = words.role_curves(lambda name, **_: rows, "attention").iloc[0]
    total = words.role_curves(lambda name, **_: rows, "attention", total=True).iloc[0]
    assert (mean["mean"], total["mean"]) == (0.3, 0.6)
    assert total["high"] - total["mean"] == pytest.approx(3.182446 * 0.1, rel=1e-6)


def test_sums_over_the_steps_keep_the_order_of_the_words() -> None:
    rows = pd.DataFrame(
        {"schedule": "late", "word": ["red", "cat"] * 2, "value": [0.1, 0.2, 0.3, 0.4]}
    )
    sums = words.sums_over_steps(rows, ["schedule"], ["cat", "red"])
    assert sums["word"].tolist() == ["cat", "red"]
    assert sums["value"].tolist() == pytest.approx([0.6, 0.4])


def test_relevance_is_shown_where_it_was_measured() -> None:
    assert words.default_source({"attention", "relevance"}) == "relevance"
    assert words.default_source(["attention"]) == "attention"


def test_sources_that_this_version_does_not_know_are_named() -> None:
    assert words.default_source(["attention", "later"]) == "attention"
    assert words.default_source(["later"]) == words.default_source([]) == ""
    assert words.unknown_sources(["attention", "later"]) == words.unknown_sources([]) == ""
    assert "'later', which this version does not know" in words.unknown_sources(["later"])
