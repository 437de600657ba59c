"""On every page, every mean of several prompts has its interval, however wide it is."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tests.support.intervals import beyond, has_arrows, intervals, without_interval
from tests.support.pages import VIEWS, Open, shown

# Pages with charts of means, of a study of two models and two prompts.
WITH_INTERVALS = {"causes", "faithfulness", "models", "overview", "paths", "review", "timesteps", "trust", "words"}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_over_two_prompts_every_interval_is_drawn(
    view: str, open_view: Open, two_prompts: Path
) -> None:
    """The least certain mean must not look the surest: what is too wide is clipped with an arrow, not left out."""
    app = open_view(view, two_prompts)
    assert not app.exception
    drawn, clipped = 0, False
    for element in app.get("vega_lite_chart"):
        datasets = {each.name: _rows(each.data.data) for each in element.proto.datasets}
        spec = json.loads(element.proto.spec)
        marked = False
        for rows, fixed in intervals(spec, datasets.__getitem__):
            assert without_interval(rows).empty
            drawn += 1
            marked |= beyond(rows, fixed)
        assert has_arrows(spec) == marked
        clipped |= marked
    assert drawn or view not in WITH_INTERVALS
    assert not clipped or "clipped at the panel's edge" in shown(app)


def _rows(stream: bytes) -> pd.DataFrame:
    return pa.ipc.open_stream(stream).read_pandas()
