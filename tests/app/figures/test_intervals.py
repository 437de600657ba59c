"""In every figure, every mean of several prompts has its interval, and the interval is drawn whole."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from app.figures import export
from app.figures.export import KINDS
from app.figures.source import Choice, FigureError, open_study
from tests.support.intervals import beyond, has_arrows, intervals, without_interval


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_over_two_prompts_every_interval_is_drawn_whole(name: str, two_prompts: Path) -> None:
    """The least certain mean must not look the surest, and nobody can ask paper for what lies beyond a panel's edge."""
    try:
        figure = export.build(open_study(str(two_prompts), Choice()), KINDS[name], ())
    except FigureError:
        return  # what this study lacks, test_figures.py looks at
    spec = figure.draw(150).to_dict()
    for rows, fixed in intervals(spec, lambda data: pd.DataFrame(spec["datasets"][data])):
        assert without_interval(rows).empty
        assert not beyond(rows, fixed)
    assert not has_arrows(spec) and "clipped" not in figure.caption
