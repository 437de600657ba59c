"""Charts: functions from a DataFrame to an Altair chart, without Streamlit and without SQL.

A model keeps its colour, dash and shape wherever it is drawn (Okabe-Ito, by its place in the
study); the page names the models above the chart, where their names can wrap. Means are lines, their
95 % intervals bands. Data frames carry the columns that each function names, and the model's label as
`model`. What a rule or an outline stands at is an Arrow table, which is sent as it is: 0.02 ms, a data
frame of one row takes 0.33.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa

# Okabe and Ito 2008; the last two come after them for studies with more than six models.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7F7F7F")
DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (5, 1), (1, 3), (10, 4), (4, 4))
SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
SEQUENTIAL: Any = "viridis"
PICK = "pick"  # the name of every chart's click
STATES = ("done", "failed", "missing")
# Heights are of the whole chart: what colour bar and horizontal axis take beside the rows, and the axis alone.
FRAME = 96
AXIS_ROOM = 52


@dataclass(frozen=True)
class Look:
    """What a chart has to know of the page's theme.

    Attributes:
        dark: whether the page is dark.
    """

    dark: bool = False

    @property
    def ink(self) -> str:
        """Colour of rules and labels that carry no series."""
        return "#c9d3dc" if self.dark else "#3c4854"

    @property
    def quiet(self) -> str:
        """Colour of guides that must not compete with the data."""
        return "#4a5661" if self.dark else "#b8c2cb"

    @property
    def middle(self) -> str:
        """Middle of a diverging scale: near the page's own, so that 'no difference' recedes."""
        return "#1b232b" if self.dark else "#f6f7f8"


@dataclass(frozen=True)
class Axis:
    """What the horizontal axis of a trajectory shows.

    Attributes:
        field: column: step, timestep, log_snr or progress.
        title: with direction and unit.
        reverse: whether values fall from left (noise) to right (image).
    """

    field: str
    title: str
    reverse: bool = False
    format: str = "d"


AXES = {
    "Step": Axis("step", "Step  (noise → image)"),
    "Timestep": Axis("timestep", "Timestep  (noise → image)", reverse=True),
    "Log-SNR": Axis("log_snr", "Log-SNR ln(α²/σ²)  (noise → image)", format=".1~f"),
}


def model_scales(models: pd.DataFrame) -> dict[str, alt.Scale]:
    """Colour, dash and shape of each model, by its place in the study.

    Args:
        models: model_id and label of the models in the chart.

    Returns:
        scales named color, dash and shape, with the labels as domain.
    """
    place = [int(i) - 1 for i in models["model_id"]]
    labels = list(models["label"])
    return {
        "color": alt.Scale(domain=labels, range=[COLOURS[i % len(COLOURS)] for i in place]),
        "dash": alt.Scale(domain=labels, range=[list(DASHES[i % len(DASHES)]) for i in place]),
        "shape": alt.Scale(domain=labels, range=[SHAPES[i % len(SHAPES)] for i in place]),
    }


def model_colour(model_id: int) -> str:
    """The colour of a model, by its place in the study."""
    return COLOURS[(model_id - 1) % len(COLOURS)]


def limits_of(data: pd.DataFrame) -> tuple[float, float]:
    """Limits that show the means, and their bands unless those dwarf them (two prompts)."""
    lowest, highest = float(data["mean"].min()), float(data["mean"].max())
    room = 0.75 * max(highest - lowest, 1e-3)
    low, high = data["low"].min(), data["high"].max()
    low = lowest if pd.isna(low) else max(float(low), lowest - room)
    high = highest if pd.isna(high) else min(float(high), highest + room)
    pad = 0.04 * (high - low) or 1e-3
    return low - pad, high + pad


VAST = (
    "An interval wider than three quarters of what the means span is not drawn; the data hold it."
)


def without_vast_bands(
    data: pd.DataFrame, column: str = "mean", domain: Sequence[float] | None = None
) -> pd.DataFrame:
    """The rows without the limits of lines whose interval would hide the others: over two or three prompts.

    A band is measured by the means alone: by limits that make room for it, it was never too wide.

    Args:
        data: model, low and high; by panel, where panels share limits.
        column: of the means.
        domain: the limits that panels share, where they do.
    """
    if not {"low", "high"} <= set(data.columns) or data["low"].isna().all():
        return data
    shown = domain or (data[column].min(), data[column].max())
    most = 0.75 * max(float(shown[1] - shown[0]), 1e-3)
    width = data["high"] - data["low"]
    if not width.max() > most:  # as where prompts are many: no lines to tell apart
        return data
    lines = [data[name] for name in ("entry", "model") if name in data]
    vast = width.groupby(lines).transform("median") > most
    return data.assign(low=data["low"].mask(vast), high=data["high"].mask(vast))


