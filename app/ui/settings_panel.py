"""The models' settings side by side: a row per setting, a column per model."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.ui import tables
from app.ui.page import Page

TRIAL = (
    "Checked: a trial of two steps before the run: mean difference of the last predicted clean image from the final image in "
    "levels of 255 (a scheduler that ends with noise leaves some), whether recording changed a bit, and whether a replayed "
    "denoiser call gave the captured output."
)
SETTINGS = {
    "checked": "Checked",
    "pipeline": "Pipeline",
    "scheduler": "Scheduler",
    "schedule": "Schedule",
    "steps": "Steps",
    "guidance": "Guidance",
    "prediction_type": "Prediction",
    "dtype": "Precision",
    "parameters": "Denoiser",
    "source": "Source",
    "revision": "Revision",
}
NAME = 96  # px of the column of settings' names
WIDE = 714  # px that the models' columns share at 1280
LEAST, MOST = 140, 228  # px of a model's column: five fit at 1280, one beside the names on a phone


def show(page: Page) -> None:
    """The table; what no model has is left out."""
    columns: dict[str, Any] = {
        "setting": st.column_config.TextColumn("Setting", pinned=True, width=NAME)
    }
    width = min(MOST, max(LEAST, WIDE // max(1, len(page.models))))
    for model_id, label in zip(page.models["model_id"], page.models["label"], strict=True):
        columns[f"model_{model_id}"] = st.column_config.TextColumn(label, width=width)
    tables.show(
        settings(page.models),
        height="content",
        alt="Models and their settings",
        column_config=columns,
    )


def settings(models: pd.DataFrame) -> pd.DataFrame:
    """A row per setting that any model has, a column per model, named model_1 and so on.

    Args:
        models: of the snapshot's table `model`.
    """
    texts = pd.DataFrame(
        {
            f"model_{row['model_id']}": [_text(row, each) for each in SETTINGS]
            for _, row in models.iterrows()
        }
    )
    table = pd.concat([pd.Series(list(SETTINGS.values()), name="setting"), texts], axis=1)
    return table[texts.notna().any(axis=1)].reset_index(drop=True)


def _text(model: pd.Series, setting: str) -> str | None:
    """A setting of a model; None where it is not known."""
    if setting == "checked":
        return trial(model)
    value = model[setting]
    if pd.isna(value) or value == "":
        return None
    if setting == "parameters":
        return f"{value / 1e6:.1f} M parameters"
    return f"{value:.1f}" if setting == "guidance" else str(value)


def trial(model: pd.Series) -> str:
    """What the trial of a model showed, in words."""
    if pd.isna(model["x0_levels"]):
        return "not tried"
    bits = (
        "" if pd.isna(model["same_bits"]) else f", {'same' if model['same_bits'] else 'other'} bits"
    )
    replay = model["replay_difference"]
    replayed = (
        ""
        if pd.isna(replay)
        else ", replay equal"
        if replay == 0
        else f", replay within {replay:.1g}"
    )
    return f"x0 within {model['x0_levels']:.1f}{bits}{replayed}"
