"""The legend above charts has the colours of their marks, also of models beyond those that the theme can name."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.charts.style import COLOURS, model_scales
from app.ui import text


def legend(count: int) -> AppTest:
    def script(count: int) -> None:
        import pandas as pd

        from app.ui import text

        ids = range(1, count + 1)
        text.legend(
            pd.DataFrame({"model_id": ids, "label": [f"Model {i}" for i in ids], "run": ""})
        )

    return AppTest.from_function(script, args=(count,)).run()


def test_five_models_are_named_in_markdown() -> None:
    (line,) = legend(5).markdown
    assert [f":{hue}[" in line.value for hue in text.HUES[:5]] == [True] * 5


@pytest.mark.parametrize("count", [6, 10])
def test_of_more_models_the_legend_is_drawn_in_their_colours(count: int) -> None:
    app = legend(count)
    assert not app.exception and not app.markdown
    (chart,) = app.get("vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    models = pd.DataFrame(
        {"model_id": range(1, count + 1), "label": [f"Model {i}" for i in range(1, count + 1)]}
    )
    colour = spec["layer"][1]["encoding"]["color"]["scale"]
    assert colour["range"] == model_scales(models)["color"].range
    assert colour["range"][5] == COLOURS[5]
