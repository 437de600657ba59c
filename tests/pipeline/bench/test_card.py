"""The model card says what tests have noted, and nothing else."""

from importlib.util import find_spec
from pathlib import Path

import diffusers
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

from pipeline.bench.card import (
    FIDELITY,
    HEAD,
    MEASURES,
    NOT_TRIED,
    SETTINGS,
    mapping_table,
    show,
    status,
)
from pipeline.bench.tried import NEEDING, TRIED
from pipeline.models.families import FAMILIES
from pipeline.preflight.models import class_problem
from tests.support.families import NAMES
from tests.support.tiny_kolors import KOLORS


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
    assert set(NAMES) - set(KOLORS) <= tested  # which need a package


def test_every_class_of_the_mapping_of_the_installed_diffusers_has_its_row():
    table = mapping_table()
    assert table in Path("docs/model-card.md").read_text()
    assert "| FluxKontextPipeline | works |" in table  # though it takes an image too
    assert "| Flux2KleinPipeline | entry |" in table
    assert (
        "| StableDiffusionControlNetPipeline | refused: makes no image of a prompt alone" in table
    )
    assert "| HeliosPipeline | refused: makes videos, not images." in table


def test_a_class_that_diffusers_adds_to_its_mapping_is_named_here():
    """For each: a tiny builder in tests/support, a row in pipeline/bench/tried.py, `python -m pipeline.bench.card`."""
    kinds = {kind.__name__ for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    assert [name for name in sorted(kinds) if status(name) == NOT_TRIED] == []


def test_deprecated_classes_are_named_as_such():
    assert status("WuerstchenCombinedPipeline").endswith("; deprecated")
    assert "deprecated" not in status("StableDiffusionPAGPipeline")


def test_what_is_tried_is_not_refused_by_its_class():
    assert {
        name: class_problem(getattr(diffusers, name)) for name in TRIED if name not in FAMILIES
    } == dict.fromkeys(set(TRIED) - set(FAMILIES), "")


def test_a_class_that_needs_a_package_says_so_in_its_row():
    """diffusers has a stand-in for a class whose package is missing."""
    for name in NEEDING:
        assert status(name) == f"entry; {NEEDING[name]}"
        is_there = issubclass(getattr(diffusers, name), diffusers.DiffusionPipeline)
        assert is_there == (find_spec("sentencepiece") is not None)
