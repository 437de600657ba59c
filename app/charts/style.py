"""How charts look: the colour, dash and shape of a model, the page's theme, heights.

A model keeps its colour, dash and shape wherever it is drawn (Okabe-Ito, by its position in the study);
the page names the models above the chart, where their names can wrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

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
# Of the checkpoints of a training run, the first to the last: each lighter than the one before, visible on either page.
RAMP = ("#5B4FA8", "#3E7FB5", "#3BA39A", "#7DBE5A", "#CFC43C")
SEQUENTIAL: Any = "viridis"
OUTLINE = "#E69F00"  # of what is chosen
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
        """Middle of a diverging scale: near the page's background, so that 'no difference' recedes."""
        return "#1b232b" if self.dark else "#f6f7f8"

    @property
    def tint(self) -> tuple[str, str]:
        """Ends of a scale of counts behind pictures: none, most."""
        return (self.middle, "#56B4E9" if self.dark else "#0072B2")


def series_scales(labels: Sequence[str], positions: Sequence[int]) -> dict[str, alt.Scale]:
    """Colour, dash and shape of each series, by a fixed position. Where colours begin anew, they come with other dashes and shapes.

    Args:
        labels: names of the series, the scales' domain.
        positions: of each series in its list, from 0.

    Returns:
        scales named color, dash and shape.
    """
    names = list(labels)
    moved = [i + i // len(COLOURS) for i in positions]
    return {
        "color": alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in positions]),
        "dash": alt.Scale(domain=names, range=[list(DASHES[i % len(DASHES)]) for i in moved]),
        "shape": alt.Scale(domain=names, range=[SHAPES[i % len(SHAPES)] for i in moved]),
    }


def model_scales(models: pd.DataFrame) -> dict[str, alt.Scale]:
    """Colour, dash and shape of each model, by its position in the study.

    The checkpoints of a training run have the colours of an ordered ramp, by their place in the run; all of a run have one
    dash and shape.

    Args:
        models: model_id and label of the models in the chart; shade (0..1) and run_number of checkpoints, where there are any.

    Returns:
        scales named color, dash and shape, with the labels as domain.
    """
    scales = series_scales(list(models["label"]), [int(i) - 1 for i in models["model_id"]])
    if "shade" not in models or not models["shade"].notna().any():
        return scales
    for index, (shade, run) in enumerate(zip(models["shade"], models["run_number"], strict=True)):
        if pd.notna(shade):
            scales["color"].range[index] = ramp(float(shade))
            scales["dash"].range[index] = list(DASHES[int(run) % len(DASHES)])
            scales["shape"].range[index] = SHAPES[int(run) % len(SHAPES)]
    return scales


def ramp(shade: float) -> str:
    """The colour of a place in a training run, 0 = the first checkpoint, 1 = the last: between two of `RAMP`."""
    at = min(max(shade, 0.0), 1.0) * (len(RAMP) - 1)
    below = min(int(at), len(RAMP) - 2)
    ends = [[int(RAMP[i][k : k + 2], 16) for k in (1, 3, 5)] for i in (below, below + 1)]
    mixed = [round(a + (b - a) * (at - below)) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{value:02X}" for value in mixed)


@dataclass(frozen=True)
class Channels:
    """Colour, dash and shape of the models as channels without a legend."""

    color: alt.Color
    dash: alt.StrokeDash
    shape: alt.Shape


def model_channels(models: pd.DataFrame) -> Channels:
    """The channels of `model`, by each model's position in the study.

    Args:
        models: model_id and label of the models in the chart.
    """
    scales = model_scales(models)
    return Channels(
        alt.Color("model:N", scale=scales["color"], legend=None),
        alt.StrokeDash("model:N", scale=scales["dash"], legend=None),
        alt.Shape("model:N", scale=scales["shape"], legend=None),
    )


def model_colour(model_id: int) -> str:
    """The colour of a model, by its position in the study."""
    return COLOURS[(model_id - 1) % len(COLOURS)]
