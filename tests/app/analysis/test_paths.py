"""Paths and spectra."""

from __future__ import annotations

import pandas as pd

from app.analysis import paths


def test_the_first_concept_that_a_prompt_names() -> None:
    assert paths.first_named("a red cat", ["cat", "red"]) == "cat"
    assert paths.first_named("concatenate", ["cat"]) == "(none)"


def test_rare_groups_are_joined() -> None:
    group, names = paths.grouped(pd.Series(["a", "a", "b", "c"]), 1)
    assert (group.tolist(), names) == (["a", "a", "(other)", "(other)"], ["a", "(other)"])
    assert paths.grouped(pd.Series(["a", "b"]), 2)[1] == ["a", "b"]


def test_a_change_that_is_unknown_at_the_first_step_is_left_out() -> None:
    rows = pd.DataFrame(
        {"model_id": 1, "band": 0, "low": 0.0, "high": 0.1, "step": [0, 1], "prompts": 4,
         "mean": [2.0, 3.0], "sd": 0.1, "change": [None, 1.0], "change_sd": [None, 0.2]}
    )  # fmt: skip
    power, change = (paths.spectrum(lambda name: rows, change=each) for each in (False, True))
    assert power["mean"].tolist() == [2.0, 3.0] and power["frequency"].tolist() == [0.05] * 2
    assert change["mean"].tolist() == [1.0] and change["low"].iloc[0] < 1 < change["high"].iloc[0]
