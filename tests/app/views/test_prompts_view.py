"""The Prompts page: from prompt to prompt, and the two models that are compared."""

from __future__ import annotations

from pathlib import Path

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
