"""In every figure, every mean of several prompts has its interval, however wide it is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from app.figures import export
from app.figures.export import KINDS
from app.figures.source import Choice, FigureError, open_study
from tests.support.intervals import beyond, has_arrows, intervals, without_interval


@pytest.mark.parametrize("name", KINDS)
def test_over_two_prompts_every_interval_is_drawn(name: str, two_prompts: Path) -> None:
    """The least certain mean must not look the surest: what is too wide is clipped with an arrow, not left out."""
    try:
        figure = export.build(open_study(str(two_prompts), Choice()), KINDS[name], ())
    except FigureError:
        return  # what this study lacks, test_figures.py looks at
    spec = figure.draw(150).to_dict()
    clipped = False
    for rows, fixed in intervals(spec, lambda data: pd.DataFrame(spec["datasets"][data])):
        assert without_interval(rows).empty
        clipped |= beyond(rows, fixed)
    assert has_arrows(spec) == clipped
    assert ("clipped at the panel's edge" in figure.caption) == clipped
