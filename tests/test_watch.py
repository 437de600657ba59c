"""Watching a run by its log: progress, rate, workers, failures; newer snapshots are offered, not forced."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import watch
from fake_worker import FakeWorker
from test_engines import plan_of, small_study
from test_views import Open, open_view, shown  # noqa: F401

from pipeline import engine
from pipeline.database.publish import publish
from pipeline.engine import Engine

START = datetime(2026, 1, 1, tzinfo=UTC)


def write(folder: Path, *events: dict) -> Path:
    log = folder / "logs" / "run-20260101T000000Z-abc.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def start(samples: int) -> dict:
    return {"time": at(0), "event": "start", "study": "s", "samples": samples, "engine": "local"}


def unit(seconds: float, through: int, **more: object) -> dict:
    base = {"event": "unit", "model": "m", "seed": 0, "status": "done", "samples": 10, "failed": 0}
    return {"time": at(seconds), "through": through, "seconds": 9, "error": "", **base, **more}


def test_rate_and_time_left(tmp_path):
    units = [unit(10 * n, 10 * n, worker=n % 2) for n in range(1, 5)]
    found = watch.progress(write(tmp_path, start(100), *units), now=START + timedelta(seconds=45))
    assert (found.state, found.through, found.samples) == ("running", 40, 100)
    assert found.rate == pytest.approx(1)
    assert found.left == pytest.approx(60)
    assert [(each.worker, each.units) for each in found.workers] == [(0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ({"event": "end", "interrupted": False}, "done"),
        ({"event": "end", "interrupted": True}, "interrupted"),
        ({"event": "stop", "error": "the disk is full"}, "stopped"),
        ({"event": "waiting"}, "silent"),
    ],
)
def test_how_a_run_ended(tmp_path, last, state):
    place = write(tmp_path, start(10), unit(5, 10), {"time": at(6), **last})
    found = watch.progress(place, now=START + timedelta(hours=1))
    assert found.state == state
    assert found.left is None
    assert found.error == ("the disk is full" if state == "stopped" else "")


def test_a_long_log_and_a_line_that_is_being_written(tmp_path):
    place = write(tmp_path, start(10**6), *(unit(n, n) for n in range(5000)))
    log = watch.newest_log(place)
    assert log.stat().st_size > 2 * watch.TAIL
    with log.open("a") as file:
        file.write('{"time": "2026-01-')
    found = watch.progress(place, now=START + timedelta(seconds=5000))
    assert found.through == 4999
    assert found.rate == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "[]\n", "nonsense\n", '{"event": 3}\n', "\x00\xff\n"])
def test_a_log_that_says_nothing(tmp_path, text):
    place = write(tmp_path)
    watch.newest_log(place).write_text(text)
    assert watch.progress(place) is None


def test_a_real_run_is_seen_as_it_was(tmp_path):
    made = plan_of(small_study())
    engine.run(made, tmp_path / "r", "cpu", FakeWorker, engine=Engine(workers=2, threads=1))
    found = watch.progress(tmp_path / "r")
    assert found.state == "done"
    assert found.through == found.samples == made.samples
    assert len(found.workers) == 2
    assert sum(each.units for each in found.workers) == len(made)


class Failing(FakeWorker):
    """One that can't make any image of seed 1."""

    def run(self, unit, on_step=None):
        if unit.seed == 1:
            raise RuntimeError("out of memory")
        return super().run(unit, on_step)


def test_failures_are_told_with_their_reason_and_the_rest_goes_on(tmp_path, open_view: Open):  # noqa: F811
    folder = tmp_path / "r"
    engine.run(plan_of(small_study()), folder, "cpu", Failing)
    found = watch.progress(folder)
    assert {(each.seed, each.error) for each in found.troubles} == {
        (1, "RuntimeError: out of memory")
    }
    log = watch.newest_log(folder)
    lines = log.read_text().splitlines()[:-1]  # as it is before the run's end
    log.write_text("\n".join(lines) + "\n")
    app = open_view("overview", folder)
    assert "holds no published snapshot" in shown(app)
    assert "A run is going on" in shown(app), "a first run is followed before there is a snapshot"
    publish(folder)
    app = open_view("overview", folder)
    assert not app.exception
    assert "A run is going on" in shown(app)
    assert any("out of memory" in str(table.value.to_dict()) for table in app.dataframe)


def test_a_new_snapshot_is_offered_and_not_forced(tmp_path, open_view: Open, results):  # noqa: F811
    place = tmp_path / "demo"
    shutil.copytree(results, place)
    app = open_view("overview", place)
    assert not any(button.key == "take_snapshot" for button in app.button)
    publish(place)
    app.run()
    assert any("Snapshot 1" in each.value for each in app.caption)
    assert app.button(key="take_snapshot_here"), "the sidebar's is below the fold of a small window"
    app.button(key="take_snapshot").click().run()
    assert not app.exception
    assert any("Snapshot 2" in each.value for each in app.caption)
    assert not any(button.key == "take_snapshot" for button in app.button)


def test_a_snapshot_that_is_gone_gives_way_to_the_newest(tmp_path, open_view: Open, results):  # noqa: F811
    place = tmp_path / "demo"
    shutil.copytree(results, place)
    app = open_view("overview", place)
    old = place / json.loads((place / "current.json").read_text())["snapshot"]
    publish(place)
    old.unlink()
    app.run()
    assert not app.exception
    assert any("Snapshot 2" in each.value for each in app.caption)
