"""When concepts are decided: planted steps are found, a concept that never appears and one that always does give no step."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import switching, uncertainty, windows
from app.figures.source import Choice, open_study

# What FakeWorker plants: switches at 0, 2, ..., 10, 12 of 12 steps succeed up to the family's step.
UNET, SHORT, COLOUR, OBJECT = 1, 2, 3.0, 9.0


@pytest.fixture(scope="module")
def view(results):
    return open_study(str(results), Choice())


def only(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize("direction", ["insert", "remove"])
def test_planted_steps_are_found(view, direction):
    table = switching.decided(view, "judge", "step", direction)
    for family, step in (("colour", COLOUR), ("object", OBJECT)):
        row = only(table, model_id=UNET, family=family)
        assert row["mean"] == step and row["prompts"] == 24 and row["share"] == 1
        assert (row["low"], row["high"]) == (step - 1, step + 1)  # between two switches
    half = switching.half_points(view, "judge", direction)
    row = only(half, model_id=UNET, family="colour")
    assert row["half_step"] == COLOUR and (row["low_step"], row["high_step"]) == (2, 4)
    assert only(table, model_id=UNET, family="colour")["rank"] == "1"
    assert only(table, model_id=UNET, family="object")["rank"] == "2"


def test_interval_is_that_of_scipy_over_prompts(view):
    prompts = switching.decided_prompts(view, "judge", "step")
    part = prompts[(prompts["model_id"] == SHORT) & (prompts["family"] == "colour")]
    assert set(part["x"]) == {3.0, 5.0}
    row = only(switching.decided(view, "judge", "step"), model_id=SHORT, family="colour")
    assert row["mean"] == pytest.approx(part["x"].mean())
    low, high = stats.t.interval(0.95, len(part) - 1, part["x"].mean(), stats.sem(part["x"]))
    assert (row["low"], row["high"]) == pytest.approx((low - 1, high + 1))


def test_log_snr_is_that_of_the_switch(view):
    steps = view.ask("steps", models=[UNET]).set_index("step")["log_snr"]
    row = only(switching.half_points(view, "judge"), model_id=UNET, family="colour")
    assert row["half_log_snr"] == pytest.approx((steps[2] + steps[4]) / 2)
    assert (row["low_log_snr"], row["high_log_snr"]) == pytest.approx((steps[2], steps[4]))
    curve = switching.curves(view, "judge")
    last = curve[(curve["model_id"] == UNET) & (curve["step"] == 12)]["log_snr"].iloc[0]
    assert last == pytest.approx(2 * steps[11] - steps[10])


def test_differences_follow_the_one_rule(view):
    table = switching.differences(view, "judge", "step", UNET)
    row = only(table, model_id=SHORT, family="colour")
    prompts = switching.decided_prompts(view, "judge", "step")
    wide = prompts[prompts["family"] == "colour"].pivot(
        index="prompt_id", columns="model_id", values="x"
    )
    paired = uncertainty.compare(wide[UNET], wide[SHORT])
    assert row["difference"] == paired.difference.estimate > 0 and row["p"] == paired.p
    assert row["verdict"] == uncertainty.SEPARABLE
    assert np.allclose(table["q"], uncertainty.holm(table["p"]), equal_nan=True)
    same = only(table, model_id=3, family="colour")
    assert same["difference"] == 0 and same["verdict"] == uncertainty.NOT_SEPARABLE


@pytest.mark.parametrize("value", [0, 1])
def test_never_and_always_are_flat_and_give_no_step(altered, value):
    """A concept that never appears, and a base that is the prompt."""
    view = open_study(str(altered(f"UPDATE switch SET judged = {value}")), Choice())
    curve = switching.curves(view, "judge")
    assert set(curve["mean"]) == {float(value)}
    assert switching.decided(view, "judge", "step").empty
    assert switching.half_points(view, "judge")["half_step"].isna().all()


def test_without_a_judge_the_scorer_is_asked(altered):
    view = open_study(str(altered("UPDATE switch SET judged = NULL")), Choice())
    known = switching.measured(switching.rows_of(view))
    assert known == ["contrast", "preference"] or known == ["preference"]
    table = switching.decided(view, "preference", "step")
    assert only(table, model_id=UNET, family="object")["mean"] == OBJECT
    assert switching.agreement(view).empty


def test_agreement_with_the_judge(altered):
    view = open_study(
        str(altered("UPDATE switch SET preference = -preference WHERE step = 0")), Choice()
    )
    row = only(switching.agreement(view), model_id=UNET, outcome="preference")
    assert row["mean"] == pytest.approx(6 / 7)


def test_timeline_has_both_kinds_in_the_order_of_deciding(view):
    table = switching.timeline(view, "judge", "step")
    assert list(dict.fromkeys(table["family"])) == ["colour", "object"]
    assert set(table["kind"]) == {"visible", "decided"}
    assert not table[["mean", "low", "high"]].isna().any(axis=None)
    said = switching.first_decided(switching.decided(view, "judge", "step"))
    assert "colour (1), object (2)" in said


def test_half_point_by_test_inversion():
    """Against the definition: the t test of the excess over the middle is just significant at the limits."""
    rng = np.random.default_rng(0)
    steps = np.arange(11)
    values = (steps[None] <= rng.integers(2, 9, 30)[:, None]).astype(float)
    values[:, 0], values[:, -1] = 1, 0
    part = pd.DataFrame(
        [
            {"prompt_id": p, "step": s, "log_snr": 2.0 * s, "judge": values[p, s]}
            for p in range(30)
            for s in steps
        ]
    )
    half = switching._half(part, "judge", "insert")
    spread = [s for s in steps if values[:, s].std() > 0]
    inside = [s for s in spread if stats.ttest_1samp(values[:, s] - 0.5, 0).pvalue > 0.05]
    assert half["low_step"] <= min(inside) and half["high_step"] >= max(inside)
    assert half["low_step"] > min(inside) - 1 and half["high_step"] < max(inside) + 1
    assert half["low_step"] < half["half_step"] < half["high_step"]
    assert half["half_log_snr"] == pytest.approx(2 * half["half_step"])


def test_a_view_of_one_concept_has_its_prompts_and_no_other_family(view):
    names = switching.concepts_of(view)
    assert len(names) > 2 and all("/" in name for name in names)
    every = pd.concat([switching.rows_of(view), windows.rows_of(view)])
    assert every["family"].nunique() > 1
    for name in names:
        family, concept = name.split("/")
        narrow = switching.of_concept(view, name)
        rows = switching.rows_of(narrow)
        rows_of_all = switching.rows_of(view)
        wanted = rows_of_all[
            (rows_of_all["family"] == family) & (rows_of_all["concept"] == concept)
        ]
        assert len(rows) == len(wanted) > 0 and rows["judge"].sum() == wanted["judge"].sum()
        redraws = windows.rows_of(narrow)
        assert set(redraws["family"]) <= {family}
        assert set(redraws["prompt_id"]) <= set(wanted["prompt_id"])
        assert set(windows.causes(narrow, "judge", "log_snr")["family"]) <= {family}