def layered(*charts: Any, height: float) -> alt.LayerChart:
    """Layers of one height, made of the charts given: the data of most of them stand above all, once.

    Put together by hand: `alt.layer` copies every layer four times, checks its click against the schema, names it by a
    hash of its printed data, and leaves each layer its data where one has others: 9 of 20 ms of `curves` (CPU time).
    """
    whole = alt.LayerChart(data=_most_used([chart.data for chart in charts]), height=height)
    for chart in charts:
        if chart.data is whole.data:
            chart.data = alt.Undefined
        if chart.params is not alt.Undefined:
            whole.params = [_lifted(chart)]
    whole.layer = list(charts)
    return whole


def _most_used(frames: Sequence[Any]) -> Any:
    """The data that most layers show."""
    return max(frames, key=lambda frame: sum(frame is other for other in frames))


def _lifted(layer: alt.Chart) -> alt.TopLevelSelectionParameter:
    """A layer's click, taken to the top of the chart, where Streamlit and Vega-Lite look for it."""
    (own,) = layer.params
    layer.name, layer.params = "clicked", alt.Undefined
    return alt.TopLevelSelectionParameter(name=own.name, select=own.select, views=["clicked"])


def behind(mark: alt.Chart, chart: alt.LayerChart) -> alt.LayerChart:
    """The chart with a mark behind its layers; it keeps its height and its click."""
    chart.layer = [mark, *chart.layer]
    return chart


def click(*fields: str, nearest: bool = False) -> alt.Parameter:
    """A click on a mark, which tells the page the mark's values of some columns.

    Args:
        fields: the columns.
        nearest: whether a click beside the marks means the nearest one, as on a line.
    """
    return alt.selection_point(
        name=PICK, fields=list(fields), on="click", toggle=False, nearest=nearest
    )


def when(test: str, value: Any) -> dict[str, Any]:
    """The condition of a channel's value, as Vega-Lite writes it.

    A dictionary inside `alt.ColorValue` and the like: `alt.condition` for a channel takes 9 ms to find the channel's class.
    """
    return {"test": test, "value": value}


def _step_fields(data: pd.DataFrame) -> list[str]:
    """What says which step was clicked: models of other numbers of steps share their progress."""
    return ["step", "progress"] if "progress" in data else ["step"]


def across(axis: Axis) -> alt.X:
    """The horizontal axis of a trajectory."""
    scale = alt.Scale(reverse=axis.reverse, nice=False, zero=False, padding=2)
    return alt.X(
        f"{axis.field}:Q",
        title=axis.title,
        scale=scale,
        axis=alt.Axis(
            grid=False,
            tickCount=8,
            format=axis.format,
            tickMinStep=1 if axis.format == "d" else alt.Undefined,
        ),
    )


