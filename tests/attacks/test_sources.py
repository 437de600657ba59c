"""A snapshot whose word values come from something that no version knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.figures.source import Choice, FigureError, open_study
from app.figures.words import source_of
from tests.support.pages import Open

NAME = "**witchcraft** ![i](http://127.0.0.1/x.png)"


@pytest.fixture(scope="module")
def bewitched(altered: Callable[..., Path]) -> Path:
    return altered("UPDATE token_attention SET source = ?", values=[NAME])


@pytest.mark.parametrize("view", ["words", "schedules"])
def test_the_views_say_so_in_one_sentence(view: str, open_view: Open, bewitched: Path) -> None:
    app = open_view(view, bewitched)
    assert not app.exception, [each.value for each in app.exception]
    said = [each.value for each in app.caption if "which this version does not know" in each.value]
    assert len(said) == 1 and "**witchcraft**" not in said[0] and "![i]" not in said[0]


def test_a_figure_of_words_says_that_none_is_measured(bewitched: Path) -> None:
    with pytest.raises((FigureError, ValueError)):
        source_of(open_study(bewitched, Choice()))
