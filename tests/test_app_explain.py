"""The explanation views' charts and what they work out: colours, scales, signs, verdicts."""

from __future__ import annotations

import base64
import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import charts
import charts_explain
import numpy as np
import pandas as pd
import pytest
from PIL import Image

VIEWS = Path(__file__).resolve().parent.parent / "app" / "views"
MODELS = pd.DataFrame({"model_id": [1, 2], "label": ["UNet", "Transformer"]})


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch):
    """Loads a view's module without drawing it."""
    import controls

    monkeypatch.setattr(controls, "current", lambda: None)

    def load(name: str) -> ModuleType:
        source = (VIEWS / f"{name}.py").read_text().replace("show(controls.current())", "")
        spec = importlib.util.spec_from_loader(f"view_{name}", loader=None)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, f"view_{name}", module)
        exec(compile(source, str(VIEWS / f"{name}.py"), "exec"), module.__dict__)
        return module

    return load


def stored(values: np.ndarray, low: float, high: float) -> pd.Series:
    unit = ((values - low) / (high - low)).astype(np.float16)
    height, width = values.shape
    return pd.Series(
        {"map": unit.tobytes(), "height": height, "width": width, "low": low, "high": high}
    )


def pixels(url: str) -> np.ndarray:
    data = base64.b64decode(url.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_stored_map_comes_back_in_its_own_units() -> None:
    values = np.array([[0.2, 0.4, 0.6], [0.8, 0.3, 0.2]])
    assert charts_explain.read_map(stored(values, 0.2, 0.8)) == pytest.approx(values, abs=1e-3)


def test_colours_run_from_the_scales_lowest_to_its_highest_value() -> None:
    values = np.array([[-1.0, 0.0, 1.0, 2.0]])
    colours = charts_explain.colourise(values, 0.0, 1.0)[0]
    first, last = (
        [int(c[i : i + 2], 16) for i in (1, 3, 5)]
        for c in (charts_explain.VIRIDIS[0], charts_explain.VIRIDIS[-1])
    )
    assert colours[0].tolist() == colours[1].tolist() == first
    assert colours[2].tolist() == colours[3].tolist() == last
    assert charts_explain.colourise(values, 1.0, 1.0).shape == (1, 4, 3)  # a constant map


def test_maps_are_drawn_crisp() -> None:
    tile = pixels(charts_explain.draw_map(np.eye(8), 0, 1))
    assert tile.shape == (128, 128, 3)
    assert len(np.unique(tile.reshape(-1, 3), axis=0)) == 2  # no colour between neighbours


def test_a_map_lies_over_its_picture() -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 0, 0)).save(out, "WEBP", lossless=True)
    over = pixels(charts_explain.draw_map(np.zeros((8, 8)), 0, 1, out.getvalue()))
    alone = pixels(charts_explain.draw_map(np.zeros((8, 8)), 0, 1))
    assert (over != alone).any()
    assert len(np.unique(over.reshape(-1, 3), axis=0)) == 1


def test_a_tool_keeps_its_colour_whatever_else_is_drawn() -> None:
    def colour_of(methods: list[str]) -> str:
        scale = charts_explain._tool_scales(methods)["color"].to_dict()
        return scale["range"][scale["domain"].index("DF-CAM")]

    assert colour_of(["df-cam"]) == colour_of(["df-rise", "df-cam", "random"])
    assert charts_explain.tool_order(["zzz", "random", "df-rise"]) == ["df-rise", "random", "zzz"]


WALK = pd.DataFrame(
    {
        "sample_id": [1, 1],
        "step": [0, 1],
        "nearest": [1, 1],
        "x": [0.0, 1.0],
        "y": [0.5, 0.2],
        "text": "a cat",
        "prompt_key": "k",
        "model": "UNet",
    }
)
CHARTS = [
    lambda: charts_explain.tiles(
        pd.DataFrame({"row": ["a"], "column": [3], "url": ["data:"], "note": [""], "step": [3], "range": [""]}),
        ["a"], bar="Saliency", marker=3, clickable=True,
    ),
    lambda: charts_explain.matrix(
        pd.DataFrame({"first": ["DF-CAM"], "second": ["LIME"], "value": [0.3], "low": [0.1], "high": [0.5], "n": [4]}),
        "Spearman", domain=(-0.2, 1),
    ),
    lambda: charts_explain.word_lines(
        pd.DataFrame({"word": ["cat"], "role": ["subject"], "step": [1], "value": [0.2], "seeds": [2]}),
        ["cat"], "Share", marker=1,
    ),
    lambda: charts_explain.tool_curves(
        pd.DataFrame({"method": ["lime"], "step": [1], "mean": [0.1], "low": [0.0], "high": [0.2], "n": [4]}),
        "step", "Step", "Gain", zero=True, marker=2,
    ),
    lambda: charts_explain.tool_forest(
        pd.DataFrame({"method": ["lime"], "model": ["UNet"], "mean": [0.1], "low": [0.0], "high": [0.2], "n": [4]}),
        MODELS, "Gain",
    ),
    lambda: charts_explain.role_bars(
        pd.DataFrame({"role": ["object"], "model": ["UNet"], "mean": [0.1], "low": [0.0], "high": [0.2], "prompts": [4]}),
        MODELS, "Relevance",
    ),
    lambda: charts_explain.schedule_ticks(
        pd.DataFrame({"model": ["UNet"], "step": [0], "timestep": [999.0], "log_snr": [-5.0]}),
        MODELS, charts.AXES["Timestep"],
    ),
    lambda: charts_explain.paths(
        WALK, WALK[:1], "model", None, charts.model_scales(MODELS)["color"], ("first", "second"), marker=1,
    ),
]  # fmt: skip


