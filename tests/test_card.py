"""The model card says what tests have noted, and nothing else."""

from pathlib import Path

import pytest

from pipeline.card import FIDELITY, HEAD, MEASURES, SETTINGS, in_readme, show


def test_cells_are_what_was_noted():
    cells = {"a": dict.fromkeys((*MEASURES, *FIDELITY, *SETTINGS), "yes")}
    cells["a"]["attention"] = cells["a"]["relevance"] = "no: it has no words"
    cells["a"]["not square"] = "refused"
    card = show({"a": "APipeline"}, cells)
    assert card.count("no (1)") == 2 and "1. it has no words" in card
    assert card.count("refused") == 1 and "**not shown**" not in card
    assert card.count("✓") == len((*MEASURES, *FIDELITY, *SETTINGS)) - 3


def test_what_no_test_has_noted_is_said_to_be_missing():
    card = show({"a": "APipeline"}, {"a": {"attention": "yes"}})
    assert card.count("**not shown**") == len((*MEASURES, *FIDELITY, *SETTINGS)) - 1


def test_the_readme_has_the_card_that_the_tests_filled():
    card = Path("docs/model-card.md").read_text().removeprefix(HEAD).strip()
    readme = Path("README.md").read_text()
    assert in_readme(readme, card) == readme and card.splitlines()[0] in readme


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="two lines"):
        in_readme("# A project", "| a |\n\n1. b")
