"""The chart of causes, drawn: each kind of position has the filling that the caption names."""

import re

import pandas as pd
import pytest
import vl_convert

from app.charts import axes, causes

FILLINGS = {"visible": 0.0, "decided": 1.0, "irreversible": 0.35}


@pytest.mark.parametrize(
    "kinds", [["visible", "decided"], ["irreversible"], ["irreversible", "visible", "decided"]]
)
def test_fillings_are_those_of_the_caption(kinds):
    rows = pd.DataFrame(
        {"model_id": 1, "model": "UNet", "family": "colour", "kind": kind, "mean": 1.0, "low": 0.0, "high": 2.0, "prompts": 6}
        for kind in kinds
    )  # fmt: skip
    models = pd.DataFrame({"model_id": [1], "label": ["UNet"]})
    chart = causes.timeline(rows, models, axes.by_field("log_snr"))
    svg = vl_convert.vegalite_to_svg(chart.to_json())
    drawn = dict.fromkeys(kinds, -1.0)
    for kind in kinds:
        (mark,) = re.findall(rf'<path aria-label="[^"]*{kind}[^"]*"[^>]*"point"[^>]*>', svg)
        opacity = re.search(r'fill-opacity="([\d.]+)"', mark)
        drawn[kind] = float(opacity[1]) if opacity else 1.0
    assert drawn == {kind: FILLINGS[kind] for kind in kinds}
