"""Runs: resume after a kill gives the same content, failures are kept, and a folder has one run at a time."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from fake_worker import FakeWorker
from synthetic import plan_of, small_study

from pipeline import engine
from pipeline.errors import ModelError, StoreError
from pipeline.progress import count_states
from pipeline.results import load_plan, read_json
from pipeline.shards import Results
from pipeline.verify import mark_damaged, verify

CHILD = """
import sys, time
sys.path[:0] = ["tests", "."]
from pathlib import Path
from fake_worker import FakeWorker
from synthetic import plan_of, small_study
from pipeline import engine
class Slow(FakeWorker):
    def run(self, unit, on_step=None):
        time.sleep(0.05)
        return super().run(unit, on_step)
engine.run(plan_of(small_study()), Path(sys.argv[1]), "cpu", Slow)
"""


def contents(folder):
    return {unit: e.content_sha256 for unit, e in Results(folder).read_ledger().entries.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    engine.run(plan_of(small_study()), folder, "cpu", FakeWorker)
    return contents(folder)


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3])
def test_a_killed_run_ends_with_the_same_content(tmp_path, undisturbed, delay):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 60
    while not list(tmp_path.glob("shards/*.parquet")) and time.time() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = len(list(tmp_path.glob("shards/*.parquet")))
    outcome = engine.run(plan_of(small_study()), tmp_path, "cpu", FakeWorker)
    assert before > 0 and outcome.kept <= before
    assert contents(tmp_path) == undisturbed
    assert verify(tmp_path) == []


def test_a_second_run_does_nothing(tmp_path):
    made = plan_of(small_study())
    first = engine.run(made, tmp_path, "cpu", FakeWorker)
    second = engine.run(made, tmp_path, "cpu", FakeWorker)
    assert (first.units, second.units, second.kept) == (len(made), 0, len(made))


def test_two_runs_at_once_are_refused(tmp_path):
    results = Results(tmp_path)
    results.create()
    with results.locked(), pytest.raises(StoreError, match="in use by a run"):
        engine.run(plan_of(small_study()), tmp_path, "cpu", FakeWorker)


def test_ctrl_c_keeps_what_is_finished(tmp_path):
    class Stopped(FakeWorker):
        ran = 0

        def run(self, unit, on_step=None):
            Stopped.ran += 1
            if Stopped.ran == 3:
                raise KeyboardInterrupt
            return super().run(unit, on_step)

    made = plan_of(small_study())
    outcome = engine.run(made, tmp_path, "cpu", Stopped)
    assert outcome.interrupted and outcome.units == 2
    assert engine.run(made, tmp_path, "cpu", FakeWorker).kept == 2


def test_failed_items_are_kept_retried_and_set_aside(tmp_path):
    study = small_study(models=1, seeds=1)
    made = plan_of(study)
    bad = replace(made.prompts[0], text="this one fails", prompt_key="bad")
    made = type(made)(study, made.revisions, (bad, *made.prompts[1:]), made.bank)
    failed = [engine.run(made, tmp_path, "cpu", FakeWorker).failed for _ in range(4)]
    assert failed == [1, 1, 1, 0]  # three tries, then it is set aside
    states = count_states(Results(tmp_path), made, Results(tmp_path).read_ledger())
    assert (states["done"], states["failed"], states["missing"]) == (7, 1, 0)


def test_a_unit_that_breaks_does_not_stop_the_others(tmp_path):
    class Breaks(FakeWorker):
        def run(self, unit, on_step=None):
            if unit.seed == 1:
                raise MemoryError("no room")
            return super().run(unit, on_step)

    outcome = engine.run(plan_of(small_study(models=1)), tmp_path, "cpu", Breaks)
    assert outcome.units == 4 and len(outcome.errors) == 2 and "no room" in outcome.errors[0]
    assert engine.run(plan_of(small_study(models=1)), tmp_path, "cpu", FakeWorker).units == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_a_damaged_shard_is_found_named_and_made_again(tmp_path, undisturbed, harm):
    made = plan_of(small_study())
    engine.run(made, tmp_path, "cpu", FakeWorker)
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
    assert engine.run(made, tmp_path, "cpu", FakeWorker).units == 1
    assert contents(tmp_path) == undisturbed and verify(tmp_path) == []


def test_a_cut_ledger_line_loses_one_unit_at_most(tmp_path, undisturbed):
    made = plan_of(small_study())
    engine.run(made, tmp_path, "cpu", FakeWorker)
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    assert engine.run(made, tmp_path, "cpu", FakeWorker).units == 1
    assert contents(tmp_path) == undisturbed


def test_the_plan_comes_back_from_the_folder(tmp_path):
    made = plan_of(small_study())
    engine.run(made, tmp_path, "cpu", FakeWorker)
    assert [u.unit_id for u in load_plan(Results(tmp_path))] == [u.unit_id for u in made]


def test_a_unit_that_breaks_on_a_later_try_keeps_its_shard(tmp_path):
    class Breaks(FakeWorker):
        def run(self, unit, on_step=None):
            raise RuntimeError("boo")

    study = small_study(models=1, seeds=1)
    made = plan_of(study)
    bad = replace(made.prompts[0], text="this one fails", prompt_key="bad")
    made = type(made)(study, made.revisions, (bad, *made.prompts[1:]), made.bank)
    engine.run(made, tmp_path, "cpu", FakeWorker)
    assert engine.run(made, tmp_path, "cpu", Breaks).errors
    results = Results(tmp_path)
    states = count_states(results, made, results.read_ledger())
    assert (states["done"], states["failed"], states["missing"]) == (7, 1, 0)
    assert results.read_ledger().entries[made[0].unit_id].tries == 2


def test_a_unit_that_always_breaks_is_set_aside(tmp_path):
    class Breaks(FakeWorker):
        def run(self, unit, on_step=None):
            raise RuntimeError("boo")

    made = plan_of(small_study(models=1, seeds=1))
    assert [engine.run(made, tmp_path, "cpu", Breaks).units for _ in range(4)] == [2, 2, 2, 0]
    states = count_states(Results(tmp_path), made, Results(tmp_path).read_ledger())
    assert (states["failed"], states["missing"]) == (8, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_similarities_that_are_no_numbers_fail_their_sample(tmp_path, value):
    class Broken(FakeWorker):
        def run(self, unit, on_step=None):
            rows = super().run(unit, on_step)
            rows[1]["trajectories"][0]["similarity"][2] = value
            return rows

    outcome = engine.run(plan_of(small_study(models=1, seeds=1)), tmp_path, "cpu", Broken)
    assert outcome.failed == 2 and not outcome.errors  # one in each of two units


def test_a_model_that_cannot_be_opened_does_not_stop_the_others(tmp_path):
    def open_worker(study, model, bank, device):
        if model.name == "scenes-unet":
            raise ModelError("model scenes-unet: no weights")
        return FakeWorker(study, model, bank, device)

    made = plan_of(small_study())
    outcome = engine.run(made, tmp_path, "cpu", open_worker)
    assert outcome.units == len(made) // 2
    assert outcome.errors == ("model scenes-unet: no weights",)
    assert engine.run(made, tmp_path, "cpu", FakeWorker).kept == len(made) // 2


def test_no_model_that_can_be_opened_is_an_error(tmp_path):
    def open_worker(study, model, bank, device):
        raise ModelError(f"model {model.name}: no weights")

    with pytest.raises(ModelError, match="scenes-unet: no weights"):
        engine.run(plan_of(small_study()), tmp_path, "cpu", open_worker)


def test_rows_of_other_prompts_are_refused(tmp_path):
    class Short(FakeWorker):
        def run(self, unit, on_step=None):
            return super().run(unit, on_step)[1:]

    with pytest.raises(StoreError, match="3 rows for 4 prompts"):
        engine.run(plan_of(small_study()), tmp_path, "cpu", Short)


def test_sigterm_stops_a_run_as_ctrl_c_does(tmp_path):
    class Terminated(FakeWorker):
        def run(self, unit, on_step=None):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
            raise AssertionError("went on")

    before = signal.getsignal(signal.SIGTERM)
    assert engine.run(plan_of(small_study()), tmp_path, "cpu", Terminated).interrupted
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_record_tells_dropped_repeats_and_the_environment(tmp_path):
    engine.run(plan_of(small_study()), tmp_path, "cpu", FakeWorker, duplicates=3)
    assert read_json(tmp_path / "study.json")["duplicates_dropped"] == 3
    workers = read_json(tmp_path / "workers.json")
    assert set(workers["models"]) == {"scenes-unet", "scenes-unet-short"}
    assert {"python", "duckdb", "torch", "platform", "device"} <= set(workers["environment"])


def test_a_shard_is_written_while_the_next_unit_is_sampled(tmp_path, monkeypatch):
    sampling, waited = threading.Semaphore(0), []
    write = engine.write_shard

    class Announces(FakeWorker):
        def run(self, unit, on_step=None):
            sampling.release()
            return super().run(unit, on_step)

    def slow(*args):
        if not waited:
            sampling.acquire(timeout=10)  # by the unit itself
        waited.append(sampling.acquire(timeout=10 if len(waited) < len(made) - 1 else 0))
        return write(*args)

    monkeypatch.setattr(engine, "write_shard", slow)
    made = plan_of(small_study(models=1))
    outcome = engine.run(made, tmp_path, "cpu", Announces)
    assert outcome.units == len(made) == len(Results(tmp_path).read_ledger().entries)
    assert waited == [True] * (len(made) - 1) + [False]  # nothing follows the last


def test_a_full_disk_in_the_writing_thread_stops_the_run(tmp_path, monkeypatch):
    def full(*_):
        raise StoreError("the disk is full")

    monkeypatch.setattr(engine, "write_shard", full)
    with pytest.raises(StoreError, match="disk is full"):
        engine.run(plan_of(small_study(models=1)), tmp_path, "cpu", FakeWorker)
    assert not Results(tmp_path).read_ledger().entries
