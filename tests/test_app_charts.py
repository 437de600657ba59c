"""Charts: valid Vega-Lite that renders, one colour per model everywhere, honest axes."""

from __future__ import annotations

import io
import json
from typing import Any

import altair as alt
import charts
import numpy as np
import pandas as pd
import pytest
import vl_convert
from PIL import Image

MODELS = pd.DataFrame({"model_id": [1, 2, 3], "label": ["UNet", "UNet (quarter)", "DiT"]})
STEPS = range(6)


def webp(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "WEBP", lossless=True)
    return out.getvalue()


def by_step(models: pd.DataFrame = MODELS) -> pd.DataFrame:
    rows = [
        {
            "model": label,
            "step": step,
            "timestep": 999 - 150 * step,
            "log_snr": step - 3.0,
            "mean": 0.1 * step,
        }
        for label in models["label"]
        for step in STEPS
    ]
    data = pd.DataFrame(rows)
    return data.assign(low=data["mean"] - 0.05, high=data["mean"] + 0.05, prompts=12)


def by_concept(*, ids: tuple[str, ...] = ("cat", "red")) -> pd.DataFrame:
    rows = [
        {"concept": c, "family": "f", "step": s, "value": s / 10, "mean": s / 10 - 0.2}
        for c in ids
        for s in STEPS
    ]
    data = pd.DataFrame(rows)
    return data.assign(
        low=data["mean"] - 0.1,
        high=data["mean"] + 0.1,
        q=0.01,
        significant=data["step"] > 3,
        prompts=9,
    )


def by_row(row: str) -> pd.DataFrame:
    rows = [
        {"model": label, row: name, "mean": 2.0}
        for name in ("cat", "dog")
        for label in MODELS["label"]
    ]
    return pd.DataFrame(rows).assign(
        low=1.0,
        high=3.0,
        q1=0.5,
        q3=4.0,
        emerged_share=0.5,
        n=8,
        q=0.2,
        significant=[True, False] * 3,
        win_rate=0.6,
        d_z=0.3,
        prompts=8,
    )


def per_prompt() -> pd.DataFrame:
    rows = [
        {
            "model": label,
            "prompt_id": i,
            "prompt_key": f"k{i}",
            "text": f"<b>{i}</b>",
            "baseline": 0.2,
            "candidate": 0.25,
            "difference": 0.05,
            "score": 0.2 + i / 50,
            "image": webp(),
        }
        for label in MODELS["label"]
        for i in range(3)
    ]
    return pd.DataFrame(rows)


def frames() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": label, "step": s, "image": webp(), "similarity": 0.1 * s}
            for label in MODELS["label"]
            for s in STEPS
        ]
    )


AXIS = charts.AXES["Step"]
MEANS = pd.DataFrame(
    {"model": MODELS["label"], "mean": 0.25, "low": 0.2, "high": 0.3, "prompts": 9}
)
STATES = pd.DataFrame(
    [
        {"model": label, "state": s, "samples": 5, "place": i}
        for label in MODELS["label"]
        for i, s in enumerate(("done", "failed", "missing"))
    ]
)
ALL: dict[str, Any] = {
    "curves": lambda look: charts.curves(
        by_step(), MODELS, AXIS, "Similarity ↑", marker=2, look=look
    ),
    "percent": lambda look: charts.curves(
        by_step(), MODELS, AXIS, "Emerged", domain=(0, 1), format=".0%", look=look
    ),
    "predictability": lambda look: charts.predictability(
        by_step(), MODELS, AXIS, marker=1, look=look
    ),
    "difference_curves": lambda look: charts.difference_curves(
        by_step(), MODELS, AXIS, "Difference", marker=1, look=look
    ),
    "heat": lambda look: charts.heat(by_concept(), "Similarity", marker=2, look=look),
    "difference_heat": lambda look: charts.difference_heat(
        by_concept(), "Difference", marker=2, look=look
    ),
    "emergence": lambda look: charts.emergence(
        by_row("family"), MODELS, "family", last_step=5, marker=2, look=look
    ),
    "forest": lambda look: charts.forest(
        by_row("concept"), MODELS, "concept", "Difference", look=look
    ),
    "score_strip": lambda look: charts.score_strip(
        per_prompt().drop(columns="image"), MEANS, MODELS, "CLIP score →"
    ),
    "scatter": lambda look: charts.scatter(
        per_prompt().drop(columns="image"), MODELS, "Baseline →", "Candidate →", look=look
    ),
    "film_strip": lambda look: charts.film_strip(frames(), MODELS, marker=3, look=look),
    "contact_sheet": lambda look: charts.contact_sheet(per_prompt(), MODELS, look=look),
    "bars": lambda look: charts.bars(STATES, MODELS),
}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_every_chart_renders(name: str, dark: bool) -> None:
    svg = vl_convert.vegalite_to_svg(ALL[name](charts.Look(dark)).to_dict())
    assert svg.startswith("<svg")
    assert "NaN" not in svg


