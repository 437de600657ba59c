"""Slices: what they ask for, that every view counts only their prompts, and that saved ones come back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from app.analysis import slices
from app.database import notebook
from app.database.notebook import ReviewError
from app.figures import export
from app.ui import queries
from tests.support.pages import VIEWS, Open, shown

NONE = {
    "text": "",
    "fewest": None,
    "most": None,
    "roles": [],
    "tags": [],
    "tagged": None,
    "measure": "",
    "low": None,
    "high": None,
    "top": 0,
    "direction": -1,
    "x_low": None,
    "x_high": None,
    "y_low": None,
    "y_high": None,
}


def test_nothing_chosen_is_no_slice():
    assert slices.question({}) is None
    assert slices.question({"slice_text": "  ", "slice_roles": [], "slice_top": 5}) is None
    assert slices.question({"slice_by": "final"}) is None, "ranked by, but all are kept"


def test_a_slice_in_words():
    asked = slices.question(
        {"slice_text": "cat", "slice_fewest": 3, "slice_by": "final", "slice_top": 10}
    )
    assert slices.sentence(asked) == (
        "text has “cat”; at least 3 words; the 10 highest by final similarity to the prompt"
    )


@pytest.mark.parametrize(
    ("filters", "where"),
    [
        ({"text": "CAT"}, "contains(lower(text), 'cat')"),
        ({"fewest": 6, "most": 8}, "words BETWEEN 6 AND 8"),
        ({"roles": ["relation"]}, "json_array_length(roles, '$.relation') > 0"),
        (
            {"measure": "final", "low": 0.25},
            "prompt_id IN (SELECT prompt_id FROM rollup_prompt WHERE concept_id = 0 "
            "GROUP BY 1 HAVING avg(final) >= 0.25)",
        ),
        (
            {"measure": "auc", "top": 5, "direction": -1},
            "prompt_id IN (SELECT prompt_id FROM rollup_prompt WHERE concept_id = 0 "
            "GROUP BY 1 ORDER BY avg(auc) DESC LIMIT 5)",
        ),
        (
            {"measure": "emergence", "top": 3, "direction": 1},
            "prompt_id IN (SELECT prompt_id FROM rollup_prompt JOIN mention USING (prompt_id, concept_id) "
            "GROUP BY 1 ORDER BY avg(emergence_step) NULLS LAST, prompt_id LIMIT 3)",
        ),
        (
            {"x_low": -0.1, "y_low": -0.2, "y_high": 0.1},
            "prompt_id IN (SELECT prompt_id FROM path WHERE list_last(x) >= -0.1 AND list_last(y) BETWEEN -0.2 AND 0.1)",
        ),
        (
            {"x_high": 0.458},
            "prompt_id IN (SELECT prompt_id FROM path WHERE list_last(x) <= 0.458)",
        ),
    ],
)
def test_the_prompts_of_a_slice(filters, where, snapshot, scope, direct):
    prompts = queries.ask_scope(snapshot, "slice_prompts", scope, **{**NONE, **filters})
    wanted = direct.execute(f"SELECT prompt_id FROM prompt WHERE {where} ORDER BY 1").fetchall()
    assert prompts["prompt_id"].tolist() == [each for (each,) in wanted]
    assert wanted


def test_a_region_asks_for_images_of_the_models_and_seeds_shown(snapshot, scope, direct):
    ends = direct.execute(
        "SELECT prompt_id, list_last(x) FROM path WHERE model_id = 2 AND seed = 1 ORDER BY 2"
    ).fetchall()
    (prompt, least), (_, second) = ends[:2]
    part = replace(scope, models=(2,), seeds=(1,))
    asked = {**NONE, "x_high": (least + second) / 2}
    assert queries.ask_scope(snapshot, "slice_prompts", part, **asked)["prompt_id"].tolist() == [
        prompt
    ]


def test_a_dragged_rectangle_is_a_region_and_nothing_else_is():
    state = slices.region({"x": [0.25, -0.123456], "y": [0.0, 0.5]})
    assert state == {"slice_x_low": -0.1235, "slice_x_high": 0.25, "slice_y_low": 0.0, "slice_y_high": 0.5}  # fmt: skip
    words = slices.tokens(state)
    assert words == ("x_low=-0.1235", "x_high=0.25", "y_low=0.0", "y_high=0.5"), "0 is a limit"
    assert slices.parsed(words) == state
    assert slices.sentence(slices.question(state) or {}) == "on the map at x -0.1235 to 0.25, y 0 to 0.5"  # fmt: skip
    open_ended = slices.question({"slice_x_low": 0.0, "slice_y_high": 1.0})
    assert slices.sentence(open_ended or {}) == "on the map at x from 0, y to 1"
    for brush in (
        {}, {"x": [0, 1]}, {"x": [0, 1], "y": [0]}, {"x": [0, "1"], "y": [0, 1]}, {"x": [0, 1e9], "y": [0, 1]},
        {"x": [0, float("nan")], "y": [0, 1]}, {"x": {"a": 1}, "y": [0, 1]}, {"x": [True, 1], "y": [0, 1]},
    ):  # fmt: skip
        assert slices.region(brush) == {}


def test_curves_count_the_slice_alone(snapshot, scope, direct):
    part = replace(scope, prompts=(3, 4, 5))
    assert not part.whole_categories
    curve = queries.curves(snapshot, part, [0]).query("model_id == 1 and step == 2").iloc[0]
    ((mean,),) = direct.execute(
        "SELECT avg(similarity[3]) FROM rollup_prompt "
        "WHERE model_id = 1 AND concept_id = 0 AND prompt_id IN (3, 4, 5)"
    ).fetchall()
    assert curve["prompts"] == 3
    assert curve["mean"] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_on_a_slice_and_on_an_empty_one(view: str, open_view: Open, results: Path):
    app = open_view(view, results, slice_by=slices.MEASURES["final"], slice_top="5")
    assert not app.exception
    assert any("5 prompts" in each.value for each in app.caption)
    app = open_view(view, results, slice_text="no prompt says this")
    assert not app.exception
    assert any("0 prompts" in each.value for each in app.caption)


def test_a_saved_slice_comes_back(open_view: Open, altered):
    study = altered()
    app = open_view("overview", study, slice_text="cat")
    app.text_input(key="slice_name").set_value("Cats, *bold*")
    app.button(key="slice_save").click().run()
    assert not app.exception
    assert slices.saved(notebook.store_of(study)) == {"Cats, *bold*": {"slice_text": "cat"}}

    other = open_view("overview", study)
    before = shown(other)
    other.button(key="slice_use_0").click().run()
    assert other.text_input(key="slice_text").value == "cat"
    assert shown(other) != before
    other.button(key="slice_drop_0").click().run()
    assert slices.saved(notebook.store_of(study)) == {}


def test_a_slice_that_says_nothing_is_not_saved(tmp_path):
    with pytest.raises(ReviewError, match="All prompts are shown"):
        slices.save(tmp_path / "reviews.sqlite", "all", {})
    with pytest.raises(ReviewError, match="1 to 60"):
        slices.save(tmp_path / "reviews.sqlite", " \n", {"slice_text": "cat"})


@pytest.mark.parametrize(
    "filters",
    [
        "[]",
        "{",
        '{"slice_tags": 3, "slice_fewest": "2"}',
        '{"slice_top": "many", "step": 3}',
        '{"slice_by": "drop table", "slice_order": 7}',
    ],
)
def test_a_saved_slice_from_elsewhere_is_not_trusted(filters, tmp_path):
    store = tmp_path / "reviews.sqlite"
    slices.save(store, "a", {"slice_text": "cat"})
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE slice SET filters = ?", (filters,))
    assert slices.saved(store) == {"a": {}}


def test_a_slice_on_the_command_line_and_back():
    state = {
        "slice_text": "a cat",
        "slice_roles": ["subject", "object"],
        "slice_by": "final",
        "slice_tags": [3, 9],
        "slice_top": 5,
        "slice_low": 0.0,
    }
    words = slices.tokens(state)
    roles, tags = ("roles=subject", "roles=object"), ("tags=3", "tags=9")
    assert words == ("text=a cat", *roles, *tags, "by=final", "low=0.0", "top=5")
    assert slices.question(slices.parsed(words)) == slices.question(state)
    assert slices.tokens({"slice_by": "final"}) == ()


@pytest.mark.parametrize(
    "word",
    [
        "cat",
        "colour=red",
        "roles=verb",
        "by=price",
        "top=-1",
        "top=1e3",
        "low=nan",
        "low=x",
        "x_low=x",
        "y_high=inf",
        "tags=0",
        "tags=x",
    ],
)
def test_a_wrong_slice_on_the_command_line_is_one_clear_error(word, results, tmp_path, capsys):
    arguments = [
        str(results),
        "--figure",
        "concept-curves",
        "--out",
        str(tmp_path / "f"),
        "--slice",
        word,
    ]
    assert export.main(arguments) == 2
    assert "--slice: " in capsys.readouterr().err
    assert not (tmp_path / "f").exists()


def test_a_figure_of_a_slice_counts_its_prompts_and_says_so(results, tmp_path):
    arguments = [
        str(results),
        "--figure",
        "concept-curves",
        "--out",
        str(tmp_path),
        "--slice",
        "by=final",
        "top=5",
    ]
    assert export.main(arguments) == 0
    manifest = json.loads((tmp_path / "concept-curves.manifest.json").read_text())
    caption = next(tmp_path.rglob("*caption*")).read_text()
    assert "the 5 highest by final similarity to the prompt" in caption
    assert "--slice by=final top=5" in manifest["command"]
