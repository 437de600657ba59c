"""The page Figures: a gallery of what the study has data for, and for each figure the controls that apply."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from app.figures import thumbnails
from app.figures.kinds import KINDS, NEEDS
from app.ui.figure_controls import KEYS
from tests.support.pages import Open, shown


def opened(app: AppTest) -> set[str]:
    """The figures that the gallery offers."""
    return {
        str(b.key).removeprefix("open_").replace("_", "-")
        for b in app.button
        if str(b.key).startswith("open_")
    }


def test_the_gallery_shows_what_the_study_has_and_names_the_rest(open_view: Open, results: Path, altered: Callable[..., Path]) -> None:  # fmt: skip
    app = open_view("figures", results)
    assert not app.exception
    assert "paper-7" in opened(app) and "paper-10" not in opened(app)
    text = shown(app).replace("\\", "")
    assert f"**{KINDS['paper-10'].title}** needs {NEEDS['gammas']}" in text
    app = open_view("figures", altered("DELETE FROM explanation"))
    assert not {"region-maps", "paper-7", "paper-8"} & opened(app) and "film-strip" in opened(app)
    assert f"**{KINDS['paper-7'].title}** needs {NEEDS['rise']}" in shown(app).replace("\\", "")


@pytest.mark.parametrize("folder", ["failed_only", "nothing_yet"])
def test_a_study_without_results_has_a_gallery_of_reasons(folder: str, open_view: Open, request: pytest.FixtureRequest) -> None:  # fmt: skip
    app = open_view("figures", request.getfixturevalue(folder))
    assert not app.exception and "needs" in shown(app)


def test_a_picture_opens_its_figure_and_the_way_back(open_view: Open, results: Path) -> None:
    app = open_view("figures", results)
    app.button(key="open_region_maps").click().run()
    assert not app.exception
    assert app.selectbox(key="figure").value == "region-maps" and "--figure region-maps" in shown(
        app
    )
    app.button(key="all_figures").click().run()
    assert "film-strip" in opened(app)


@pytest.mark.parametrize(
    "name", ["scores", "film-strip", "region-maps", "paper-7", "auc-curves", "emergence"]
)
def test_only_controls_that_apply_are_shown(name: str, open_view: Open, results: Path) -> None:
    kind = KINDS[name]
    app = open_view("figures", results, figure=f"{kind.group}: {kind.title}")
    assert not app.exception
    widgets = [*app.multiselect, *app.selectbox, *app.get("button_group"), *app.number_input]
    keys = {widget.key for widget in widgets}
    named = KEYS | {"rows": "figure_rows", "baseline": "figure_model"}
    allowed = {named[each] for each in kind.controls} | (
        {KEYS["models"]} if kind.several else set()
    )
    assert keys & set(named.values()) <= allowed
    if name == "region-maps":
        assert {
            "figure_methods",
            "figure_steps",
            "figure_layout",
            "figure_scale",
            "figure_bar",
        } <= keys


def test_a_choice_is_in_the_command_and_in_the_link(open_view: Open, results: Path) -> None:
    link = {
        "figure": "Images and words: Region maps",
        "figure_methods": "DF-RISE",
        "figure_steps": ["4", "8"],
        "figure_layout": "down",
        "figure_bar": "below",
    }
    app = open_view("figures", results, **link)
    assert not app.exception
    assert "--methods df-rise --steps 4 8 --layout steps-down --bar below" in shown(app)
    assert "by df-rise. One colour scale across each column" in shown(app).replace("\\", "")
    app = open_view("figures", results, **{**link, "figure": "Images and words: Film strip"})
    assert "--methods" not in shown(app) and "--bar" not in shown(app), (
        "what does not apply is not passed on"
    )


def test_a_link_of_another_study_or_a_strangers_is_no_error(open_view: Open, results: Path) -> None:
    strange = {
        "figure_methods": ["nope", "<b>"],
        "figure_steps": ["1e9", "x"],
        "figure_rows": "inf",
        "prompts": "-1",
        "figure_models": "nobody",
    }
    for kind in ("Images and words: Region maps", "Tools and trust: Which tool to believe"):
        assert not open_view("figures", results, figure=kind, **strange).exception


def test_every_kind_has_a_picture_of_one_size(tmp_path: Path) -> None:
    for name in KINDS:
        picture = thumbnails.of_kind(name)
        assert picture is not None and len(picture) < 30_000, name
        with Image.open(io.BytesIO(picture)) as image:
            assert image.size == thumbnails.SIZE and image.format == "WEBP"
    assert thumbnails.of_kind("../../../etc/passwd") is None


def test_pictures_are_made_of_the_first_gallery_that_has_them(tmp_path: Path) -> None:
    for number, (folder, name) in enumerate((("a", "scores"), ("b", "scores"), ("b", "paths"))):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("RGB", (640, 100), (0, 80 * number, 200)).save(
            tmp_path / folder / f"{name}.screen.png"
        )
    missing = thumbnails.make([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert set(KINDS) - set(missing) == {"scores", "paths"}
    for name, green in (("scores", 0), ("paths", 160)):
        with Image.open(tmp_path / "out" / f"{name}.webp") as image:
            assert abs(image.convert("RGB").getpixel((160, 100))[1] - green) < 8
            assert min(image.convert("RGB").getpixel((160, 4))) > 240, "white around"
    assert thumbnails.main([]) == 2
