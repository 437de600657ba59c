"""Charts: valid Vega-Lite that renders, one colour per model everywhere, honest axes."""

from __future__ import annotations

import io
import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from PIL import Image

from app.charts.axes import AXES, thin
from app.charts.curves import curves
from app.charts.grids import difference_heat
from app.charts.images import data_url
from app.charts.layers import PICK, REGION
from app.charts.style import COLOURS, DASHES, SHAPES, Look, model_colour, model_scales
from app.charts.variants import trade_off
from tests.support.charts import (
    ALL,
    AXIS,
    CHECKPOINTS,
    COSTS,
    MODELS,
    TOOL_CHARTS,
    by_concept,
    by_step,
    webp,
)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_every_chart_renders(name: str, dark: bool) -> None:
    svg = vl_convert.vegalite_to_svg(ALL[name](Look(dark)).to_dict())
    assert svg.startswith("<svg")
    assert "NaN" not in svg


@pytest.mark.parametrize("name", sorted(set(ALL) - {"bars"}))
def test_every_chart_has_tooltips(name: str) -> None:
    assert '"tooltip"' in json.dumps(ALL[name](Look()).to_dict())


def encodings(spec: Any, channel: str) -> list[dict[str, Any]]:
    """Every encoding of a channel anywhere in a spec."""
    if isinstance(spec, list):
        return [encoding for part in spec for encoding in encodings(part, channel)]
    if not isinstance(spec, dict):
        return []
    encoded = [spec["encoding"][channel]] if channel in spec.get("encoding", {}) else []
    return encoded + [encoding for part in spec.values() for encoding in encodings(part, channel)]


@pytest.mark.parametrize(
    "name", ["curves", "emergence", "forest", "score_strip", "scatter", "difference_curves"]
)
def test_a_model_has_its_colour_on_every_chart(name: str) -> None:
    for encoding in encodings(ALL[name](Look()).to_dict(), "color"):
        if encoding.get("field") == "model":
            scale = encoding["scale"]
            assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
                "UNet": "#0072B2",
                "UNet (quarter)": "#D55E00",
                "DiT": "#009E73",
            }


def test_a_models_colour_does_not_depend_on_the_filter() -> None:
    alone = model_scales(MODELS.tail(1))
    assert alone["color"].to_dict()["range"] == ["#009E73"]
    assert model_colour(3) == "#009E73"
    assert model_colour(3 + len(COLOURS)) == model_colour(3)