@pytest.mark.parametrize("chart", CHARTS)
def test_charts_are_valid_vega_lite(chart) -> None:
    assert chart().to_dict()["layer"]


def test_gain_is_positive_where_a_tool_beats_a_random_map(view) -> None:
    """More area by insertion, less by deletion; a distance turns both round."""
    faithfulness = view("faithfulness")

    class Page:
        def labelled(self, data: pd.DataFrame) -> pd.DataFrame:
            return data

    data = pd.DataFrame(
        {
            "game": ["insertion", "deletion"],
            "gain": [0.2, -0.2],
            "gain_sd": [0.05, 0.05],
            "inverse_gain": [-0.1, 0.1],
            "prompts": [10, 10],
        }
    )
    near = faithfulness.with_gain(Page(), data, higher_is_closer=True)
    assert near["mean"].tolist() == [0.2, 0.2]
    assert near["verdict"].tolist() == ["better than random"] * 2
    assert near["inverse"].tolist() == [-0.1, -0.1]
    far = faithfulness.with_gain(Page(), data, higher_is_closer=False)
    assert far["verdict"].tolist() == ["worse than random"] * 2
    unsure = faithfulness.with_gain(Page(), data.assign(gain_sd=2.0), higher_is_closer=True)
    assert unsure["verdict"].tolist() == ["can't be told from random"] * 2


def test_trust_says_which_tool_finds_objects_and_depends_on_weights(view) -> None:
    trust = view("trust")
    found = pd.DataFrame(
        [
            {"model_id": 1, "method": method, "of_word": False, "step": step, "scene": scene,
             "average_precision": 0.2 + gain, "gain": gain + 0.01 * scene, "pointing": 1.0, "iou": 0.5, "chance": 0.2}
            for method, gain in (("df-cam", 0.4), ("random", -0.015))
            for step in (3, 10) for scene in range(4)
        ]
    )  # fmt: skip
    shuffled = pd.DataFrame(
        {
            "model_id": 1,
            "method": ["df-cam", "df-cam", "random", "random"],
            "layers": ["up", "all", "up", "all"],
            "share": [0.5, 1.0, 0.5, 1.0],
            "spearman": [0.9, 0.1, 1.0, 1.0],
            "samples": 4,
        }
    )
    table = trust.summary(trust.scene_gains(found), shuffled).set_index("method")
    assert table.loc["df-cam", "finds"] == "yes" and table.loc["df-cam", "depends"] == "yes"
    assert table.loc["random", "finds"] == "not above chance"
    assert table.loc["random", "depends"].startswith("no")
    assert table.loc["df-cam", "n"] == 4  # the scene is the unit, not scene x step


def test_schedules_compares_only_entries_of_the_same_weights(view) -> None:
    schedules = view("schedules")
    models = pd.DataFrame(
        {
            "model_id": [1, 2, 3],
            "label": ["a", "b", "c"],
            "source": ["x", "x", "y"],
            "revision": "r",
            "schedule": ["uniform", "late", "uniform"],
            "scheduler": "DDIMScheduler",
            "gamma": [np.nan, 60, np.nan],
            "steps": 30,
        }
    )
    assert schedules.comparable(models) == {"a": [1, 2]}
    assert schedules.comparable(models[models["model_id"] != 2]) == {}


def test_a_familys_curve_weighs_concepts_by_their_prompts(view) -> None:
    schedules = view("schedules")
    table = pd.DataFrame(
        {
            "model_id": 1, "model": "a", "family": "colour", "step": 0, "timestep": 999.0, "log_snr": -5.0,
            "progress": 0.0, "mean": [0.1, 0.4], "prompts": [3, 1], "low": [0.0, 0.3], "high": [0.2, 0.5],
        }
    )  # fmt: skip
    out = schedules.family_means(table)
    assert out["mean"].tolist() == pytest.approx([0.175])
    assert out["low"].isna().all()


def test_a_word_that_comes_again_gets_a_number(view) -> None:
    words = view("words")
    own = pd.DataFrame({"word_index": [0, 1, 2, 0, 1, 2], "word": ["a", "cat", "a"] * 2})
    assert words._numbered(own) == ["a", "cat", "a (2)"] * 2


def test_the_first_concept_that_a_prompt_names(view) -> None:
    paths = view("paths")
    assert paths._first_named("a red cat", ["cat", "red"]) == "cat"
    assert paths._first_named("concatenate", ["cat"]) == "(none)"
