"""The step at which two entries part: planted distances, a definition by brute force, a study whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis import parting, uncertainty
from app.analysis.parting import LATER, NEVER, START
from app.figures.source import Choice, FigureStudy, open_study
from tests.support.variants import HALF, PARTED, WITH_DISTANCES


def points(*curves: Sequence[float], x: Sequence[float] | None = None) -> pd.DataFrame:
    """One sample of a prompt of its own per curve."""
    return pd.DataFrame(
        [
            {"model_id": 1, "prompt_id": i, "seed": 0, "step": s, "value": v, "x": (x or range(len(curve)))[s]}
            for i, curve in enumerate(curves)
            for s, v in enumerate(curve)
        ]
    )  # fmt: skip


def outcomes(rows: pd.DataFrame) -> list[tuple[str, float]]:
    return list(zip(rows["outcome"], rows["x"], strict=True))


def test_a_sample_parts_where_it_stays_beyond_the_threshold_to_the_end() -> None:
    rows = points(
        [1, 1, 0.8, 1, 0.9, 0.7],  # beyond at step 2 for a moment, to the end from step 4 on
        [0.9, 0.9, 0.9, 0.9, 0.9, 0.9],
        [0.9, 0.9, 0.9, 0.9, 0.9, 0.95],  # exactly at the threshold is within it
        [1, 1, 1, 1, 1, 0.2],
    )
    shuffled = rows.sample(frac=1, random_state=0)
    parted = parting.parted_at(shuffled, 0.95, lower=False)
    assert outcomes(parted) == [(LATER, 4), (START, 0), (NEVER, 5), (LATER, 5)]


def test_a_distance_is_beyond_it_above() -> None:
    rows = points([0, 0.05, 0.3, 0.2], [0.3, 0.3, 0.3, 0.1], [0.3, 0.2, 0.2, 0.2])
    assert outcomes(parting.parted_at(rows, 0.1, lower=True)) == [
        (LATER, 2),
        (NEVER, 3),
        (START, 0),
    ]


def test_on_a_noise_axis_the_crossing_lies_between_two_steps() -> None:
    """From 1.0 at log-SNR -2 to 0.8 at 0: 0.95 is crossed a quarter of the way."""
    rows = points([1, 1, 0.8, 0.8], x=[-6, -2, 0, 5])
    ((outcome, level),) = outcomes(parting.parted_at(rows, 0.95, lower=False, between=True))
    assert outcome == LATER and level == pytest.approx(-1.5)
    censored = points([0.8] * 4, [1.0] * 4, x=[-6, -2, 0, 5])
    parted = parting.parted_at(censored, 0.95, lower=False, between=True)
    assert outcomes(parted) == [(START, -6), (NEVER, 5)]


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=9), min_size=1, max_size=4))
def test_it_is_what_a_loop_over_the_steps_finds(curves: list[list[float]]) -> None:
    parted = parting.parted_at(points(*curves), 0.5, lower=False)
    for (outcome, x), curve in zip(outcomes(parted), curves, strict=True):
        ends = [s for s in range(len(curve)) if all(value < 0.5 for value in curve[s:])]
        if not ends:
            assert (outcome, x) == (NEVER, len(curve) - 1)
        else:
            assert (outcome, x) == (START if ends[0] == 0 else LATER, ends[0])


@pytest.fixture(scope="module")
def study(altered: Callable[..., Path]) -> FigureStudy:
    return open_study(str(altered(*WITH_DISTANCES)), Choice())


def test_the_studys_distances_are_known_with_their_reference_and_threshold(
    study: FigureStudy,
) -> None:
    (distance,) = parting.distances(study)
    assert (distance.measure.metric, distance.reference, distance.kind) == ("x0-ssim", 1, "ssim")
    assert distance.of_steps and distance.threshold == 0.95 and distance.beyond == "below"


def test_planted_entries_part_where_they_were_planted(study: FigureStudy) -> None:
    """Model 3: half of the prompts from the start (0), half never (11): the restricted mean is 5.5, by hand."""
    table = parting.parting(study, "x0-ssim", axis="step").set_index("model_id")
    assert table.index.tolist() == [2, 3], "the reference has no row"
    known = table.loc[2]
    assert (known["mean"], known["low"], known["high"]) == (PARTED, PARTED, PARTED)
    assert known[["start_share", "later_share", "never_share"]].tolist() == [0, 1, 0]
    mixed = table.loc[3]
    values = [0.0] * HALF + [11.0] * (24 - HALF)
    interval = uncertainty.t_interval(values)
    assert (mixed["mean"], mixed["low"], mixed["high"]) == pytest.approx((interval.estimate, interval.low, interval.high))  # fmt: skip
    assert mixed[["start_share", "later_share", "never_share"]].tolist() == [0.5, 0, 0.5]
    assert table["prompts"].tolist() == [24, 24] and set(table["said"]) == {LATER}
    assert table["rank"].tolist() == ["=1", "=1"], "6 and 5.5 over such spread are not separable"


def test_in_log_snr_they_part_between_two_steps(study: FigureStudy) -> None:
    levels = study.ask("steps", models=[2]).set_index("step")["log_snr"]
    table = parting.parting(study, "x0-ssim", axis="log_snr").set_index("model_id")
    share = (0.95 - 0.99) / (0.85 - 0.99)
    expected = levels[PARTED - 1] + share * (levels[PARTED] - levels[PARTED - 1])
    assert table.loc[2, "mean"] == pytest.approx(expected)


def test_the_threshold_is_the_readers(study: FigureStudy) -> None:
    strict = parting.parting(study, "x0-ssim", 0.995, "step").set_index("model_id")
    assert strict["said"].tolist() == [START, START] and (strict["mean"] == 0).all()
    loose = parting.parting(study, "x0-ssim", 0.5, "step").set_index("model_id")
    assert loose["said"].tolist() == [NEVER, NEVER] and (loose["mean"] == 11).all()


def test_a_rank_needs_six_prompts(study: FigureStudy) -> None:
    few = replace(study, scope=replace(study.scope, prompts=(1, 2, 13, 14, 15)))
    table = parting.parting(few, "x0-ssim", axis="step")
    assert table["prompts"].tolist() == [5, 5]
    assert table["rank"].tolist() == ["", ""] and set(table["said"]) == {uncertainty.TOO_FEW}
    six = replace(study, scope=replace(study.scope, prompts=(13, 14, 15, 16, 17, 18)))
    assert parting.parting(six, "x0-ssim", axis="step")["rank"].tolist() == ["2", "1"]


def test_lists_that_do_not_fit_each_other_are_left_out(altered: Callable[..., Path]) -> None:
    damaged = "UPDATE score SET step_values = step_values[:5] WHERE prompt_id = 1"
    study = open_study(str(altered(*WITH_DISTANCES, damaged)), Choice())
    assert parting.parting(study, "x0-ssim", axis="step")["prompts"].tolist() == [23, 23]
    none = open_study(str(altered(*WITH_DISTANCES, "UPDATE score SET steps = []")), Choice())
    assert parting.parting(none, "x0-ssim").empty


JUNK = ["", "[", "[]", "3", "null", '{"distance": 3}', '{"distance": [3, null, {}]}', "[" * 9999,
        '{"distance": [{"kind": "ssim", "name": ["x"], "reference": {}}]}',
        '{"distance": [{"kind": "new", "name": "x0-ssim", "reference": "scenes-unet"}]}',
        '{"distance": [{"kind": "ssim", "name": "x0-ssim", "reference": "no such model"}]}']  # fmt: skip


@pytest.mark.parametrize("spec", JUNK, ids=range(len(JUNK)))
def test_a_strangers_study_file_names_no_distance(study: FigureStudy, spec: str) -> None:
    row = study.study.copy()
    row["spec"] = spec
    strange = replace(study, study=row)
    assert parting.distances(strange) == []
    assert parting.parting(strange, "x0-ssim").empty


def test_a_study_without_distances_has_none(results: Path) -> None:
    plain = open_study(str(results), Choice())
    assert parting.distances(plain) == [] and parting.by_name(plain, "x0-ssim") is None
    assert parting.parting(plain, "x0-ssim").empty and np.isfinite(parting.THRESHOLDS["psnr"])