def luminance(colour: str) -> float:
    """Relative luminance of sRGB (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_checkpoints_have_an_ordered_ramp_whatever_the_filter() -> None:
    """Twenty checkpoints: each lighter than the one before, none like another; the others keep the palette."""
    colours = model_scales(CHECKPOINTS)["color"].to_dict()["range"]
    light = [luminance(colour) for colour in colours]
    assert light == sorted(light) and len(set(colours)) == 20
    assert model_scales(CHECKPOINTS.iloc[[4]])["color"].to_dict()["range"] == [colours[4]]
    mixed = pd.concat([MODELS, CHECKPOINTS.assign(model_id=range(4, 24))])
    assert model_scales(mixed)["color"].to_dict()["range"] == [
        "#0072B2",
        "#D55E00",
        "#009E73",
        *colours,
    ]
    assert model_scales(mixed)["dash"].to_dict()["range"][3:] == [list(DASHES[0])] * 20


def test_models_differ_in_more_than_colour() -> None:
    assert len(set(DASHES)) == len(set(SHAPES)) == len(set(COLOURS))


@pytest.mark.parametrize("name", AXES)
def test_noise_is_on_the_left_of_every_axis(name: str) -> None:
    axis = AXES[name]
    x = encodings(curves(by_step(), MODELS, axis, "y").to_dict(), "x")[0]
    assert x["field"] == axis.field
    assert "noise → image" in x["title"]
    assert x["scale"].get("reverse", False) == (name == "Timestep")


def test_the_difference_scale_is_the_same_on_both_sides_of_zero() -> None:
    scale = encodings(difference_heat(by_concept(), "d").to_dict(), "color")[0]["scale"]
    assert scale["domain"][0] == -scale["domain"][2]
    assert scale["domain"][1] == 0


def test_no_chart_of_models_has_a_legend_that_could_be_cut_off() -> None:
    names = ("curves", "emergence", "forest", "scatter", "difference_curves", "predictability")
    for name in names:
        spec = ALL[name](Look()).to_dict()
        assert all(encoding["legend"] is None for encoding in encodings(spec, "color"))


def test_images_are_not_smoothed() -> None:
    assert '"smooth": false' in json.dumps(TOOL_CHARTS["tiles"]().to_dict())


def test_data_urls_name_their_format() -> None:
    assert data_url(webp()).startswith("data:image/webp;base64,")
    for form in ("png", "jpeg"):
        file = io.BytesIO()
        Image.new("RGB", (2, 2)).save(file, form)
        assert data_url(file.getvalue()).startswith(f"data:image/{form};base64,")
    assert data_url(b"<svg onload=alert(1)>").startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("steps", "most"), [(range(30), 12), (range(5), 12), ([0, 7, 29], 2), (range(1000), 3)]
)
def test_thinned_steps_keep_both_ends(steps: Any, most: int) -> None:
    kept = thin(list(steps), most)
    assert (kept[0], kept[-1]) == (min(steps), max(steps))
    assert len(kept) <= most
    gaps = np.diff(kept)
    assert (gaps > 0).all()


def test_curves_with_unknown_intervals_are_drawn() -> None:
    data = by_step().assign(low=np.nan, high=np.nan)
    assert vl_convert.vegalite_to_svg(curves(data, MODELS, AXIS, "y").to_dict())


def test_charts_are_altair() -> None:
    assert isinstance(ALL["curves"](Look()), alt.LayerChart)


def test_a_rectangle_on_the_map_of_images_is_told_by_the_bins_centres() -> None:
    spec = TOOL_CHARTS["image_map"]().to_dict()
    (region,) = spec["params"]
    assert (region["name"], region["select"]["type"]) == (REGION, "interval")
    (layer,) = [each for each in spec["layer"] if each.get("name") in region["views"]]
    assert [layer["encoding"][axis]["field"] for axis in ("x", "y")] == ["x", "y"]
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")
    outline = spec["layer"][-1]["data"]["name"]
    assert spec["datasets"][outline] == [{"x_low": 0.2, "x_high": 1.0, "y_low": 0.0, "y_high": 0.5}]


CLICKS = {
    "curves": ["step"],
    "predictability": ["step"],
    "difference_curves": ["step"],
    "heat": ["step", "concept"],
    "difference_heat": ["step", "concept"],
    "emergence": ["family"],
    "forest": ["concept"],
    "score_strip": ["prompt_id"],
    "scatter": ["prompt_key"],
    "bars": ["model"],
}


@pytest.mark.parametrize("name", CLICKS)
def test_a_click_tells_what_the_page_can_follow(name: str) -> None:
    (pick,) = ALL[name](Look()).to_dict()["params"]
    assert (pick["name"], pick["select"]["fields"]) == (PICK, CLICKS[name])


@pytest.mark.parametrize("name", sorted(set(CLICKS) - {"bars"}))
def test_a_click_belongs_to_one_layer(name: str) -> None:
    spec = ALL[name](Look()).to_dict()
    (pick,) = spec["params"]
    assert pick["views"] == [layer["name"] for layer in spec["layer"] if "name" in layer]
    assert not any("params" in layer for layer in spec["layer"])


def test_layers_hold_their_common_data_once() -> None:
    spec = ALL["curves"](Look()).to_dict()
    marker, *means = spec["layer"]
    assert spec["datasets"][spec["data"]["name"]][0].keys() >= {"model", "step", "mean"}
    assert spec["datasets"][marker["data"]["name"]] == [{"step": 2}]
    assert not any("data" in layer for layer in means)


def test_a_copy_of_a_layered_chart_is_drawn_as_the_chart_is() -> None:
    chart = ALL["curves"](Look())
    assert chart.copy().to_dict() == chart.copy(deep=False).to_dict() == chart.to_dict()


def test_a_click_tells_progress_where_it_is_known() -> None:
    data = by_step().assign(progress=lambda rows: rows["step"] / 5)
    (pick,) = curves(data, MODELS, AXIS, "y", marker=1).to_dict()["params"]
    assert pick["select"]["fields"] == ["step", "progress"]


def test_a_chart_without_a_marker_is_not_clicked() -> None:
    assert "params" not in curves(by_step(), MODELS, AXIS, "y").to_dict()


def test_a_second_click_on_the_same_mark_is_another_click() -> None:
    from app.ui import drawing

    first, second = (drawing._Trusted(ALL["heat"](Look()), n).to_dict() for n in (0, 1))
    assert first["params"][0]["select"]["fields"] == ["step", "concept", "click"]
    assert first["layer"][0]["transform"] != second["layer"][0]["transform"]


@pytest.mark.parametrize("name", TOOL_CHARTS)
def test_charts_of_tools_are_valid_vega_lite(name: str) -> None:
    assert TOOL_CHARTS[name]().to_dict()["layer"]


@pytest.mark.parametrize(("slowest", "logarithmic"), [(4.9, False), (5.1, True)])
def test_seconds_are_logarithmic_beyond_a_decade(slowest: float, logarithmic: bool) -> None:
    spec = trade_off(COSTS.assign(seconds=[0.5, 1.0, slowest]), MODELS, "CLIP score", memory=True).to_dict()  # fmt: skip
    scales = [each["scale"].get("type") for each in encodings(spec, "x")]
    assert set(scales) == {"log" if logarithmic else None}
    titles = {each["title"] for each in encodings(spec, "x")}
    assert titles == {f"Seconds per image{', log scale' if logarithmic else ''}  ← faster"}


def test_memory_is_no_area_where_it_is_not_compared() -> None:
    spec = trade_off(COSTS, MODELS, "CLIP score", memory=False).to_dict()
    assert all("field" not in each for each in encodings(spec, "size"))
