"""Short texts: labels, counts, names of models with their colour."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import streamlit as st

from app.charts import keys
from app.charts.style import Look, model_scales
from app.ui import texts

UNNAMED = "gray"
HUES = ("blue", "orange", "green", "violet", "yellow", UNNAMED, UNNAMED, UNNAMED)
"""What the theme calls the charts' colours, in their order; it has no name for the last three."""
KEY = "Models and their colours"
MARKS = "●■▲◆✚▼►◄"  # the charts' shapes, in their order


plain = texts.plain


def slug(text: str) -> str:
    """A text as a widget's key: lower-case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def shorten(text: str, length: int = 90) -> str:
    """Text on one line, cut with an ellipsis; it stays text."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def count(number: int, noun: str) -> str:
    """'1 prompt', '12 prompts'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def model_hue(model_id: int) -> Any:
    """The theme's name for the model's colour (see .streamlit/config.toml)."""
    return HUES[(model_id - 1) % len(HUES)]


def model_mark(model_id: int) -> str:
    """A dot in the model's colour, as Markdown."""
    return f":{model_hue(model_id)}[●]"


def model_name(model_id: int, label: str) -> None:
    """A model's name beside its colour."""
    st.markdown(f"{model_mark(model_id)} **{plain(label)}**")


def legend(models: pd.DataFrame) -> None:
    """The models' shapes and colours above their charts, in as many lines as their names need."""
    if len(models) < 2:
        return
    runs = models[models["shade"].notna()] if "shade" in models else models.iloc[:0]
    alone = models.drop(runs.index) if len(runs) else models
    shown = [] if _needs_chart(alone) else _names(alone)
    if len(runs):
        shown += [_run(str(run), part) for run, part in runs.groupby("run", sort=False)]
    if shown:
        st.markdown("&emsp; ".join(shown))
    if _needs_chart(alone):
        look = Look(dark=st.context.theme.type == "dark")
        st.altair_chart(keys.key(list(alone["label"]), model_scales(alone), look), alt=KEY)


def _needs_chart(models: pd.DataFrame) -> bool:
    """Whether a model has a colour that Markdown cannot name."""
    return any(model_hue(int(i)) == UNNAMED for i in models["model_id"])


def _names(models: pd.DataFrame) -> list[str]:
    names = zip(models["model_id"].astype(int), models["label"], strict=True)
    return [f"{_shape(i)}&nbsp;{_unbroken(label)}" for i, label in names]


def _run(run: str, checkpoints: pd.DataFrame) -> str:
    """A training run, whose checkpoints have the colours of a ramp, in one entry of the legend."""
    steps = checkpoints["training_step"].astype(int)
    ramp = "".join(f":{hue}[━]" for hue in ("violet", "blue", "green", "yellow"))
    return f"{ramp}&nbsp;{_unbroken(run)} :small[{len(steps)} checkpoints, {steps.min():,} to {steps.max():,}]"


def _unbroken(label: str) -> str:
    """A name that stays on one line; a line breaks between names."""
    return f":small[{plain(shorten(label, 32)).replace(' ', chr(0xA0))}]"


def _shape(model_id: int) -> str:
    return f":{model_hue(model_id)}[{MARKS[(model_id - 1) % len(MARKS)]}]"