def curves(
    data: pd.DataFrame,
    models: pd.DataFrame,
    axis: Axis,
    title: str,
    *,
    marker: float | None = None,
    height: int = 260,
    look: Look | None = None,
    domain: Sequence[float] | None = None,
    format: str = ".3f",
    spread: str = "prompts",
) -> alt.LayerChart:
    """Mean curves per model with their interval as a band.

    Args:
        data: model, the axis' field, step, mean, low, high, prompts.
        models: model_id and label of the models drawn.
        axis: the horizontal axis.
        title: of the vertical axis, with unit and direction.
        marker: place on the axis to mark (the chosen step); with it, a click tells the step.
        height: in px.
        look: the page's theme.
        domain: limits of the vertical axis.
        format: of the values in the tooltip.
        spread: what the band is over: prompts (a 95 % interval) or seeds (lowest to highest).
    """
    look = look or Look()
    scales = model_scales(models)
    low, high = (
        ("95 % low", "95 % high") if spread == "prompts" else ("Lowest seed", "Highest seed")
    )
    banded = without_vast_bands(data, domain=domain) if spread == "prompts" else data
    vertical = alt.Scale(domain=list(domain or limits_of(banded)), nice=domain is None, zero=False)
    tooltip = [
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("step:Q", title="Step"),
        alt.Tooltip("mean:Q", title="Mean", format=format),
        alt.Tooltip("low:Q", title=low, format=format),
        alt.Tooltip("high:Q", title=high, format=format),
        alt.Tooltip("prompts:Q", title=spread.capitalize()),
    ]
    base = alt.Chart(data).encode(
        x=across(axis), color=alt.Color("model:N", scale=scales["color"], legend=None)
    )
    y_axis = alt.Axis(
        format=format if "%" in format else format.replace("f", "~f"),
        gridOpacity=0.5,
        **({"values": [0, 0.5, 1]} if "%" in format else {"tickCount": 5}),
    )
    band = base.mark_area(opacity=0.16, clip=True).encode(
        y=alt.Y("low:Q", scale=vertical, title=title, axis=y_axis), y2=alt.Y2("high:Q")
    )
    line = base.mark_line(strokeWidth=2.2, interpolate="monotone").encode(
        y=alt.Y("mean:Q", scale=vertical, title=title, axis=y_axis),
        strokeDash=alt.StrokeDash("model:N", scale=scales["dash"], legend=None),
    )
    points = base.mark_point(size=70, filled=True, opacity=0).encode(
        y=alt.Y("mean:Q", scale=vertical), tooltip=tooltip
    )
    band.data = banded
    layers: list[Any] = [band, line, points]
    if marker is not None:
        layers[-1] = points.add_params(click(*_step_fields(data), nearest=True))
        layers.insert(0, step_marker(axis, marker, look))
    return layered(*layers, height=height)


def step_marker(axis: Axis, place: float, look: Look) -> alt.Chart:
    """A rule at the chosen place of the axis."""
    return (
        alt.Chart(pa.table({axis.field: [place]}))
        .mark_rule(color=look.quiet, strokeWidth=1.5)
        .encode(x=across(axis))
    )


def heat(
    data: pd.DataFrame,
    title: str,
    *,
    marker: int | None = None,
    order: Sequence[str] | None = None,
    domain: Sequence[float] | None = None,
    row_height: int = 17,
    look: Look | None = None,
) -> alt.LayerChart:
    """Concept x step heat map of a similarity or a correlation; a click tells both.

    Args:
        data: concept, family, step, value, prompts.
        title: of the colour bar, with unit.
        marker: the chosen step.
        order: concepts from top to bottom.
        domain: limits of the colour scale.
        row_height: of a concept, in px.
        look: the page's theme.
    """
    look = look or Look()
    scale = (
        alt.Scale(scheme=SEQUENTIAL, domain=list(domain))
        if domain
        else alt.Scale(scheme=SEQUENTIAL)
    )
    names = list(order) if order is not None else list(dict.fromkeys(data["concept"]))
    cells = (
        alt.Chart(data)
        .mark_rect(cursor="pointer")
        .encode(
            x=_step_band(data["step"]),
            y=_concepts(names),
            color=alt.Color("value:Q", scale=scale, legend=colour_bar(title)),
            tooltip=[
                alt.Tooltip("concept:N", title="Concept"),
                alt.Tooltip("family:N", title="Family"),
                alt.Tooltip("step:O", title="Step"),
                alt.Tooltip("value:Q", title=title, format=".3f"),
                alt.Tooltip("prompts:Q", title="Prompts"),
            ],
        )
        .add_params(click("step", "concept"))
    )
    layers: list[Any] = [cells]
    if marker is not None:
        layers.append(_step_frame(marker, look))
    return layered(*layers, height=row_height * len(names) + FRAME)


def _step_band(steps: pd.Series) -> alt.X:
    last = int(steps.max()) if len(steps) else 0
    every = max(1, round(last / 10))
    shown = [s for s in range(0, last + 1) if s % every == 0]
    return alt.X(
        "step:O",
        title="Step  (noise → image)",
        axis=alt.Axis(values=shown, labelAngle=0, ticks=False, domain=False),
        scale=alt.Scale(paddingInner=0.0, paddingOuter=0),
    )


