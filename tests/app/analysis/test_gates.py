"""The gate: criteria files that are refused, and read back the same; power; the rule at other levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from app.analysis import criteria, gates, reviews, spending, uncertainty
from app.analysis.criteria import CriteriaError, Gate
from app.analysis.reviews import FAIL, PASS, UNDECIDED, Criterion, Review
from app.figures.source import Choice, open_study
from tests.support.texts import HOSTILE

WHOLE = """
question = "May it go live?"
baseline = "scenes-unet"
candidate = "scenes-unet-short"
[filters]
models = ["UNet"]
categories = ["", "two objects"]
seeds = [0, 1]
slice = ["text=a", "roles=subject"]
[[criterion]]
measure = "CLIP score"
margin = 0.005
[[criterion]]
measure = "Seconds per image"
direction = "lower"
threshold = 2
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "criteria.toml"
    path.write_text(text)
    return path


def test_a_criteria_file_is_read_and_written_the_same(tmp_path: Path) -> None:
    gate = criteria.read(written(tmp_path, WHOLE))
    assert gate.criteria[0] == Criterion("CLIP score", "", 0.005)
    assert gate.criteria[1] == Criterion("Seconds per image", "lower", 0.0, 2.0)
    assert gate.filters == {
        "models": ("UNet",), "categories": ("", "two objects"), "seeds": (0, 1),
        "slice": ("text=a", "roles=subject"),
    }  # fmt: skip
    again = criteria.read(written(tmp_path, criteria.written(gate)))
    assert again == gate and again.sha256() == gate.sha256()


