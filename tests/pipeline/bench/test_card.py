"""The model card says what tests have noted, and nothing else."""

from pathlib import Path

from pipeline.bench.card import FIDELITY, HEAD, MEASURES, SETTINGS, mapping_table, show
from tests.support.families import NAMES


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


def test_the_card_that_is_kept_has_every_tested_pipeline_and_no_gap():
    card = Path("docs/model-card.md").read_text()
    assert card.startswith(HEAD) and "**not shown**" not in card
    tested = {
        line.split(" | ")[1]
        for line in card.splitlines()
        if line.startswith("| ") and "Pipeline" in line
    }
    assert set(NAMES) <= tested


def test_every_class_of_the_mapping_of_the_installed_diffusers_has_its_row():
    """A new release shows its new classes here: run the trial on a tiny one, then `python -m pipeline.bench.card`."""
    table = mapping_table()
    assert table in Path("docs/model-card.md").read_text()
    assert "| Flux2KleinPipeline | learnt, tried |" in table  # though it takes an image too
    assert (
        "| StableDiffusionControlNetPipeline | refused: makes no image of a prompt alone" in table
    )
