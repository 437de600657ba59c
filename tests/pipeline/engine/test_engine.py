"""Runs: resume after a kill gives the same content, failures are kept, and a folder has one run at a time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from pipeline.database.publish import publish
from pipeline.engine import host
from pipeline.engine import run as engine
from pipeline.engine.progress import count_states
from pipeline.errors import ModelError, StoreError
from pipeline.results.folder import Results
from pipeline.results.record import load_plan, read_json, redefined, with_clip_score_of
from pipeline.results.verify import mark_damaged, verify
from pipeline.study.plan import Plan
from pipeline.study.spec import ToolSpec
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

CHILD = """
import sys, time
sys.path[:0] = ["."]
from pathlib import Path
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study
from pipeline.engine import run as engine
class Slow(FakeWorker):
    def run(self, unit, on_step=None):
        time.sleep(0.05)
        return super().run(unit, on_step)
engine.run(plan_of(small_study()), Path(sys.argv[1]), "cpu", Slow)
"""


def contents(folder):
    return {
        work_unit: e.content_sha256
        for work_unit, e in Results(folder).read_ledger().entries.items()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    engine.run(plan_of(small_study()), folder, "cpu", FakeWorker)
    return contents(folder)


# In the usual run one moment, in the thorough one three.
@pytest.mark.parametrize(
    "delay", [0.15, *(pytest.param(at, marks=pytest.mark.thorough) for at in (0.0, 0.3))]
)
def test_a_killed_run_ends_with_the_same_content(tmp_path, undisturbed, delay):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 600
    while not list(tmp_path.glob("shards/*.parquet")) and time.time() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = len(list(tmp_path.glob("shards/*.parquet")))
    outcome = engine.run(plan_of(small_study()), tmp_path, "cpu", FakeWorker)
    assert before > 0 and outcome.stored_before <= before
    assert contents(tmp_path) == undisturbed
    assert verify(tmp_path) == []


def test_a_second_run_does_nothing(tmp_path):
    plan = plan_of(small_study())
    first = engine.run(plan, tmp_path, "cpu", FakeWorker)
    second = engine.run(plan, tmp_path, "cpu", FakeWorker)
    assert (first.work_units, second.work_units, second.stored_before) == (len(plan), 0, len(plan))


def test_two_runs_at_once_are_refused(tmp_path):
    results = Results(tmp_path)
    results.create()
    with results.locked(), pytest.raises(StoreError, match="in use by a run"):
        engine.run(plan_of(small_study()), tmp_path, "cpu", FakeWorker)


def test_ctrl_c_keeps_what_is_finished(tmp_path):
    class Stopped(FakeWorker):
        ran = 0

        def run(self, work_unit, on_step=None):
            Stopped.ran += 1
            if Stopped.ran == 3:
                raise KeyboardInterrupt
            return super().run(work_unit, on_step)

    plan = plan_of(small_study())
    outcome = engine.run(plan, tmp_path, "cpu", Stopped)
    assert outcome.interrupted and outcome.work_units == 2
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).stored_before == 2


def test_failed_items_are_kept_retried_and_set_aside(tmp_path):
    study = small_study(models=1, seeds=1)
    plan = plan_of(study)
    bad = replace(plan.prompts[0], text="this one fails", prompt_key="bad")
    plan = type(plan)(study, plan.revisions, (bad, *plan.prompts[1:]), plan.bank)
    failed = [engine.run(plan, tmp_path, "cpu", FakeWorker).failed for _ in range(4)]
    assert failed == [1, 1, 1, 0]  # three tries, then it is set aside
    states = count_states(Results(tmp_path), plan, Results(tmp_path).read_ledger())
    assert (states["done"], states["failed"], states["missing"]) == (7, 1, 0)


def test_a_unit_that_breaks_does_not_stop_the_others(tmp_path):
    class Breaks(FakeWorker):
        def run(self, work_unit, on_step=None):
            if work_unit.seed == 1:
                raise MemoryError("no room")
            return super().run(work_unit, on_step)

    outcome = engine.run(plan_of(small_study(models=1)), tmp_path, "cpu", Breaks)
    assert outcome.work_units == 4 and len(outcome.errors) == 2 and "no room" in outcome.errors[0]
    assert engine.run(plan_of(small_study(models=1)), tmp_path, "cpu", FakeWorker).work_units == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_a_damaged_shard_is_found_named_and_made_again(tmp_path, undisturbed, harm):
    plan = plan_of(small_study())
    engine.run(plan, tmp_path, "cpu", FakeWorker)
    shard = sorted(tmp_path.glob("shards/*.parquet"))[0]
    data = shard.read_bytes()
    if harm == "delete":
        shard.unlink()
    else:
        middle = len(data) // 2
        shard.write_bytes(
            data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            if harm == "flip"
            else data[:-7]
        )
    assert shard.name in verify(tmp_path)[0]
    assert mark_damaged(tmp_path) == 1
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).work_units == 1
    assert contents(tmp_path) == undisturbed and verify(tmp_path) == []


def test_a_cut_ledger_line_loses_one_unit_at_most(tmp_path, undisturbed):
    plan = plan_of(small_study())
    engine.run(plan, tmp_path, "cpu", FakeWorker)
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).work_units == 1
    assert contents(tmp_path) == undisturbed


def test_the_plan_comes_back_from_the_folder(tmp_path):
    plan = plan_of(small_study())
    engine.run(plan, tmp_path, "cpu", FakeWorker)
    assert [u.unit_id for u in load_plan(Results(tmp_path))] == [u.unit_id for u in plan]


def test_a_unit_that_breaks_on_a_later_try_keeps_its_shard(tmp_path):
    class Breaks(FakeWorker):
        def run(self, work_unit, on_step=None):
            raise RuntimeError("boo")

    study = small_study(models=1, seeds=1)
    plan = plan_of(study)
    bad = replace(plan.prompts[0], text="this one fails", prompt_key="bad")
    plan = type(plan)(study, plan.revisions, (bad, *plan.prompts[1:]), plan.bank)
    engine.run(plan, tmp_path, "cpu", FakeWorker)
    assert engine.run(plan, tmp_path, "cpu", Breaks).errors
    results = Results(tmp_path)
    states = count_states(results, plan, results.read_ledger())
    assert (states["done"], states["failed"], states["missing"]) == (7, 1, 0)
    assert results.read_ledger().entries[plan[0].unit_id].tries == 2


def test_a_unit_that_always_breaks_is_set_aside(tmp_path):
    class Breaks(FakeWorker):
        def run(self, work_unit, on_step=None):
            raise RuntimeError("boo")

    plan = plan_of(small_study(models=1, seeds=1))
    assert [engine.run(plan, tmp_path, "cpu", Breaks).work_units for _ in range(4)] == [2, 2, 2, 0]
    states = count_states(Results(tmp_path), plan, Results(tmp_path).read_ledger())
    assert (states["failed"], states["missing"]) == (8, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_similarities_that_are_no_numbers_fail_their_sample(tmp_path, value):
    class Broken(FakeWorker):
        def run(self, work_unit, on_step=None):
            rows = super().run(work_unit, on_step)
            rows[1]["trajectories"][0]["similarity"][2] = value
            return rows

    outcome = engine.run(plan_of(small_study(models=1, seeds=1)), tmp_path, "cpu", Broken)
    assert outcome.failed == 2 and not outcome.errors  # one in each of two units


def test_a_model_that_cannot_be_opened_does_not_stop_the_others(tmp_path):
    def open_worker(study, model, bank, device):
        if model.name == "scenes-unet":
            raise ModelError("model scenes-unet: no weights")
        return FakeWorker(study, model, bank, device)

    plan = plan_of(small_study())
    outcome = engine.run(plan, tmp_path, "cpu", open_worker)
    assert outcome.work_units == len(plan) // 2
    assert outcome.errors == ("model scenes-unet: no weights",)
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).stored_before == len(plan) // 2


def test_no_model_that_can_be_opened_is_an_error(tmp_path):
    def open_worker(study, model, bank, device):
        raise ModelError(f"model {model.name}: no weights")

    with pytest.raises(ModelError, match="scenes-unet: no weights"):
        engine.run(plan_of(small_study()), tmp_path, "cpu", open_worker)


def test_rows_of_other_prompts_are_refused(tmp_path):
    class Short(FakeWorker):
        def run(self, work_unit, on_step=None):
            return super().run(work_unit, on_step)[1:]

    with pytest.raises(StoreError, match="3 rows for 4 prompts"):
        engine.run(plan_of(small_study()), tmp_path, "cpu", Short)


def test_sigterm_stops_a_run_as_ctrl_c_does(tmp_path):
    class Terminated(FakeWorker):
        def run(self, work_unit, on_step=None):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
            raise AssertionError("went on")

    before = signal.getsignal(signal.SIGTERM)
    assert engine.run(plan_of(small_study()), tmp_path, "cpu", Terminated).interrupted
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_record_tells_dropped_repeats_and_the_environment(tmp_path):
    plan = plan_of(small_study())
    plan.duplicates = 3
    engine.run(plan, tmp_path, "cpu", FakeWorker)
    assert read_json(tmp_path / "study.json")["duplicates_dropped"] == 3
    workers = read_json(tmp_path / "workers.json")
    assert set(workers["models"]) == {"scenes-unet", "scenes-unet-short"}
    assert {"python", "duckdb", "torch", "platform", "device"} <= set(workers["environment"])


def test_a_shard_is_written_while_the_next_unit_is_sampled(tmp_path, monkeypatch):
    sampling, waited = threading.Semaphore(0), []
    write = host.write_shard

    class Announces(FakeWorker):
        def run(self, work_unit, on_step=None):
            sampling.release()
            return super().run(work_unit, on_step)

    def slow(*args):
        if not waited:
            sampling.acquire(timeout=300)  # by the unit itself
        waited.append(sampling.acquire(timeout=300 if len(waited) < len(plan) - 1 else 0))
        return write(*args)

    monkeypatch.setattr(host, "write_shard", slow)
    plan = plan_of(small_study(models=1))
    outcome = engine.run(plan, tmp_path, "cpu", Announces)
    assert outcome.work_units == len(plan) == len(Results(tmp_path).read_ledger().entries)
    assert waited == [True] * (len(plan) - 1) + [False]  # nothing follows the last


def test_a_full_disk_in_the_writing_thread_stops_the_run(tmp_path, monkeypatch):
    def full(*_):
        raise StoreError("the disk is full")

    monkeypatch.setattr(host, "write_shard", full)
    with pytest.raises(StoreError, match="disk is full"):
        engine.run(plan_of(small_study(models=1)), tmp_path, "cpu", FakeWorker)
    assert not Results(tmp_path).read_ledger().entries


def redefined_study(definitions=None):
    """Two measures of the small study, as they were measured before their definitions changed where {} is given."""
    plan = plan_of(small_study())
    measures = replace(plan.study.measures, df_rise=ToolSpec(steps=(1,)), lime=ToolSpec(steps=(1,)))
    study = replace(plan.study, measures=measures)
    return Plan(study, plan.revisions, plan.prompts, plan.bank, definitions=definitions)


def test_results_of_an_older_definition_are_read_with_their_own_ids(tmp_path):
    old = redefined_study({})
    engine.run(old, tmp_path, "cpu", FakeWorker)
    again = load_plan(Results(tmp_path))
    assert [work_unit.unit_id for work_unit in again] == [work_unit.unit_id for work_unit in old]
    assert "definitions" not in read_json(Results(tmp_path).study)
    assert verify(tmp_path) == []
    assert publish(tmp_path).path.is_file()


def test_a_changed_definition_is_named_and_measured_again(tmp_path):
    engine.run(redefined_study({}), tmp_path, "cpu", FakeWorker)
    plan = redefined_study()
    assert plan.definitions["df-rise"] > 1
    said = redefined(Results(tmp_path), plan)
    assert [line.split(": ")[1].split()[0] for line in said] == ["clip-score", "df-rise", "lime"]
    assert any(
        "df-rise was measured under definition 1 and now has definition 2" in s for s in said
    )
    assert all("measured again" in line for line in said)
    outcome = engine.run(plan, tmp_path, "cpu", FakeWorker)
    assert outcome.work_units == len(plan) and outcome.stored_before == 0
    assert load_plan(Results(tmp_path)).definitions == plan.definitions
    assert redefined(Results(tmp_path), plan) == []
    assert verify(tmp_path) == []


def test_a_folder_goes_on_with_the_clip_score_it_began_with(tmp_path):
    """Another version would take every image again."""
    old = plan_of(small_study())
    old = Plan(old.study, old.revisions, old.prompts, old.bank, definitions={})
    new = plan_of(small_study())
    assert {each.clip_score for each in old} == {1} and {each.clip_score for each in new} == {2}
    assert not {each.unit_id for each in old} & {each.unit_id for each in new}
    results = Results(tmp_path)
    assert with_clip_score_of(results, new) is new, "a new folder"
    engine.run(old, tmp_path, "cpu", FakeWorker)
    plan = with_clip_score_of(results, new)
    assert list(plan) == list(old)
    assert redefined(results, plan) == [
        f"{tmp_path}: continues with definition 1 of the CLIP score, with which it began. In a new results folder it has definition 2 "
        "(of the image as it is stored, with 8 bits a channel, in place of the one before it is rounded)."
    ]
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).stored_before == len(old)
    assert load_plan(results).definitions == {}


def test_nothing_is_said_of_a_new_folder_or_of_measures_that_are_new(tmp_path):
    plan = redefined_study()
    assert redefined(Results(tmp_path / "new"), plan) == []
    engine.run(plan_of(small_study()), tmp_path, "cpu", FakeWorker)
    assert not any("lime" in line for line in redefined(Results(tmp_path), plan))


@pytest.mark.parametrize("definitions", [{"df-rise": 99}, {"unheard-of": 2}, {"df-rise": "2"}])
def test_results_of_a_newer_definition_are_refused(tmp_path, definitions):
    engine.run(redefined_study(), tmp_path, "cpu", FakeWorker)
    path = Results(tmp_path).study
    path.write_text(json.dumps(read_json(path) | {"definitions": definitions}))
    with pytest.raises(StoreError, match="at least as new as the one that wrote it"):
        load_plan(Results(tmp_path))
