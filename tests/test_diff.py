"""Two folders: the same content is known without a look, a changed number is found, named and measured."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fake_worker import FakeWorker
from hypothesis import given
from hypothesis import strategies as st
from synthetic import plan_of, small_study

from pipeline import engine
from pipeline.__main__ import main
from pipeline.diff import compare, distance
from pipeline.errors import StoreError
from pipeline.plan import Plan


class Nudged(FakeWorker):
    """Moves one similarity of the second prompt of every unit by 1e-3."""

    amount = 1e-3

    def run(self, unit, on_step=None):
        rows = super().run(unit, on_step)
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
    found = compare(plain, tmp_path / "copy")
    assert found.same and found.identical == 2 * 8 * 2
    assert main(["diff", str(plain), str(tmp_path / "copy")]) == 0
    assert "32 samples identical" in capsys.readouterr().out


def test_a_changed_number_is_found_named_and_measured(plain, tmp_path, capsys):
    engine.run(plan_of(small_study()), tmp_path, "cpu", Nudged)
    found = compare(plain, tmp_path)
    assert (found.identical, len(found.differing)) == (24, 8)
    assert found.largest == {"prompt_similarity": pytest.approx(1e-3, rel=1e-3)}
    assert {d.key.model for d in found.differing} == {"scenes-unet", "scenes-unet-short"}
    assert main(["diff", str(plain), str(tmp_path)]) == 1
    assert "prompt_similarity 0.001" in capsys.readouterr().out
    assert main(["diff", str(plain), str(tmp_path), "--tolerance", "0.002"]) == 0
    assert compare(plain, tmp_path, 0.002).within == 8


def test_other_units_and_batches_hold_the_same_samples(plain, tmp_path):
    """Unit ids differ with the size of units; samples are known by model, prompt and seed."""
    made = plan_of(small_study(unit_prompts=3, batch_size=2))
    engine.run(made, tmp_path, "cpu", FakeWorker)
    found = compare(plain, tmp_path)
    assert found.same and found.identical == made.samples


def test_what_one_side_lacks_is_listed(plain, tmp_path, capsys):
    study = small_study(models=1)
    made = plan_of(replace(study, seeds=(0, 5)))
    engine.run(made, tmp_path, "cpu", FakeWorker)
    found = compare(plain, tmp_path)
    assert len(found.only_a) == 8 + 16 and len(found.only_b) == 8 and found.identical == 8
    assert {key.seed for key in found.only_b} == {5}
    assert main(["diff", str(plain), str(tmp_path), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert len(record["only_a"]) == 24 and record["same"] is False


def test_a_failed_sample_and_other_images_are_differences(plain, tmp_path):
    class Other(FakeWorker):
        def run(self, unit, on_step=None):
            rows = super().run(unit, on_step)
            rows[0] |= {"status": "failed", "error": "RuntimeError: boo"}
            rows[2]["image"] = rows[3]["image"]
            return rows

    engine.run(plan_of(small_study(models=1, seeds=1)), tmp_path, "cpu", Other)
    found = compare(plain, tmp_path, 1e-3)
    columns = [set(d.columns) for d in found.differing]
    assert columns.count({"status"}) == 2 and columns.count({"image"}) == 2
    images = [d.columns["image"] for d in found.differing if "image" in d.columns]
    assert all(0 < amount <= 1 for amount in images)


def test_a_damaged_shard_is_said(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "copy")
    made = plan_of(small_study())
    engine.run(made, tmp_path / "other", "cpu", Nudged)
    victim = tmp_path / "copy" / "shards" / f"{made[0].unit_id}.parquet"
    victim.write_bytes(victim.read_bytes()[:-5])
    found = compare(tmp_path / "copy", tmp_path / "other")
    assert not found.same and made[0].unit_id in found.unreadable[0]


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
        made = plan_of(replace(study, run=replace(study.run, batch_size=size)))
        engine.run(made, tmp_path / str(size), "cpu")
    found = compare(
        tmp_path / "1", tmp_path / "4", 5e-3
    )  # a pixel may round to the next of 256 levels
    assert found.same and found.identical + found.within == 4, found.largest
    with_more = Plan(made.study, made.revisions, made.prompts[:2], made.bank)
    assert with_more.samples == 2