def _concepts(names: Sequence[str]) -> alt.Y:
    return alt.Y(
        "concept:N",
        title=None,
        sort=list(names),
        axis=alt.Axis(
            ticks=False,
            domain=False,
            labelLimit=150,
            labelOverlap=False,
            labelFlush=False,
            grid=False,
        ),
        scale=alt.Scale(paddingInner=0.06, paddingOuter=0),
    )


def colour_bar(title: str) -> alt.Legend:
    """A slim colour bar over a chart."""
    return alt.Legend(
        title=title,
        orient="top",
        direction="horizontal",
        gradientLength=220,
        gradientThickness=8,
        titleLimit=320,
        offset=6,
        tickCount=4,
        labelOverlap="greedy",
        labelSeparation=4,
    )


def _step_frame(step: int, look: Look) -> alt.Chart:
    return (
        alt.Chart(pa.table({"step": [step]}))
        .mark_rect(filled=False, stroke=look.ink, strokeWidth=1.5)  # no fill: clicks go through
        .encode(x=alt.X("step:O"))
    )


def emergence(
    data: pd.DataFrame,
    models: pd.DataFrame,
    row: str,
    *,
    last_step: int,
    look: Look | None = None,
    row_height: int = 34,
    marker: float | None = None,
) -> alt.LayerChart:
    """When rows emerge: quartiles (thin), the mean's interval (thick), the mean as a point; a click tells the row.

    Args:
        data: model, the row's column, mean, low, high, q1, q3, emerged_share, n; in the order to
            draw.
        models: model_id and label.
        row: column of the rows (family or concept).
        last_step: right end of the axis.
        look: the page's theme.
        row_height: per row, in px.
        marker: the chosen step.
    """
    look = look or Look()
    scales = model_scales(models)
    order = list(dict.fromkeys(data[row]))
    labels = list(models["label"])
    axis = AXES["Step"]
    base = alt.Chart(data).encode(
        y=alt.Y(
            f"{row}:N",
            sort=order,
            title=None,
            axis=alt.Axis(ticks=False, domain=False, grid=True, gridOpacity=0.35, labelLimit=160),
        ),
        yOffset=alt.YOffset("model:N", scale=alt.Scale(domain=labels, paddingOuter=0.35)),
        color=alt.Color("model:N", scale=scales["color"], legend=None),
        tooltip=[
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip(f"{row}:N", title=row.capitalize()),
            alt.Tooltip("mean:Q", title="Mean step", format=".1f"),
            alt.Tooltip("low:Q", title="95 % low", format=".1f"),
            alt.Tooltip("high:Q", title="95 % high", format=".1f"),
            alt.Tooltip("q1:Q", title="First quartile", format=".1f"),
            alt.Tooltip("q3:Q", title="Third quartile", format=".1f"),
            alt.Tooltip("emerged_share:Q", title="Emerges in", format=".0%"),
            alt.Tooltip("n:Q", title="Prompts"),
        ],
    )
    x = alt.Scale(domain=[0, last_step], nice=False)
    quartiles = base.mark_rule(strokeWidth=1.6, opacity=0.55, clip=True).encode(
        x=alt.X(
            "q1:Q", scale=x, title=axis.title, axis=alt.Axis(grid=False, format="d", tickMinStep=1)
        ),
        x2=alt.X2("q3:Q"),
    )
    interval = base.mark_bar(height=5, cornerRadius=2, opacity=0.55, clip=True).encode(
        x=alt.X("low:Q", scale=x), x2=alt.X2("high:Q")
    )
    mean = (
        base.mark_point(size=58, filled=True, opacity=1)
        .encode(
            x=alt.X("mean:Q", scale=x),
            shape=alt.Shape("model:N", scale=scales["shape"], legend=None),
        )
        .add_params(click(row, nearest=True))
    )
    layers: list[Any] = [quartiles, interval, mean]
    if marker is not None:
        rule = alt.Chart(pa.table({"mean": [marker]})).mark_rule(color=look.quiet, strokeWidth=1.5)
        layers.insert(0, rule.encode(x=alt.X("mean:Q", scale=x)))
    per_row = max(row_height, 13 * len(labels) + 8)
    return layered(*layers, height=per_row * len(order) + AXIS_ROOM)


