"""Paths and spectra."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from app.analysis import paths
from app.ui import queries


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


@pytest.mark.parametrize("prompts", [None, (2, 3, 5, 8), ()])
def test_the_bins_of_the_map_hold_the_images_that_end_there(prompts, snapshot, scope, direct):
    """Against numpy's histogram of the same points."""
    part = replace(scope, models=(1, 3), prompts=prompts)
    bins = paths.image_map(partial(queries.ask_scope, snapshot, scope=part), 5, 4)
    ends = direct.execute(
        "SELECT model_id, prompt_id, seed, list_last(x) AS x, list_last(y) AS y FROM path WHERE model_id IN (1, 3)"
    ).df()
    counts, across, up = np.histogram2d(ends["x"], ends["y"], bins=(5, 4))
    at = {
        (round((row.x_low - across[0]) / np.diff(across)[0]), round((row.y_low - up[0]) / np.diff(up)[0])): row
        for row in bins.itertuples()
    }  # fmt: skip
    assert {key: row.images for key, row in at.items()} == {
        (i, j): n for (i, j), n in np.ndenumerate(counts) if n
    }
    left = ends if prompts is None else ends[ends["prompt_id"].isin(prompts)]
    for row in at.values():
        inside = (ends["x"].between(row.x_low - 1e-9, row.x_high + 1e-9)) & (
            ends["y"].between(row.y_low - 1e-9, row.y_high + 1e-9)
        )
        assert row.prompts == ends[inside]["prompt_id"].nunique()
        assert row.images_left == inside[left.index].sum()
        shown = left[inside[left.index]] if row.images_left else ends[inside]
        centre = (row.x_low + row.x_high) / 2, (row.y_low + row.y_high) / 2
        width, height = row.x_high - row.x_low, row.y_high - row.y_low
        off = ((shown["x"] - centre[0]) / width) ** 2 + ((shown["y"] - centre[1]) / height) ** 2
        nearest = shown.loc[off.idxmin()]
        assert (row.model_id, row.prompt_id, row.seed) == tuple(nearest[["model_id", "prompt_id", "seed"]])  # fmt: skip
        assert row.image


def test_a_single_image_is_a_map_of_one_bin(snapshot, scope):
    (category,) = queries.ask(snapshot, "categories")["category"].head(1)
    part = replace(scope, models=(1,), seeds=(0,), categories=(category,))
    bins = paths.image_map(partial(queries.ask_scope, snapshot, scope=part), 1, 1)
    assert len(bins) == 1 and bins["images"].iloc[0] == bins["prompts"].iloc[0]