@pytest.mark.parametrize("name", sorted(set(ALL) - {"film_strip", "contact_sheet", "bars"}))
def test_every_chart_has_tooltips(name: str) -> None:
    assert '"tooltip"' in json.dumps(ALL[name](charts.Look()).to_dict())


def encodings(spec: Any, channel: str) -> list[dict[str, Any]]:
    """Every encoding of a channel anywhere in a spec."""
    if isinstance(spec, list):
        return [found for part in spec for found in encodings(part, channel)]
    if not isinstance(spec, dict):
        return []
    own = [spec["encoding"][channel]] if channel in spec.get("encoding", {}) else []
    return own + [found for part in spec.values() for found in encodings(part, channel)]


@pytest.mark.parametrize(
    "name", ["curves", "emergence", "forest", "score_strip", "scatter", "difference_curves"]
)
def test_a_model_has_its_colour_on_every_chart(name: str) -> None:
    for encoding in encodings(ALL[name](charts.Look()).to_dict(), "color"):
        if encoding.get("field") == "model":
            scale = encoding["scale"]
            assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
                "UNet": "#0072B2",
                "UNet (quarter)": "#D55E00",
                "DiT": "#009E73",
            }


def test_a_models_colour_does_not_depend_on_the_filter() -> None:
    alone = charts.model_scales(MODELS.tail(1))
    assert alone["color"].to_dict()["range"] == ["#009E73"]
    assert charts.model_colour(3) == "#009E73"
    assert charts.model_colour(3 + len(charts.COLOURS)) == charts.model_colour(3)


def test_models_differ_in_more_than_colour() -> None:
    assert len(set(charts.DASHES)) == len(set(charts.SHAPES)) == len(set(charts.COLOURS))


@pytest.mark.parametrize("name", charts.AXES)
def test_noise_is_on_the_left_of_every_axis(name: str) -> None:
    axis = charts.AXES[name]
    x = encodings(charts.curves(by_step(), MODELS, axis, "y").to_dict(), "x")[0]
    assert x["field"] == axis.field
    assert "noise → image" in x["title"]
    assert x["scale"].get("reverse", False) == (name == "Timestep")


def test_the_difference_scale_is_the_same_on_both_sides_of_zero() -> None:
    scale = encodings(charts.difference_heat(by_concept(), "d").to_dict(), "color")[0]["scale"]
    assert scale["domain"][0] == -scale["domain"][2]
    assert scale["domain"][1] == 0


def test_no_chart_of_models_has_a_legend_that_could_be_cut_off() -> None:
    names = ("curves", "emergence", "forest", "scatter", "difference_curves", "predictability")
    for name in names:
        spec = ALL[name](charts.Look()).to_dict()
        assert all(encoding["legend"] is None for encoding in encodings(spec, "color"))


def test_images_are_not_smoothed() -> None:
    for name in ("film_strip", "contact_sheet"):
        assert '"smooth": false' in json.dumps(ALL[name](charts.Look()).to_dict())