def predictability(
    data: pd.DataFrame,
    models: pd.DataFrame,
    axis: Axis,
    *,
    marker: float | None = None,
    look: Look | None = None,
) -> alt.LayerChart:
    """Correlation with the final value per step; above the 0.9 line the outcome is settled."""
    look = look or Look()
    rule = (
        alt.Chart(pa.table({"mean": [0.9]}))
        .mark_rule(color=look.ink, strokeDash=[2, 2])
        .encode(y=alt.Y("mean:Q"))
    )
    chart = curves(
        data,
        models,
        axis,
        "Correlation with the final value (r)  ↑",
        marker=marker,
        height=300,
        look=look,
        domain=(min(0.0, float(data["low"].min()), float(data["mean"].min())), 1),
        format=".2f",
    )
    return behind(rule, chart)


def score_strip(
    data: pd.DataFrame, means: pd.DataFrame, models: pd.DataFrame, title: str
) -> alt.LayerChart:
    """One tick per prompt, and the mean with its interval, per model; a click tells the prompt.

    Args:
        data: model, prompt_id, score; one row per prompt.
        means: model, mean, low, high, prompts.
        models: model_id and label.
        title: of the score's axis.
    """
    scales = model_scales(models)
    y = alt.Y(
        "model:N",
        sort=list(models["label"]),
        title=None,
        axis=alt.Axis(ticks=False, domain=False, labelLimit=140),
    )
    colour = alt.Color("model:N", scale=scales["color"], legend=None)
    x = alt.Scale(zero=False, nice=True)
    ticks = (
        alt.Chart(data)
        .mark_tick(thickness=1.5, size=22, opacity=0.28)
        .encode(
            y=y,
            x=alt.X("score:Q", scale=x, title=title, axis=alt.Axis(format=".2f", grid=False)),
            color=colour,
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("prompt_id:O", title="Prompt"),
                alt.Tooltip("score:Q", title="CLIP score", format=".3f"),
            ],
        )
        .add_params(click("prompt_id", nearest=True))
    )
    interval = (
        alt.Chart(means)
        .mark_bar(height=7, cornerRadius=3, opacity=0.85)
        .encode(y=y, x=alt.X("low:Q", scale=x), x2=alt.X2("high:Q"), color=colour)
    )
    mean = (
        alt.Chart(means)
        .mark_point(size=90, filled=True, opacity=1, stroke="white", strokeWidth=1)
        .encode(
            y=y,
            x=alt.X("mean:Q", scale=x),
            color=colour,
            shape=alt.Shape("model:N", scale=scales["shape"], legend=None),
            tooltip=[
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("mean:Q", title="Mean", format=".4f"),
                alt.Tooltip("low:Q", title="95 % low", format=".4f"),
                alt.Tooltip("high:Q", title="95 % high", format=".4f"),
                alt.Tooltip("prompts:Q", title="Prompts"),
            ],
        )
    )
    return layered(ticks, interval, mean, height=34 * len(models) + FRAME - 30)


def difference_curves(
    data: pd.DataFrame,
    models: pd.DataFrame,
    axis: Axis,
    title: str,
    *,
    marker: float | None = None,
    height: int = 260,
    look: Look | None = None,
) -> alt.LayerChart:
    """Paired difference per step with its interval, around a line at zero."""
    look = look or Look()
    zero = (
        alt.Chart(pa.table({"mean": [0.0]}))
        .mark_rule(color=look.ink, strokeDash=[2, 2])
        .encode(y=alt.Y("mean:Q"))
    )
    chart = curves(
        data, models, axis, title, marker=marker, height=height, look=look, format="+.3f"
    )
    return behind(zero, chart)