@pytest.mark.parametrize("text", [each for each in HOSTILE if each.strip()])
def test_texts_of_a_review_survive_its_criteria_file(text: str, tmp_path: Path) -> None:
    review = Review("i", "t", "Ada", text, "a", "b", "slice_text=x", 1, "h", (Criterion("m", "higher", -0.5),))  # fmt: skip
    gate = criteria.of_review(review)
    again = criteria.read(written(tmp_path, criteria.written(gate)))
    assert (again.criteria, again.filters) == (gate.criteria, gate.filters)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("baseline", "basline"), "there is no key 'basline'. Did you mean baseline?"),
        (('candidate = "scenes-unet-short"', ""), "candidate is missing"),
        (('"scenes-unet-short"', '"scenes-unet"'), "baseline and candidate are both 'scenes-unet'"),
        (("margin = 0.005", "margin = nan"), "criterion 1: margin = nan"),
        (("margin = 0.005", "margin = true"), "criterion 1: margin = True"),
        (("margin = 0.005", "margin = 1\nthreshold = 1"), "one of them"),
        (("margin = 0.005", ""), "one of them"),
        (('"lower"', '"down"'), "criterion 2: direction = 'down'. Allowed: higher, lower"),
        (("[0, 1]", '["x"]'), "filters: seeds has 'x'"),
        (("[0, 1]", "[]"), "filters: seeds = []"),
        (("[0, 1]", "[-1]"), "filters: seeds has -1"),
        (('"text=a"', '"order=sideways"'), "'sideways' is none of"),
        (('"UNet"', '"a\\u0000b"'), "printable characters"),
        (('"UNet"', f'"{"x" * 301}"'), "1 to 300 printable"),
        (('"UNet"', "[[1]]"), "filters: models = "),
        (("[filters]", "[[filters]]"), "filters: "),
        (("[[criterion]]", "[criterion]"), "not TOML"),
        (("= 2", "= 2\n" + '[[criterion]]\nmeasure="m"\nmargin=0\n' * 19), "21 criteria"),
        (("margin = 0.005", "margin = 9" + "9" * 400), "criterion 1: margin"),
    ],
)
def test_what_is_wrong_in_a_criteria_file_is_one_line(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    text = WHOLE.replace(*change, 1) if change[0] != "[[criterion]]" else WHOLE.replace(*change)
    with pytest.raises(CriteriaError) as refused:
        criteria.read(written(tmp_path, text))
    line = str(refused.value)
    assert message in line and "\n" not in line and len(line) < 400


def test_only_a_small_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "link.toml").symlink_to(written(tmp_path, WHOLE))
    (tmp_path / "large.toml").write_text("#" * (criteria.LARGEST_FILE + 1))
    (tmp_path / "deep.toml").write_text("a = " + "[" * 20_000)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("link.toml", "large.toml", "deep.toml", "bytes.toml", "none.toml", "."):
        with pytest.raises(CriteriaError) as refused:
            criteria.read(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_a_saved_review_and_its_file_give_the_same_verdicts(results: Path, tmp_path: Path) -> None:
    asked = (Criterion("CLIP score", "higher", 0.005), Criterion("Emergence (log-SNR): object", "lower", 0.0))  # fmt: skip
    names = tuple(open_study(str(results), Choice()).every_model["name"][:2])
    labels = tuple(open_study(str(results), Choice()).every_model["label"][:2])
    for filters, choice in (
        ("", Choice()),
        (f"models={labels[0]}&seeds=1&slice_most=8", Choice(models=labels[:1], seeds=(1,), slice=("most=8",))),
    ):  # fmt: skip
        review = Review("i", "t", "Ada", "May it?", *names, filters, 1, "h", asked)
        gate = criteria.read(written(tmp_path, criteria.written(criteria.of_review(review))))
        assert gate.query() == filters
        study = open_study(str(results), choice)
        measured = reviews.measures(study, (1, 2))
        page = [reviews.judge(each, measured, (1, 2)) for each in asked]
        decision = gates.decide(open_study(str(results), Choice(**gate.filters)), gate)
        pd.testing.assert_frame_equal(
            reviews.table(decision.verdicts), reviews.table(page), check_exact=True
        )


def test_what_the_study_lacks_is_named(results: Path) -> None:
    study = open_study(str(results), Choice())
    known = Gate("scenes-unet", "scenes-unet-short", (Criterion("CLIP score", "", 0.0),))
    assert gates.decide(study, known).verdicts[0].criterion.direction == "higher"
    for gate, message in (
        (replace(known, baseline="other"), "baseline: no model 'other' in this study. Allowed: scenes-unet,"),
        (replace(known, candidate="UNet"), "candidate: 'UNet' is the baseline"),
        (replace(known, criteria=(Criterion("CLIP scor", "", 0.0),)), "Did you mean 'CLIP score'?"),
    ):  # fmt: skip
        with pytest.raises(CriteriaError, match="^" + message.split("?")[0].replace("(", r"\(").replace("Did", ".*Did")):  # fmt: skip
            gates.decide(study, gate)


def of_differences(gap: np.ndarray) -> reviews.Measures:
    base = np.linspace(0.2, 0.4, len(gap))
    return {"m": reviews.Evidence("higher", pd.DataFrame({1: base, 2: base + gap}))}


@pytest.mark.parametrize(
    ("values", "direction", "threshold", "expected"),
    [
        ([0.5, 0.6] * 10, "higher", 0.4, PASS),
        ([0.5, 0.6] * 10, "higher", 0.7, FAIL),
        ([0.5, 0.6] * 10, "lower", 0.7, PASS),
        ([0.5, 0.6] * 10, "higher", 0.55, UNDECIDED),
        ([0.5, 0.6] * 2, "higher", 0.4, UNDECIDED),
    ],
)
def test_a_threshold_is_held_against_the_candidates_own_mean(
    values: list[float], direction: str, threshold: float, expected: str
) -> None:
    wide = pd.DataFrame({1: np.nan, 2: values})
    criterion = Criterion("m", direction, 0.0, threshold)
    verdict = reviews.judge(criterion, {"m": reviews.Evidence("higher", wide, 0.9)}, (1, 2))
    assert verdict.verdict == expected
    assert verdict.paired.difference.estimate == pytest.approx(np.mean(values) - threshold)


@pytest.mark.parametrize(
    ("difference", "margin", "expected"),
    [(0.3, 0.0, PASS), (0.1, 0.2, PASS), (-0.5, 0.2, FAIL), (0.5, -0.2, PASS), (0.1, -0.4, FAIL)],
)
def test_as_many_prompts_as_are_said_decide_it_four_times_in_five(
    difference: float, margin: float, expected: str
) -> None:
    """Simulated with the difference and the deviation that the estimate took for true."""
    criterion = Criterion("m", "higher", margin)
    few = np.concatenate([np.ones(5), -np.ones(5)])
    few = few / few.std(ddof=1) + difference
    paired = uncertainty.compare(np.zeros(10), few)
    more = reviews.more_prompts(criterion, paired, paired.p)
    noise = np.random.default_rng(7).normal(difference, 1, (3000, int(more) + 10))
    low, high = uncertainty.t_limits(noise.mean(1), noise.std(1, ddof=1), noise.shape[1])
    p = uncertainty.paired_t_p(noise.mean(1), noise.std(1, ddof=1), noise.shape[1])
    verdicts = [
        reviews.rule(criterion, uncertainty.Interval(0.0, a, b, noise.shape[1]), q)[0]
        for a, b, q in zip(low, high, p, strict=True)
    ]
    assert np.mean([each == expected for each in verdicts]) == pytest.approx(0.8, abs=0.04)


def test_no_number_of_prompts_decides_a_difference_on_the_margin() -> None:
    verdict = reviews.judge(Criterion("m", "higher", 0.0), of_differences(np.array([-1.0, 1.0] * 9)), (1, 2))  # fmt: skip
    assert verdict.verdict == UNDECIDED and np.isnan(verdict.more)
    few = reviews.judge(Criterion("m", "higher", 0.5), of_differences(np.full(4, 0.1)), (1, 2))
    assert few.verdict == UNDECIDED and few.more == 2


# Lan and DeMets' levels at five equal looks, as programs for group sequential trials print them (two-sided 0.05).
KNOWN = {
    "obrien-fleming": [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
    "pocock": [2.4380, 2.4268, 2.4101, 2.3966, 2.3859],
}


@pytest.mark.parametrize("shape", KNOWN)
def test_levels_of_looks_are_those_of_published_tables(shape: str) -> None:
    from scipy.stats import norm

    levels = spending.levels([0.2, 0.4, 0.6, 0.8, 1.0], shape)
    assert norm.isf(np.array(levels) / 2) == pytest.approx(KNOWN[shape], abs=0.002)
    assert spending.levels([1.0], shape) == pytest.approx([0.05])


def test_many_close_looks_spend_no_more_than_one() -> None:
    """By simulated Brownian paths at 25 looks, the last few of them close together."""
    times = [*np.linspace(0.04, 0.96, 23), 0.9605, 1.0]
    for shape in spending.SHAPES:
        levels = np.array(spending.levels(times, shape))
        steps = np.sqrt(np.diff([0.0, *times]))
        paths = np.cumsum(np.random.default_rng(3).normal(size=(100_000, 25)) * steps, axis=1)
        crossed = (paths / np.sqrt(times) > -special.ndtri(levels / 2)).any(axis=1)
        assert crossed.mean() == pytest.approx(0.025, abs=0.0015)
    assert spending.levels([0.5, 0.500001, 1.0], "pocock")[1] == spending.SMALLEST
