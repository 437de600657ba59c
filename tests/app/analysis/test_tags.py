"""Tags of prompts: kept beside the study, given and taken by the keys 1 to 9, usable as a slice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from app.analysis import slices, tags
from app.database import notebook
from app.database.notebook import ReviewError
from tests.support.pages import Open, shown


def test_a_tag_is_given_and_taken(tmp_path: Path) -> None:
    store = tmp_path / "reviews.sqlite"
    assert tags.by_prompt(store) == {}
    for key, tag in (("a", 3), ("b", 1), ("a", 1), ("b", 9)):
        tags.toggle(store, key, tag)
    assert tags.by_prompt(store) == {"a": [1, 3], "b": [1, 9]}
    assert tags.tagged(store, [3]) == ["a"]
    assert tags.tagged(store, [1, 9]) == ["a", "b"]
    tags.toggle(store, "a", 1)
    assert tags.tagged(store, [1]) == ["b"]


@pytest.mark.parametrize("tag", [0, 10, -1])
def test_there_are_nine_tags(tag: int, tmp_path: Path) -> None:
    store = tmp_path / "reviews.sqlite"
    tags.toggle(store, "a", 9)
    with pytest.raises(ReviewError):
        notebook.write(store, ("add_tag", {"prompt_key": "a", "tag": tag, "written_at": ""}))
    assert tags.by_prompt(store) == {"a": [9]}


def test_tags_join_a_file_of_reviews_that_has_none_yet(tmp_path: Path) -> None:
    store = tmp_path / "reviews.sqlite"
    slices.save(store, "cats", {"slice_text": "cat"})
    with sqlite3.connect(store) as connection:
        connection.execute("DROP TABLE tag")
    assert tags.by_prompt(store) == {}
    tags.toggle(store, "a", 2)
    assert tags.by_prompt(store) == {"a": [2]}
    assert list(slices.saved(store)) == ["cats"]


def test_a_tagged_prompt_is_a_slice_of_every_page(open_view: Open, results_copy: Path) -> None:
    keys = open_view("prompts", results_copy).dataframe[0].value["prompt_key"].tolist()
    for key in keys[:2]:
        app = open_view("prompts", results_copy, prompt=key)
        app.button(key="tag_4").click().run()
        assert not app.exception
        assert [app.button(key=f"tag_{n}").proto.type for n in (3, 4)] == ["tertiary", "primary"]
    table = open_view("prompts", results_copy, slice_tags="4").dataframe[0].value
    assert table["prompt_key"].tolist() == keys[:2]
    assert set(table["tags"]) == {"4"}
    models = open_view("models", results_copy, slice_tags="4")
    assert "2 prompts" in shown(models) and models.button(key="chip_0").label == "Tagged 4"
    app = open_view("prompts", results_copy, prompt=keys[0], slice_tags="4")
    app.button(key="tag_4").click().run()
    assert len(open_view("prompts", results_copy, slice_tags="4").dataframe[0].value) == 1
    assert not open_view("timesteps", results_copy, slice_tags="7").exception