def difference_heat(
    data: pd.DataFrame,
    title: str,
    *,
    marker: int | None = None,
    order: Sequence[str] | None = None,
    row_height: int = 17,
    look: Look | None = None,
) -> alt.LayerChart:
    """Concept x step heat map of a paired difference; dots stay significant after correction; a click tells both.

    Args:
        data: concept, family, step, mean, low, high, q, significant, prompts.
        title: of the colour bar.
        marker: the chosen step.
        order: concepts from top to bottom.
        row_height: in px.
        look: the page's theme.
    """
    look = look or Look()
    names = list(order) if order is not None else list(dict.fromkeys(data["concept"]))
    most = float(data["mean"].abs().max()) if len(data) else 1.0
    scale = alt.Scale(
        domain=[-(most or 1), 0, most or 1],
        range=["#D55E00", look.middle, "#0072B2"],
        interpolate="rgb",
    )
    base = alt.Chart(data).encode(x=_step_band(data["step"]), y=_concepts(names))
    cells = base.mark_rect(cursor="pointer").encode(
        color=alt.Color("mean:Q", scale=scale, legend=colour_bar(title)),
        tooltip=[
            alt.Tooltip("concept:N", title="Concept"),
            alt.Tooltip("family:N", title="Family"),
            alt.Tooltip("step:O", title="Step"),
            alt.Tooltip("mean:Q", title="Difference", format="+.4f"),
            alt.Tooltip("low:Q", title="95 % low", format="+.4f"),
            alt.Tooltip("high:Q", title="95 % high", format="+.4f"),
            alt.Tooltip("q:Q", title="p after correction", format=".2g"),
            alt.Tooltip("prompts:Q", title="Prompts"),
        ],
    )
    cells = cells.add_params(click("step", "concept"))
    dots = base.transform_filter("datum.significant").mark_circle(
        size=11, color=look.ink, opacity=0.9, cursor="pointer"
    )
    layers: list[Any] = [cells, dots]
    if marker is not None:
        layers.append(_step_frame(marker, look))
    return layered(*layers, height=row_height * len(names) + FRAME)


def forest(
    data: pd.DataFrame,
    models: pd.DataFrame,
    row: str,
    title: str,
    *,
    look: Look | None = None,
    row_height: int = 22,
) -> alt.LayerChart:
    """Differences with intervals around zero; hollow where not significant; a click tells the row.

    Args:
        data: model, the row's column, mean, low, high, q, significant, prompts, win_rate, d_z.
        models: model_id and label.
        row: column of the rows.
        title: of the horizontal axis, with direction.
        look: the page's theme.
        row_height: in px.
    """
    look = look or Look()
    scales = model_scales(models)
    order = list(dict.fromkeys(data[row]))
    zero = (
        alt.Chart(pa.table({"mean": [0.0]}))
        .mark_rule(color=look.ink, strokeDash=[2, 2])
        .encode(x=alt.X("mean:Q"))
    )
    base = alt.Chart(data).encode(
        y=alt.Y(
            f"{row}:N",
            sort=order,
            title=None,
            axis=alt.Axis(ticks=False, domain=False, labelLimit=160, grid=True, gridOpacity=0.3),
        ),
        yOffset=alt.YOffset(
            "model:N", scale=alt.Scale(domain=list(models["label"]), paddingOuter=0.3)
        ),
        color=alt.Color("model:N", scale=scales["color"], legend=None),
        tooltip=[
            alt.Tooltip("model:N", title="Candidate"),
            alt.Tooltip(f"{row}:N", title=row.capitalize()),
            alt.Tooltip("mean:Q", title="Difference", format="+.4f"),
            alt.Tooltip("low:Q", title="95 % low", format="+.4f"),
            alt.Tooltip("high:Q", title="95 % high", format="+.4f"),
            alt.Tooltip("q:Q", title="p after correction", format=".2g"),
            alt.Tooltip("win_rate:Q", title="Wins", format=".0%"),
            alt.Tooltip("d_z:Q", title="Effect size d_z", format="+.2f"),
            alt.Tooltip("prompts:Q", title="Prompts"),
        ],
    )
    bar = base.mark_rule(strokeWidth=2.5, opacity=0.75).encode(
        x=alt.X("low:Q", title=title, axis=alt.Axis(format="+.3~g", grid=False, tickCount=6)),
        x2=alt.X2("high:Q"),
    )
    point = (
        base.mark_point(size=60, filled=True, strokeWidth=2, opacity=1)
        .encode(
            x=alt.X("mean:Q"),
            shape=alt.Shape("model:N", scale=scales["shape"], legend=None),
            fillOpacity=alt.FillOpacityValue(0.0, condition=when("datum.significant", 1.0)),
            stroke=alt.Stroke("model:N", scale=scales["color"], legend=None),
        )
        .add_params(click(row, nearest=True))
    )
    per_row = max(row_height, 12 * len(models) + 8)
    return layered(zero, bar, point, height=per_row * len(order) + AXIS_ROOM)


