"""The Prompts page: from prompt to prompt, and the two models that are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pages import Open, shown


def test_a_reader_goes_from_prompt_to_prompt_in_the_order_of_the_table(
    open_view: Open, results: Path
) -> None:
    app = open_view("prompts", results)
    app.selectbox(key="sort").select("CLIP score, lowest first").run()
    keys = app.dataframe[0].value["prompt_key"].tolist()
    app.query_params["prompt"] = keys[0]
    app.run()
    assert app.button(key="prompt_previous").disabled
    for key in keys[1:3]:
        app.button(key="prompt_next").click().run()
        assert app.query_params["prompt"] == key
    app.button(key="prompt_previous").click().run()
    assert app.query_params["prompt"] == keys[1]
    assert "2 of 24" in shown(app)
    assert not app.exception


def test_the_table_shows_the_images_of_the_two_models_chosen(
    open_view: Open, results: Path
) -> None:
    app = open_view("prompts", results)
    for key, label in (("baseline", "Transformer"), ("candidate", "UNet")):
        app.selectbox(key=key).select(label).run()
    images = [name for name in app.dataframe[0].value if name.startswith("image_")]
    assert images == ["image_1", "image_3"]
    app.text_input(key="search").set_value('"a big" cat').run()
    assert not app.exception


def test_the_map_of_images_is_a_choice_and_outlines_the_region_in_force(
    open_view: Open, results: Path
) -> None:
    app = open_view("prompts", results)
    assert "Map of images" not in shown(app)
    app.toggle(key="map").set_value(True).run()
    assert not app.exception and "Map of images" in shown(app)
    total = app.dataframe[0].value.shape[0]
    app = open_view("prompts", results, map="true", slice_y_low="0.0", slice_y_high="0.2")
    assert not app.exception
    assert app.number_input(key="slice_y_high").value == 0.2
    assert any("On the map at y 0 to 0" in each.label for each in app.button)
    assert 0 < app.dataframe[0].value.shape[
        0
    ] < total or "of prompts that the slice leaves" in shown(app)
    app = open_view("prompts", results, map="true", slice_x_low="900")
    assert "No prompt matches" in shown(app) and "Map of images" in shown(app), "to choose another"


def test_a_study_without_embeddings_offers_no_map(open_view: Open, altered: Callable[..., Path]) -> None:  # fmt: skip
    study = altered("DELETE FROM path", "DELETE FROM projection")
    app = open_view("prompts", study, map="true")
    assert not app.exception and "Map of images" not in shown(app)
    assert not [each for each in app.toggle if each.key == "map"]
    assert not [each for each in app.number_input if each.key == "slice_x_low"]


@pytest.mark.parametrize("image", [b"", b"no image", b"\x89PNG\r\n", b"RIFF____WEBPVP8 "])
def test_a_map_of_images_that_cannot_be_read_has_its_bins(
    image: bytes, open_view: Open, altered: Callable[..., Path]
) -> None:
    study = altered("UPDATE frame SET image = ?", values=[image])
    app = open_view("prompts", study, map="true")
    assert not app.exception and "Map of images" in shown(app)
