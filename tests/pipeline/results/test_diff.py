"""Two folders: the same content is known without a look, a changed number is found, named and measured."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.__main__ import main
from pipeline.engine import run as engine
from pipeline.errors import StoreError
from pipeline.results.diff import compare, distance
from pipeline.study.plan import Plan
from pipeline.study.spec import ToolSpec
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study


class Nudged(FakeWorker):
    """Moves one similarity of the second prompt of every unit by 1e-3."""

    amount = 1e-3

    def run(self, work_unit, on_step=None):
        rows = super().run(work_unit, on_step)
        curve = np.array(rows[1]["prompt_similarity"])
        curve[2] += self.amount
        rows[1]["prompt_similarity"] = curve
        return rows


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    engine.run(plan_of(small_study()), folder, "cpu", FakeWorker)
    return folder


def test_a_folder_is_like_itself_and_its_copy(plain, tmp_path, capsys):
    shutil.copytree(plain, tmp_path / "copy")
    difference = compare(plain, tmp_path / "copy")
    assert difference.same and difference.identical == 2 * 8 * 2
    assert main(["diff", str(plain), str(tmp_path / "copy")]) == 0
    assert "32 samples identical" in capsys.readouterr().out


def test_a_changed_number_is_found_named_and_measured(plain, tmp_path, capsys):
    engine.run(plan_of(small_study()), tmp_path, "cpu", Nudged)
    difference = compare(plain, tmp_path)
    assert (difference.identical, len(difference.differing)) == (24, 8)
    assert difference.largest == {"prompt_similarity": pytest.approx(1e-3, rel=1e-3)}
    assert {d.key.model for d in difference.differing} == {"scenes-unet", "scenes-unet-short"}
    assert main(["diff", str(plain), str(tmp_path)]) == 1
    assert "prompt_similarity 0.001" in capsys.readouterr().out
    assert main(["diff", str(plain), str(tmp_path), "--tolerance", "0.002"]) == 0
    assert compare(plain, tmp_path, 0.002).within == 8


def test_other_units_and_batches_hold_the_same_samples(plain, tmp_path):
    """Unit ids differ with the size of units; samples are known by model, prompt and seed."""
    plan = plan_of(small_study(unit_prompts=3, batch_size=2))
    engine.run(plan, tmp_path, "cpu", FakeWorker)
    difference = compare(plain, tmp_path)
    assert difference.same and difference.identical == plan.samples


def test_measures_of_another_definition_are_named(tmp_path, capsys):
    plan = plan_of(small_study())
    study = replace(plan.study, measures=replace(plan.study.measures, lime=ToolSpec(steps=(1,))))
    for name, definitions in (("old", {}), ("new", None)):
        one = Plan(study, plan.revisions, plan.prompts, plan.bank, definitions=definitions)
        engine.run(one, tmp_path / name, "cpu", FakeWorker)
    main(["diff", str(tmp_path / "old"), str(tmp_path / "new")])
    said = "lime has definition 1 in the first folder and 2 in the second"
    assert f"other definition: {said}" in capsys.readouterr().out
    assert compare(tmp_path / "new", tmp_path / "new").redefined == []


def test_what_one_side_lacks_is_listed(plain, tmp_path, capsys):
    study = small_study(models=1)
    plan = plan_of(replace(study, seeds=(0, 5)))
    engine.run(plan, tmp_path, "cpu", FakeWorker)
    difference = compare(plain, tmp_path)
    assert (
        len(difference.only_a) == 8 + 16
        and len(difference.only_b) == 8
        and difference.identical == 8
    )
    assert {key.seed for key in difference.only_b} == {5}
    assert main(["diff", str(plain), str(tmp_path), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert len(record["only_a"]) == 24 and record["same"] is False


def test_a_failed_sample_and_other_images_are_differences(plain, tmp_path):
    class Other(FakeWorker):
        def run(self, work_unit, on_step=None):
            rows = super().run(work_unit, on_step)
            rows[0] |= {"status": "failed", "error": "RuntimeError: boo"}
            rows[2]["image"] = rows[3]["image"]
            return rows

    engine.run(plan_of(small_study(models=1, seeds=1)), tmp_path, "cpu", Other)
    difference = compare(plain, tmp_path, 1e-3)
    columns = [set(d.columns) for d in difference.differing]
    assert columns.count({"status"}) == 2 and columns.count({"image"}) == 2
    images = [d.columns["image"] for d in difference.differing if "image" in d.columns]
    assert all(0 < amount <= 1 for amount in images)


def test_a_damaged_shard_is_said(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "copy")
    plan = plan_of(small_study())
    engine.run(plan, tmp_path / "other", "cpu", Nudged)
    victim = tmp_path / "copy" / "shards" / f"{plan[0].unit_id}.parquet"
    victim.write_bytes(victim.read_bytes()[:-5])
    difference = compare(tmp_path / "copy", tmp_path / "other")
    assert not difference.same and plan[0].unit_id in difference.unreadable[0]


def test_a_folder_without_a_study_is_refused(plain, tmp_path, capsys):
    with pytest.raises(StoreError, match="not a results folder"):
        compare(plain, tmp_path)
    assert main(["diff", str(plain), str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


numbers = st.floats(allow_nan=True, width=32)


@given(st.lists(numbers, min_size=1, max_size=6))
def test_a_value_has_no_distance_from_itself(values):
    assert distance(values, list(values)) == 0


@given(numbers, numbers)
def test_distance_is_even_and_positive_where_values_differ(a, b):
    gap = distance([a], [b])
    assert gap == distance([b], [a])
    assert (gap == 0) == (a == b or (math.isnan(a) and math.isnan(b)))


def test_distances_of_what_cannot_be_subtracted():
    assert distance("a", "b") == distance([1.0], [1.0, 2.0]) == distance(None, 1.0) == math.inf
    assert distance([1.0], [float("nan")]) == math.inf
    assert distance([{"x": 1000.0}], [{"x": 1001.0}]) == pytest.approx(1 / 1001)
    assert distance(b"\x00\x3c", b"\x00\x38", "explanations.map") == 0.5  # 1.0 and 0.5 as float16


def test_real_models_in_other_batches_differ_by_rounding_alone(tmp_path):
    """Sampled for real: the bundled UNet one by one and four at once."""
    study = small_study(models=1, prompts=4, seeds=1, steps=3)
    for size in (1, 4):
        plan = plan_of(replace(study, run=replace(study.run, batch_size=size)))
        engine.run(plan, tmp_path / str(size), "cpu")
    difference = compare(
        tmp_path / "1", tmp_path / "4", 5e-3
    )  # a pixel may round to the next of 256 levels
    assert difference.same and difference.identical + difference.within == 4, difference.largest
    with_more = Plan(plan.study, plan.revisions, plan.prompts[:2], plan.bank)
    assert with_more.samples == 2