def scatter(
    data: pd.DataFrame,
    models: pd.DataFrame,
    x_title: str,
    y_title: str,
    *,
    look: Look | None = None,
) -> alt.LayerChart:
    """One point per prompt: baseline against candidate, with the line of equality.

    Args:
        data: model, prompt_id, text, baseline, candidate, difference.
        models: model_id and label of the candidates.
        x_title: of the baseline's axis.
        y_title: of the candidate's axis.
        look: the page's theme.
    """
    look = look or Look()
    scales = model_scales(models)
    both = pd.concat([data["baseline"], data["candidate"]])
    pad = float((both.max() - both.min()) * 0.05) or 0.01
    limits = [float(both.min()) - pad, float(both.max()) + pad]
    scale = alt.Scale(domain=limits, nice=False)
    equal = (
        alt.Chart(pa.table({"baseline": limits, "candidate": limits}))
        .mark_line(color=look.quiet, strokeDash=[3, 3])
        .encode(x=alt.X("baseline:Q", scale=scale), y=alt.Y("candidate:Q", scale=scale))
    )
    points = (
        alt.Chart(data)
        .mark_point(size=58, filled=True, opacity=0.72, cursor="pointer")
        .encode(
            x=alt.X(
                "baseline:Q",
                scale=scale,
                title=x_title,
                axis=alt.Axis(format=".3~f", tickCount=6, gridOpacity=0.4),
            ),
            y=alt.Y(
                "candidate:Q",
                scale=scale,
                title=y_title,
                axis=alt.Axis(format=".3~f", tickCount=6, gridOpacity=0.4),
            ),
            color=alt.Color("model:N", scale=scales["color"], legend=None),
            shape=alt.Shape("model:N", scale=scales["shape"], legend=None),
            tooltip=[
                alt.Tooltip("text:N", title="Prompt"),
                alt.Tooltip("model:N", title="Candidate"),
                alt.Tooltip("baseline:Q", title="Baseline", format=".3f"),
                alt.Tooltip("candidate:Q", title="Candidate", format=".3f"),
                alt.Tooltip("difference:Q", title="Difference", format="+.3f"),
            ],
        )
        .add_params(click("prompt_key"))
    )
    return layered(equal, points, height=380)


def film_strip(
    data: pd.DataFrame,
    models: pd.DataFrame,
    *,
    marker: int | None = None,
    cell: int = 64,
    look: Look | None = None,
) -> alt.LayerChart:
    """Frames over steps, one row per model; a click on a frame selects its step.

    Args:
        data: model, step, image (WebP or PNG bytes), similarity.
        models: model_id and label, in the order of the rows.
        marker: the chosen step; its nearest frame is outlined.
        cell: about the height of a row in px.
        look: the page's theme.
    """
    look = look or Look()
    labels = [label for label in models["label"] if label in set(data["model"])]
    frames = data.assign(url=[data_url(image) for image in data["image"]]).drop(columns="image")
    steps = sorted(frames["step"].unique())
    x = alt.X(
        "step:O",
        title="Step  (noise → image)",
        axis=alt.Axis(orient="bottom", labelAngle=0, ticks=False, domain=False, grid=False),
        scale=alt.Scale(paddingInner=0.06, paddingOuter=0.02),
    )
    y = alt.Y(
        "model:N",
        sort=labels,
        title=None,
        axis=alt.Axis(ticks=False, domain=False, grid=False, labelLimit=120)
        if len(labels) > 1
        else None,
        scale=alt.Scale(paddingInner=0.06, paddingOuter=0.02),
    )
    size: Any = {"expr": "min(bandwidth('x'), bandwidth('y'))"}
    tooltip = [alt.Tooltip("model:N", title="Model"), alt.Tooltip("step:O", title="Step")]
    if "similarity" in frames:
        tooltip.append(alt.Tooltip("similarity:Q", title="Similarity to the prompt", format=".3f"))
    images = (
        alt.Chart(frames)
        .mark_image(width=size, height=size, smooth=False, cursor="pointer")
        .encode(x=x, y=y, url=alt.Url("url:N"), tooltip=tooltip)
        .add_params(click(*_step_fields(data)))
    )
    layers: list[Any] = [images]
    if marker is not None and steps:
        nearest = min(steps, key=lambda s: abs(s - marker))
        layers.append(_outline(nearest, labels, look, x, y))
    return layered(*layers, height=cell * len(labels) + FRAME - 24)


