"""The model card says what tests have noted, and nothing else."""

from pipeline.card import FIDELITY, MEASURES, SETTINGS, show


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
