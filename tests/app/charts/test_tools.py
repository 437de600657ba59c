"""Charts of tools: a tool keeps its colour and its position."""

from __future__ import annotations

import pytest

from app.charts import tools, trust
from app.charts.style import Look


def test_a_tool_keeps_its_colour_whatever_else_is_drawn() -> None:
    def colour_of(methods: list[str]) -> str:
        scale = tools.tool_scales(methods)["color"].to_dict()
        return scale["range"][scale["domain"].index("DF-CAM")]

    assert colour_of(["df-cam"]) == colour_of(["df-rise", "df-cam", "random"])
    assert tools.tool_order(["zzz", "random", "df-rise"]) == ["df-rise", "random", "zzz"]


def test_no_two_tools_look_alike() -> None:
    """There are more tools than colours."""
    scales = {
        name: scale.to_dict()["range"]
        for name, scale in tools.tool_scales(list(tools.TOOLS)).items()
    }
    looks = list(zip(*(map(str, scales[name]) for name in ("color", "dash", "shape")), strict=True))
    for part in (0, 1), (0, 2):
        assert len({tuple(look[i] for i in part) for look in looks}) == len(tools.TOOLS)


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True])
def test_the_words_of_the_trust_grid_can_be_read(dark: bool) -> None:
    ink = luminance(trust.TEXT[dark])
    fills = [luminance(fill) for fill in trust.FILLS[dark].values()]
    assert len(set(trust.FILLS[dark].values())) == 3
    for fill in fills:
        assert (max(ink, fill) + 0.05) / (min(ink, fill) + 0.05) >= 7


def test_the_key_names_every_tool_of_the_curves_once() -> None:
    methods = ["information", "df-rise", "copy", "df-rise"]
    spec = tools.tool_key(methods, Look()).to_dict()
    names = {row["name"] for rows in spec["datasets"].values() for row in rows}
    assert names == {"DF-RISE", "Copy of the input", "Information"}
    colours = [layer["encoding"]["color"] for layer in spec["layer"][:2]]
    assert all(each["legend"] is None for each in colours), "a legend of Vega's could be cut"