def _outline(step: int, labels: Sequence[str], look: Look, x: alt.X, y: alt.Y) -> alt.Chart:
    frame = pa.table({"step": [step] * len(labels), "model": list(labels)})
    return (
        alt.Chart(frame)
        .mark_rect(filled=False, stroke="#E69F00", strokeWidth=3, cornerRadius=2)
        .encode(x=x, y=y)
    )


def data_url(image: bytes) -> str:
    """An image as a data URL, so that a chart can show it without a server."""
    kind = "webp" if image[8:12] == b"WEBP" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def thin(steps: Sequence[int], most: int) -> list[int]:
    """At most `most` of the steps, evenly spread, the first and the last always among them."""
    ordered = sorted(set(steps))
    if len(ordered) <= most:
        return ordered
    places = {round(i * (len(ordered) - 1) / (most - 1)) for i in range(most)}
    return [ordered[i] for i in sorted(places)]


def bars(data: pd.DataFrame, models: pd.DataFrame, *, height: int | None = None) -> alt.Chart:
    """Samples per state and model, stacked to the planned number; a click tells the model.

    Args:
        data: model, state (done, failed, missing), samples.
        models: model_id and label, in order.
        height: in px.
    """
    states = alt.Scale(domain=list(STATES), range=["#009E73", "#D55E00", "#9aa5b0"])
    # A narrow card has no room for states that no sample is in.
    present = [state for state in STATES if data.loc[data["state"] == state, "samples"].any()]
    return (
        alt.Chart(data, height=height or 30 * len(models) + FRAME)
        .mark_bar(size=16, cornerRadius=2, cursor="pointer")
        .encode(
            y=alt.Y(
                "model:N",
                sort=list(models["label"]),
                title=None,
                axis=alt.Axis(ticks=False, domain=False),
            ),
            x=alt.X(
                "samples:Q",
                title="Samples",
                stack="zero",
                axis=alt.Axis(format="d", grid=False, tickMinStep=1),
            ),
            color=alt.Color(
                "state:N",
                scale=states,
                legend=alt.Legend(orient="top", title=None, offset=2, values=present),
            ),
            order=alt.Order("place:Q"),
            tooltip=[alt.Tooltip("model:N"), alt.Tooltip("state:N"), alt.Tooltip("samples:Q")],
        )
        .add_params(click("model"))
    )


def contact_sheet(
    data: pd.DataFrame,
    models: pd.DataFrame,
    *,
    order: Sequence[int] | None = None,
    cell: int = 104,
    fewer: bool = False,
    look: Look | None = None,
) -> alt.Chart:
    """Images side by side: a column per prompt, a row per model; a click selects the prompt.

    Args:
        data: model, prompt_id, prompt_key, text, score, image.
        models: model_id and label, in the order of the rows.
        order: prompt_id from left to right; ascending where none is given.
        cell: about the height of a row in px.
        fewer: whether to leave out the last prompts where the chart has no room for them, as on a phone.
        look: the page's theme.
    """
    labels = [label for label in models["label"] if label in set(data["model"])]
    images = data.assign(url=[data_url(image) for image in data["image"]]).drop(columns="image")
    size: Any = {"expr": "min(bandwidth('x'), bandwidth('y'))"}
    band = alt.Scale(paddingInner=0.05, paddingOuter=0.0)
    images["place"] = images["prompt_id"].rank(method="dense")
    room = f"datum.place <= max(2, floor(width / {0.77 * cell:.0f}))" if fewer else "true"
    return (
        alt.Chart(images, height=cell * len(labels))
        .transform_filter(room)
        .mark_image(width=size, height=size, smooth=False, cursor="pointer")
        .encode(
            x=alt.X(
                "prompt_id:O",
                title=None,
                axis=None,
                scale=band,
                sort=list(order) if order is not None else "ascending",
            ),
            y=alt.Y(
                "model:N",
                sort=labels,
                title=None,
                scale=band,
                axis=alt.Axis(ticks=False, domain=False, grid=False, labelLimit=120),
            ),
            url=alt.Url("url:N"),
            tooltip=[
                alt.Tooltip("text:N", title="Prompt"),
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("score:Q", title="CLIP score", format=".3f"),
            ],
        )
        .add_params(click("prompt_key"))
    )
