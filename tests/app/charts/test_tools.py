"""Charts of tools: a tool keeps its colour and its position."""

from __future__ import annotations

from app.charts import tools


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
