"""The study that comes with Stepscope: where it is found, what it says of itself, and that nothing is written beside it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import stepscope
from app.analysis import shipped
from app.database import notebook, snapshots
from app.database.notebook import store_of
from pipeline.database.compact import Cuts, compact
from stepscope.errors import StudyError
from tests.support.pages import VIEWS, Open, shown

NOTED = {
    "made_on": "2026-11-28",
    "machine": "a processor, 1 thread a worker",
    "command": "make reference",
    "prompts_with_pictures": 2,
}


@pytest.fixture
def root(tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder whose only study is the shipped one, read-only."""
    reference = tmp_path / "data" / "reference"
    shutil.copytree(results / "snapshots", reference / "snapshots")
    shutil.copy(results / "current.json", reference)
    path = reference / json.loads((reference / "current.json").read_text())["snapshot"]
    with duckdb.connect(str(path)) as db:
        db.execute("UPDATE study SET environment = ?", [json.dumps({"shipped": NOTED})])
        db.execute(
            "DELETE FROM frame WHERE sample_id IN (SELECT sample_id FROM sample WHERE prompt_id > 2)"
        )
    for module in (snapshots, notebook):
        monkeypatch.setattr(module, "SHIPPED", reference)
        monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def test_it_is_found_alone_and_comes_last_beside_others(root: Path) -> None:
    reference = root / "data" / "reference"
    assert snapshots.find_studies([], root) == (reference,)
    assert shipped.name_of(reference) == "reference (shipped)"
    demo = root / "data" / "results" / "demo"
    demo.mkdir(parents=True)
    (demo / "current.json").write_text("{}")
    os.utime(demo / "current.json", (1e9, 1e9))  # older than the shipped one
    assert snapshots.find_studies([], root) == (demo, reference)
    assert shipped.name_of(demo) == "demo"


def test_its_reviews_are_kept_among_the_machines_results(root: Path) -> None:
    reference = root / "data" / "reference"
    before = sorted(path.name for path in reference.rglob("*"))
    store = store_of(reference)
    assert not store.parent.exists()  # a fresh clone
    assert store == root / "data" / "results" / "reference.reviews.sqlite"
    notebook.write(store)  # no statement: it makes the file and its tables
    assert store.exists() and sorted(path.name for path in reference.rglob("*")) == before
    demo = root / "data" / "results" / "demo"
    demo.mkdir()
    assert store_of(demo) == demo / "reviews.sqlite"


def test_its_pages_say_that_it_was_shipped_and_what_was_not(open_view: Open, root: Path) -> None:
    reference = root / "data" / "reference"
    app = open_view("overview", reference)
    assert not app.exception
    prose = shown(app).replace("\\", "")
    assert "Shipped with Stepscope: made on 2026-11-28 on a processor" in prose
    assert "Not shipped: frames and maps of prompts after the first 2" in prose
    app = open_view("timesteps", reference)
    assert not app.exception and "No frames of these prompts" not in shown(app)
    app.multiselect(key="shown").set_value([5]).run()
    assert not app.exception
    assert "Not shipped: frames and maps" in shown(app)


@pytest.fixture(scope="module")
def cut(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the study with the similarities of unnamed concepts of two prompts alone."""
    folder = tmp_path_factory.mktemp("cut")
    whole = Path(shutil.copytree(results, folder / "whole"))
    compact(whole, folder / "demo", Cuts(3, unnamed=2, spectra=3))
    return folder / "demo"


@pytest.mark.long
@pytest.mark.parametrize("view", VIEWS)
def test_a_study_of_named_pairs_offers_nothing_that_needs_others(
    view: str, open_view: Open, cut: Path
) -> None:
    for link in ({}, {"slice_text": "a", "seeds": "1"}, {"families": "colour"}, {"slice_text": "no prompt"}):  # fmt: skip
        app = open_view(view, cut, **link)
        assert not app.exception
        assert not [each for each in app.get("button_group") if each.key == "which"]
    if view == "overview":
        prose = shown(open_view(view, cut)).replace("\\", "")
        assert "similarities of the first 2 prompts are shipped" in prose
        assert "Power spectra are those of the first 3 prompts" in prose


def test_its_numbers_of_named_pairs_are_those_of_the_whole_study(results: Path, cut: Path) -> None:
    with stepscope.open(results) as whole, stepscope.open(cut) as part:
        for filters in ({}, {"slice": {"text": "a", "by": "final", "top": 15}}, {"seeds": [1]}):
            for ask in (
                lambda study, some=filters: study.curves(**some),
                lambda study, some=filters: study.compare("UNet", "Transformer", **some),
                lambda study, some=filters: study.emergence(**some),
            ):
                pd.testing.assert_frame_equal(ask(part), ask(whole))
        assert len(whole.curves(pairs="all"))
        with pytest.raises(StudyError, match="shipped with the similarities of named concepts"):
            part.curves(pairs="all")


@pytest.mark.parametrize(
    "environment",
    ["", "no JSON", "[]", "{}", '{"shipped": 3}', '{"shipped": []}', '{"shipped": {}}', "[" * 9999],
)
def test_another_study_says_nothing(environment: str) -> None:
    assert shipped.sentence(environment) == shipped.left_out(environment) == ""
    assert shipped.pictured(environment) is None


def test_a_record_of_other_kinds_is_told_as_far_as_it_goes() -> None:
    text = json.dumps({"shipped": {"made_on": ["x"], "prompts_with_pictures": "many"}})
    assert shipped.sentence(text).startswith("Shipped with Stepscope: made on")
    assert shipped.left_out(text) == ""
