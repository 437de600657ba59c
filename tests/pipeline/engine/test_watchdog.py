"""Hung workers: one that is stopped or takes for ever is killed, its unit goes to another, nothing is lost."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine import run as engine
from pipeline.engine.run import Engine
from pipeline.engine.watchdog import CALL, FACTOR, FLOOR, Limits, Watchdog
from pipeline.engine.work import work_unit_calls
from pipeline.preflight.estimate import denoiser_calls
from pipeline.results.folder import Results
from pipeline.results.verify import verify
from pipeline.study.spec import ToolSpec
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

pytestmark = pytest.mark.long


def first_of_seed_1(work_unit):
    """Whether this is the first unit of seed 1 that any worker gets."""
    marker = Path(os.environ["STEPSCOPE_TEST_MARKER"])
    if work_unit.seed != 1 or marker.exists():
        return False
    marker.write_text(str(os.getpid()))
    return True


class StopsOnce(FakeWorker):
    """Its process is stopped, as by SIGSTOP or a debugger, in the first unit of seed 1."""

    def run(self, work_unit, on_step=None):
        if first_of_seed_1(work_unit):
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().run(work_unit, on_step)


class SleepsOnce(FakeWorker):
    """Is alive and does nothing for an hour, in the first unit of seed 1."""

    def run(self, work_unit, on_step=None):
        if first_of_seed_1(work_unit):
            time.sleep(3600)
        return super().run(work_unit, on_step)


class Sleeps(FakeWorker):
    """Does so in every unit of seed 1."""

    def run(self, work_unit, on_step=None):
        if work_unit.seed == 1:
            time.sleep(3600)
        return super().run(work_unit, on_step)


@pytest.fixture(scope="module")
def kind(request):
    if request.param == "ray":
        pytest.importorskip("ray", reason="needs requirements-ray.txt")
        os.environ["RAY_AUTH_MODE"] = "disabled"
    return request.param


@pytest.fixture
def marker(tmp_path, monkeypatch):
    path = tmp_path / "marker"
    monkeypatch.setenv("STEPSCOPE_TEST_MARKER", str(path))
    return path


def contents(folder):
    return {
        work_unit: e.content_sha256
        for work_unit, e in Results(folder).read_ledger().entries.items()
    }


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


STOPS = (StopsOnce, Limits(silence=12), "gave no sign of life for")
SLEEPS = (SleepsOnce, Limits(work_unit=20), "took over 20 s for a work unit")


@pytest.mark.parametrize(
    ("kind", "worker", "limits", "words"),
    [
        ("local", *STOPS),
        ("local", *SLEEPS),
        # as locally, in ten seconds of a core each
        pytest.param("ray", *STOPS, marks=pytest.mark.thorough),
        pytest.param("ray", *SLEEPS, marks=pytest.mark.thorough),
    ],
    indirect=["kind"],
)
def test_a_hung_worker_of_two_is_replaced(tmp_path, kind, marker, worker, limits, words):
    plan, folder = plan_of(small_study()), tmp_path / "r"
    outcome = engine.run(
        plan, folder, "cpu", worker, engine=Engine(kind, 2, threads=1, limits=limits)
    )
    assert outcome.work_units == len(plan) and not outcome.errors and not outcome.interrupted
    assert verify(folder) == []
    log = next((folder / "logs").iterdir()).read_text()
    assert words in log and log.count('"kind": "lost"') == 1
    assert not running(int(marker.read_text()))
    engine.run(plan, tmp_path / "undisturbed", "cpu", FakeWorker)
    assert contents(folder) == contents(tmp_path / "undisturbed")


def test_a_unit_that_hangs_every_time_is_set_aside_and_told(tmp_path):
    """Even with a single worker, where a limit is given."""
    plan = plan_of(small_study(models=1, prompts=4, seeds=2))
    assert len(plan) == 2
    outcome = engine.run(
        plan, tmp_path, "cpu", Sleeps, engine=Engine("local", 1, 1, limits=Limits(work_unit=5))
    )
    assert len(outcome.errors) == 1 and "took over 5 s" in outcome.errors[0]
    entries = Results(tmp_path).read_ledger().entries
    assert sorted((e.status, e.tries) for e in entries.values()) == [("done", 1), ("error", 3)]
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).work_units == 0
    assert engine.run(plan, tmp_path, "cpu", FakeWorker, retry=True).work_units == 1


def test_units_may_take_what_the_plan_lets_expect():
    study = small_study(models=1, prompts=8, seeds=2, steps=6)
    tools = replace(
        study.measures, df_rise=ToolSpec(steps=(0, 3), prompts=4, options={"masks": 50})
    )
    plan = plan_of(replace(study, measures=tools))
    assert sum(work_unit_calls(plan, work_unit) for work_unit in plan) == denoiser_calls(
        plan, study.models[0]
    )
    heavy, light = plan[0], plan[2]  # the tool looks at the first four prompts alone
    assert (work_unit_calls(plan, heavy), work_unit_calls(plan, light)) == (
        4 * 6 + 4 * 2 * 50,
        4 * 6,
    )
    dog = Watchdog(plan, Limits())
    dog.give(0, light, now=0.0)
    dog.give(1, heavy, now=0.0)
    assert dog.limit(1) == FLOOR + CALL * 424
    dog.take(0, seconds=48.0)  # 2 s for a call
    assert dog.limit(1) == FLOOR + FACTOR * 2 * 424
    assert dog.hung({}, now=FLOOR + FACTOR * 2 * 424) == {}
    assert list(dog.hung({}, now=FLOOR + FACTOR * 2 * 424 + 1)) == [1]
    dog.take(1)  # lost: tells nothing of the pace
    dog.give(1, heavy, now=0.0)
    assert dog.limit(1) == FLOOR + FACTOR * 2 * 424


def test_silence_and_limits_are_told_apart():
    plan = plan_of(small_study(models=1))
    dog = Watchdog(plan, Limits(work_unit=50, silence=10))
    dog.give(0, plan[0], now=100.0)
    assert dog.patience(now=100.0, most=60) == 2.5
    assert dog.hung({0: 105.0, 1: 100.0}, now=110.0) == {}
    reasons = dog.hung({0: 149.0, 1: 100.0}, now=151.0)
    assert "work unit" in reasons[0] and "no sign of life for 51 s" in reasons[1]
