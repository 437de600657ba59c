"""The horizontal axes of a trajectory, the marker of the chosen step, and which steps are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd
import pyarrow as pa

from app.charts.style import Look


@dataclass(frozen=True)
class Axis:
    """What the horizontal axis of a trajectory shows.

    Attributes:
        field: column: step, timestep, log_snr or progress.
        title: with direction and unit.
        reverse: whether values fall from left (noise) to right (image).
        format: of the labels.
    """

    field: str
    title: str
    reverse: bool = False
    format: str = "d"


AXES = {
    "Step": Axis("step", "Step  (noise → image)"),
    "Timestep": Axis("timestep", "Timestep  (noise → image)", reverse=True),
    "Progress": Axis("progress", "Share of the steps  (noise → image)", format=".0%"),
    "Log-SNR": Axis("log_snr", "Log-SNR  (noise → image)", format=".1~f"),
}


def by_field(field: str) -> Axis:
    """The axis of a column: step, timestep, log_snr or progress."""
    return next(axis for axis in AXES.values() if axis.field == field)


def levels(steps: pd.DataFrame, model: int, field: str) -> dict[int, float] | None:
    """The log-SNR of each step of a model, for a chart with a column per step; None where another axis is chosen.

    Args:
        steps: model_id, step and log_snr.
        model: model_id.
        field: of the chosen axis.
    """
    if field != "log_snr":
        return None
    rows = steps[steps["model_id"] == model]
    return dict(zip(rows["step"].astype(int), rows["log_snr"].astype(float), strict=True))


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


def step_marker(axis: Axis, value: float, look: Look) -> alt.Chart:
    """A rule at the chosen value of the axis."""
    return (
        alt.Chart(pa.table({axis.field: [value]}))
        .mark_rule(color=look.quiet, strokeWidth=1.5)
        .encode(x=across(axis))
    )


def step_fields(data: pd.DataFrame) -> list[str]:
    """The columns that say which step was clicked: models of other numbers of steps share their progress."""
    return ["step", "progress"] if "progress" in data else ["step"]


def thin(steps: Sequence[int], most: int) -> list[int]:
    """At most `most` of the steps, evenly spread, the first and the last always among them."""
    ordered = sorted(set(steps))
    if len(ordered) <= most:
        return ordered
    indices = {round(i * (len(ordered) - 1) / (most - 1)) for i in range(most)}
    return [ordered[i] for i in sorted(indices)]