def test_data_urls_name_their_format() -> None:
    png = io.BytesIO()
    Image.new("RGB", (2, 2)).save(png, "PNG")
    assert charts.data_url(webp()).startswith("data:image/webp;base64,")
    assert charts.data_url(png.getvalue()).startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("steps", "most"), [(range(30), 12), (range(5), 12), ([0, 7, 29], 2), (range(1000), 3)]
)
def test_thinned_steps_keep_both_ends(steps: Any, most: int) -> None:
    kept = charts.thin(list(steps), most)
    assert (kept[0], kept[-1]) == (min(steps), max(steps))
    assert len(kept) <= most
    gaps = np.diff(kept)
    assert (gaps > 0).all()


def test_curves_with_unknown_intervals_are_drawn() -> None:
    data = by_step().assign(low=np.nan, high=np.nan)
    assert vl_convert.vegalite_to_svg(charts.curves(data, MODELS, AXIS, "y").to_dict())


def test_charts_are_altair_and_hold_no_streamlit() -> None:
    assert isinstance(ALL["curves"](charts.Look()), alt.LayerChart)
    assert not hasattr(charts, "st")


CLICKS = {
    "curves": ["step"],
    "predictability": ["step"],
    "difference_curves": ["step"],
    "film_strip": ["step"],
    "heat": ["step", "concept"],
    "difference_heat": ["step", "concept"],
    "emergence": ["family"],
    "forest": ["concept"],
    "score_strip": ["prompt_id"],
    "scatter": ["prompt_key"],
    "contact_sheet": ["prompt_key"],
    "bars": ["model"],
}


@pytest.mark.parametrize("name", CLICKS)
def test_a_click_tells_what_the_page_can_follow(name: str) -> None:
    (pick,) = ALL[name](charts.Look()).to_dict()["params"]
    assert (pick["name"], pick["select"]["fields"]) == (charts.PICK, CLICKS[name])


@pytest.mark.parametrize("name", sorted(set(CLICKS) - {"contact_sheet", "bars"}))
def test_a_click_belongs_to_one_layer(name: str) -> None:
    spec = ALL[name](charts.Look()).to_dict()
    (pick,) = spec["params"]
    assert pick["views"] == [layer["name"] for layer in spec["layer"] if "name" in layer]
    assert not any("params" in layer for layer in spec["layer"])


def test_layers_hold_their_common_data_once() -> None:
    spec = ALL["curves"](charts.Look()).to_dict()
    marker, *means = spec["layer"]
    assert spec["datasets"][spec["data"]["name"]][0].keys() >= {"model", "step", "mean"}
    assert spec["datasets"][marker["data"]["name"]] == [{"step": 2}]
    assert not any("data" in layer for layer in means)


def test_a_copy_of_a_layered_chart_is_drawn_as_the_chart_is() -> None:
    chart = ALL["curves"](charts.Look())
    assert chart.copy().to_dict() == chart.copy(deep=False).to_dict() == chart.to_dict()


def test_a_click_tells_progress_where_it_is_known() -> None:
    data = by_step().assign(progress=lambda rows: rows["step"] / 5)
    (pick,) = charts.curves(data, MODELS, AXIS, "y", marker=1).to_dict()["params"]
    assert pick["select"]["fields"] == ["step", "progress"]


def test_a_chart_without_a_marker_is_not_clicked() -> None:
    assert "params" not in charts.curves(by_step(), MODELS, AXIS, "y").to_dict()


def test_a_second_click_on_the_same_mark_is_another_click() -> None:
    import controls

    first, second = (controls._Trusted(ALL["heat"](charts.Look()), n).to_dict() for n in (0, 1))
    assert first["params"][0]["select"]["fields"] == ["step", "concept", "click"]
    assert first["layer"][0]["transform"] != second["layer"][0]["transform"]


def test_a_band_wider_than_its_chart_is_left_out_and_takes_no_room() -> None:
    """As over two prompts: it hid every line. The tooltip still tells the limits."""
    sure = by_step()
    assert charts.without_vast_bands(sure) is sure
    other = sure["model"] == "UNet"
    vast = sure.assign(low=sure["low"].where(~other, -1.0), high=sure["high"].where(~other, 1.0))
    drawn = charts.without_vast_bands(vast)
    assert drawn.loc[other, "low"].isna().all() and drawn.loc[~other, "low"].notna().all()
    spec = charts.curves(vast, MODELS, AXIS, "Similarity").to_dict()
    low, high = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert -1 < low < high < 1
