"""Charts on a page, and what a click in one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import streamlit as st

from app.charts import specs
from app.charts.layers import PICK, REGION
from app.ui import links, queries, said
from app.ui.page import Page, current
from app.ui.step_bar import go_to_step

Click = Callable[[dict[str, Any]], None]  # acts on what a click in a chart tells
STEP_CLICK = "Click a step to go there."


@dataclass(frozen=True)
class _Trusted:
    """A chart whose spec is not checked against Vega-Lite's schema on every rerun.

    The tests check every chart function; here the check took 0.6 of 1.4 s of the Timesteps view
    (15 charts, 2 cores).
    """

    chart: Any
    clicks: int = 0

    def to_dict(self) -> dict[str, Any]:
        return _numbered(specs.written(self.chart), self.clicks)


def _numbered(spec: dict[str, Any], clicks: int) -> dict[str, Any]:
    """The spec, in which a click tells its number too.

    The browser tells only clicks that differ from the last one. Without a number, a second click on
    step 5 did nothing after the slider had moved elsewhere.
    """
    for parameter in spec.get("params", []):
        if parameter.get("name") == PICK:
            parameter["select"]["fields"].append("click")
            for layer in spec.get("layer", [spec]):
                number = {"calculate": str(clicks), "as": "click"}
                layer["transform"] = [*layer.get("transform", []), number]
            if parameter["select"].get("nearest"):
                hand = {
                    "name": "cursor",
                    "value": "pointer",
                }  # Vega's own name for the pointer's shape
                spec["params"] = [*spec["params"], hand]
    return spec


def draw(
    chart: Any,
    *,
    key: str,
    on_select: Any = "ignore",
    on_click: Click | None = None,
    on_region: Click | None = None,
    width: Any = None,
    alt: str | None = None,
) -> Any:
    """A chart in the page's theme.

    Args:
        chart: an Altair chart.
        key: unique on the page.
        on_select: "rerun", where the page acts on the event that comes back.
        on_click: called with the values that a click tells, before the controls are drawn: it may set them.
        on_region: called likewise with the limits of a rectangle that was dragged, by the fields of the axes.
        width: of the chart, where it must not stretch.
        alt: what it shows, for readers who cannot see it.
    """
    clicks = _clicks().get(key, 0)
    if on_click is not None:
        on_select = partial(_clicked, key, on_click)
    if on_region is not None:
        on_select = partial(_dragged, key, on_region)
    trusted: Any = _Trusted(chart, clicks)
    return st.altair_chart(trusted, key=f"chart_{key}", on_select=on_select, width=width, alt=alt)


def _clicks() -> dict[str, int]:
    """How many clicks each chart has told."""
    return cast(dict[str, int], st.session_state.setdefault("_clicks", {}))


def _clicked(key: str, act: Click) -> None:
    picked = st.session_state[f"chart_{key}"].selection.get(PICK, [])
    if picked:  # a click on the background picks nothing, and changes nothing
        _clicks()[key] = _clicks().get(key, 0) + 1
        before = said.held()
        act(picked[0])
        said.note(before, picked[0])


def _dragged(key: str, act: Click) -> None:
    region = st.session_state[f"chart_{key}"].selection.get(REGION)
    if region:  # a click beside the rectangle removes it, and changes nothing
        before = said.held()
        act(dict(region))
        said.note(before, {})


def to_step(page: Page, model_id: int | None = None) -> Click:
    """What a click on a step does: the step control goes there.

    Args:
        page: the page with the control.
        model_id: the model whose steps the chart shows, where it is one; else those of the longest.
    """
    last = page.last_step if model_id is None else page.last_of(model_id)

    def act(picked: dict[str, Any]) -> None:
        progress = picked.get("progress")
        if progress is None and picked.get("step") is not None:
            progress = picked["step"] / max(last, 1)
        if progress is not None:
            go_to_step(round(min(max(float(progress), 0.0), 1.0) * page.last_step))

    return act


def to_filter(key: str, column: str, values: dict[str, Any] | None = None, most: int = 1) -> Click:
    """What a click on a bar or row does: the filter holds it; clicked again, it releases it.

    Args:
        key: of the filter, a multiselect.
        column: whose value was clicked.
        values: what the filter calls the column's values, where that is not the same; others do nothing.
        most: how many it holds; the one clicked first makes room.
    """

    def act(picked: dict[str, Any]) -> None:
        clicked = picked.get(column)
        value = clicked if values is None else values.get(str(clicked))
        if value is None:
            return
        held = list(st.session_state.get(key) or [])
        if value in held and len(held) <= most:
            held.remove(value)
        else:
            held = [*held, value][-most:]
        st.session_state[key] = held

    return act


def open_prompt(event: Any) -> None:
    """Go to the prompt that was clicked in a chart, if one was."""
    picked = event.selection.get(PICK, []) if event else []
    if not picked:
        return
    key = picked[0].get("prompt_key")
    if key is None and picked[0].get("prompt_id") is not None:
        ids = [int(picked[0]["prompt_id"])]
        key = queries.ask(current().snapshot, "prompt_texts", ids=ids)["prompt_key"].iloc[0]
    if key is not None:
        links.switch_page("views/prompts.py", prompt=str(key))
