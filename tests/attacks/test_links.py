"""Links that mean harm: each number of a link against thousands of values, and every view under links that hold many of them."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.analysis import slices
from app.ui import links
from tests.attacks.links import FRAME, IN_FRAME, ODD, TO_PAGES, TURNS, astray
from tests.support import pages
from tests.support.hostile import texts
from tests.support.pages import VIEWS, Open, at, behind_link

NUMBERS = ["slice_fewest", "slice_most", "slice_top", "slice_low", "slice_high", "slice_x_low", "slice_y_high", "step", "page", "margin_clip_score"]  # fmt: skip
FRAME_SCRIPT = Path(pages.__file__).with_name("frame.py")
VALUES = [*ODD, *texts(320)]
PAIRS = [*itertools.product(NUMBERS, VALUES)]


def test_a_number_that_passes_is_one_that_its_control_holds() -> None:
    """Streamlit makes `float`, and `int` of it for whole numbers; what the parser lets by ends neither."""
    passed = 0
    for key, value in PAIRS:
        allowed = links.allowed(key)
        assert allowed is not None
        if links.is_fit(key, [value]):
            number = float(value)
            assert math.isfinite(number) and allowed.low <= number <= allowed.high, (key, value)
            assert not allowed.whole or int(number) == number, (key, value)
            assert allowed.parse(value) == number
            passed += 1
        elif key in slices.NUMBERS and "\n" not in value:
            with pytest.raises(ValueError):
                slices.parsed([f"{key.removeprefix('slice_')}={value}"])
    assert 50 < passed < 400, "some are numbers, most are not"


def test_there_are_enough_links() -> None:
    assert len(set(IN_FRAME)) == len(IN_FRAME) >= 3_000
    assert len({(view, str(link)) for view, link in TO_PAGES}) == len(VIEWS) * TURNS


@pytest.fixture
def studied(two_scorers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app is given a study with two models and two scorers, so that it shows every control of the frame."""
    monkeypatch.setattr(sys, "argv", ["app/main.py", str(two_scorers)])


@pytest.mark.parametrize("key", FRAME)
@pytest.mark.usefixtures("studied")
def test_the_frame_of_a_page_behind_a_link(key: str) -> None:
    """The link is cleaned, the study opened, each filter drawn: no error, and each holds what it allows."""
    for value in [value for named, value in IN_FRAME if named == key]:
        app = at(FRAME_SCRIPT)
        app.query_params[key] = value
        if key in ("slice_low", "slice_high", "slice_top", "slice_order"):
            app.query_params["slice_by"] = "final"  # they are drawn with it
        app.run()
        assert astray(app) == [] and app.title and app.sidebar, (key, value[:80])
        if key in NUMBERS and not links.is_fit(key, [value]):
            assert key not in app.query_params, (key, value[:80])


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.usefixtures("studied")
def test_a_page_behind_a_link(view: str) -> None:
    """Whole pages, every parameter of theirs odd at once."""
    for link in [link for named, link in TO_PAGES if named == view]:
        app = behind_link(view, link)
        assert astray(app) == [] and app.title, link


def test_a_control_that_holds_what_it_does_not_allow_is_seen() -> None:
    problems = astray(AppTest.from_function(_gone_astray).run())
    assert problems == ["one = 'c'", "few = ['c']"]


def _gone_astray() -> None:
    import streamlit as st

    st.session_state["one"], st.session_state["few"] = "c", ["c"]
    st.selectbox("One", ["a", "b"], key="one", accept_new_options=True)
    st.multiselect("Few", ["a", "b"], key="few", accept_new_options=True)


@pytest.mark.parametrize("value", ["inf", "-inf", "9" * 400, "nan"])
def test_a_link_whose_numbers_no_control_holds_shows_the_page_without_them(
    value: str, open_view: Open, results: Path
) -> None:
    app = open_view(
        "prompts", results, **dict.fromkeys([*NUMBERS, "margin_x"], value), search="cat"
    )
    assert not app.exception, [each.value for each in app.exception]
    assert app.title and not set(NUMBERS) & set(app.query_params)
    assert app.query_params["search"] in ("cat", ["cat"]), "the rest of the link counts"


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_under_a_bad_number(view: str, open_view: Open, results: Path) -> None:
    app = open_view(view, results, slice_most="inf", slice_top="9" * 400, step="1e999")
    assert not app.exception and app.title
