"""The bar at the top of every page: one comparison, chips with undo, links that pin their snapshot."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from app.ui import chips, sides
from pipeline.database.publish import publish
from tests.support.pages import VIEWS, Open, shown


def chip_texts(app: AppTest) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", b.label) for b in app.button if str(b.key).startswith("chip_")]


@pytest.mark.parametrize("view", VIEWS)
def test_the_pair_is_chosen_at_the_top_of_every_page(
    view: str, open_view: Open, results: Path
) -> None:
    app = open_view(view, results, baseline="Transformer", candidate="UNet")
    boxes = [box for box in app.selectbox if box.label in ("Baseline", "Candidate")]
    assert [(box.key, box.value) for box in boxes[:2]] == [
        ("baseline", "Transformer"),
        ("candidate", "UNet"),
    ]
    assert sum(box.label == "Baseline" for box in app.selectbox) == 1, "no page has its own"


def test_the_pair_is_kept_across_pages(open_view: Open, results: Path) -> None:
    app = open_view("overview", results)
    assert app.selectbox(key="candidate").value == sides.ALL
    app.selectbox(key="baseline").select("Transformer").run()
    app.selectbox(key="candidate").select("UNet (quarter)").run()
    for view in ("models", "prompts", "review", "figures"):
        app.switch_page(f"views/{view}.py").run()
        page = app.session_state["_page"]
        assert page.label(page.baseline) == "Transformer", view
        assert [page.label(i) for i in page.candidates] == ["UNet (quarter)"], view
    app.switch_page("views/review.py").run()
    assert "**UNet \\(quarter\\)** against **Transformer**" in shown(app)


def test_a_candidate_that_becomes_the_baseline_changes_places(
    open_view: Open, results: Path
) -> None:
    app = open_view("models", results, baseline="UNet", candidate="Transformer")
    app.selectbox(key="baseline").select("Transformer").run()
    assert app.selectbox(key="candidate").value == "UNet"


@pytest.mark.parametrize(
    ("link", "candidates"),
    [
        ("UNet", ["UNet"]),
        (["UNet", "UNet (quarter)"], ["UNet", "UNet (quarter)"]),
        ("no such model", ["UNet", "UNet (quarter)"]),
    ],
)
def test_links_of_earlier_versions_lead_to_the_same_pair(
    link: str | list[str], candidates: list[str], open_view: Open, results: Path
) -> None:
    app = open_view("models", results, baseline="Transformer", candidates=link)
    page = app.session_state["_page"]
    assert [page.label(i) for i in page.candidates] == candidates
    assert "candidates" not in app.query_params


def test_the_chips_name_every_filter_and_remove_it(open_view: Open, results: Path) -> None:
    app = open_view(
        "models", results, seeds="1", families=["object", "colour"], slice_text="a", slice_most="9"
    )
    assert chip_texts(app) == [
        "Families: object, colour",
        "Seeds: 1",
        "Text has “a”",
        "At most 9 words",
    ]
    app.button(key="chip_2").click().run()
    assert app.session_state["slice_text"] == ""
    assert chip_texts(app) == ["Families: object, colour", "Seeds: 1", "At most 9 words"]
    app.button(key="chip_0").click().run()
    assert chip_texts(app) == ["Seeds: 1", "At most 9 words"]
    for _ in range(2):
        app.button(key="undo").click().run()
    assert chip_texts(app)[0] == "Families: object, colour" and len(chip_texts(app)) == 4
    assert not [b for b in app.button if b.key == "undo"], "nothing is left to undo"


def test_undo_takes_back_what_a_control_changed(open_view: Open, results: Path) -> None:
    app = open_view("overview", results)
    assert not chip_texts(app) and not [b for b in app.button if b.key == "undo"]
    app.multiselect(key="seeds").set_value([1]).run()
    app.multiselect(key="seeds").set_value([0]).run()
    app.switch_page("views/models.py").run()
    app.button(key="undo").click().run()
    assert app.session_state["seeds"] == [1]
    app.button(key="undo").click().run()
    assert app.session_state["seeds"] == [] and not chip_texts(app)


def test_every_filter_has_a_chip() -> None:
    """Against the list of filters that pages carry."""
    from app.ui import links

    assert set(chips.KEYS) == set(links.FILTERS) - {"study", "baseline", "candidate", "step"}


@pytest.fixture
def published(results: Path, tmp_path: Path) -> Path:
    """A study of two snapshots."""
    folder = Path(shutil.copytree(results, tmp_path / "demo"))
    publish(folder)
    return folder


def number(app: AppTest) -> int:
    return int(app.session_state["_page"].study["snapshot"])


def test_a_pinned_link_shows_its_snapshot_and_warns(open_view: Open, published: Path) -> None:
    app = open_view("models", published, snapshot="1")
    assert number(app) == 1
    assert "This link shows snapshot 1; snapshot 2 is newer." in shown(app)
    app.switch_page("views/timesteps.py").run()
    assert number(app) == 1 and app.query_params["snapshot"] in ("1", ["1"])
    app.button(key="unpin").click().run()
    assert number(app) == 2 and "snapshot" not in app.query_params
    assert "is newer" not in shown(app)
    app.run()
    assert number(app) == 2


@pytest.mark.parametrize("view", ["overview", pytest.param("review", marks=pytest.mark.thorough)])
def test_a_link_that_pins_the_newest_says_nothing(
    view: str, open_view: Open, published: Path
) -> None:
    app = open_view(view, published, snapshot="2")
    assert number(app) == 2 and "is newer" not in shown(app) and not app.warning


def test_a_link_to_a_snapshot_that_is_gone_says_so(open_view: Open, published: Path) -> None:
    pointer = json.loads((published / "current.json").read_text())["snapshot"]
    (published / "snapshots" / Path(pointer).name.replace("000002", "000001")).unlink()
    app = open_view("models", published, snapshot="1")
    assert number(app) == 2
    assert "snapshot 1 of this study, which was removed" in app.warning[0].value
    assert "snapshot" not in app.query_params
    app.run()
    assert not app.warning, "it is said once"


@pytest.mark.parametrize(
    "value",
    [
        "../../etc/passwd",
        *(
            pytest.param(each, marks=pytest.mark.thorough)
            for each in ("-1", "1e3", "0", "9" * 400, "٣")
        ),
    ],
)
def test_a_pin_that_is_no_number_is_ignored(value: str, open_view: Open, published: Path) -> None:
    app = open_view("models", published, snapshot=value)
    assert not app.exception and number(app) == 2


def test_a_pin_never_leads_out_of_the_folder(
    open_view: Open, published: Path, altered: Callable[..., Path], tmp_path: Path
) -> None:
    other = altered("UPDATE study SET title = 'beyond the folder'")
    target = next((other / "snapshots").glob("*.duckdb"))
    (published / "snapshots" / "demo-000009.duckdb").symlink_to(target)
    app = open_view("models", published, snapshot="9")
    assert number(app) == 2 and "beyond the folder" not in shown(app)
    with duckdb.connect(str(target), read_only=True) as connection:
        assert connection.execute("SELECT title FROM study").fetchone() == ("beyond the folder",)
