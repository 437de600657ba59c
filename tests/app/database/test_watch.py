"""Watching a run by its log: progress, rate, workers, failures; newer snapshots are offered, not forced."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.database import runs
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.engine.run import Engine
from tests.support.fake_worker import FakeWorker
from tests.support.pages import Open, shown
from tests.support.synthetic import plan_of, small_study

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


def work_unit(seconds: float, through: int, **more: object) -> dict:
    base = {"event": "unit", "model": "m", "seed": 0, "status": "done", "samples": 10, "failed": 0}
    return {"time": at(seconds), "through": through, "seconds": 9, "error": "", **base, **more}


def test_rate_and_time_left(tmp_path):
    work_units = [work_unit(10 * n, 10 * n, worker=n % 2) for n in range(1, 5)]
    progress = runs.progress(
        write(tmp_path, start(100), *work_units), now=START + timedelta(seconds=45)
    )
    assert (progress.state, progress.through, progress.samples) == ("running", 40, 100)
    assert progress.rate == pytest.approx(1)
    assert progress.left == pytest.approx(60)
    assert [(each.worker, each.work_units) for each in progress.workers] == [(0, 2), (1, 2)]


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
    folder_of_run = write(tmp_path, start(10), work_unit(5, 10), {"time": at(6), **last})
    progress = runs.progress(folder_of_run, now=START + timedelta(hours=1))
    assert progress.state == state
    assert progress.left is None
    assert progress.error == ("the disk is full" if state == "stopped" else "")


def test_a_long_log_and_a_line_that_is_being_written(tmp_path):
    folder_of_run = write(tmp_path, start(10**6), *(work_unit(n, n) for n in range(5000)))
    log = runs.newest_log(folder_of_run)
    assert log.stat().st_size > 2 * runs.TAIL
    with log.open("a") as file:
        file.write('{"time": "2026-01-')
    progress = runs.progress(folder_of_run, now=START + timedelta(seconds=5000))
    assert progress.through == 4999
    assert progress.rate == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "[]\n", "nonsense\n", '{"event": 3}\n', "\x00\xff\n"])
def test_a_log_that_says_nothing(tmp_path, text):
    folder_of_run = write(tmp_path)
    runs.newest_log(folder_of_run).write_text(text)
    assert runs.progress(folder_of_run) is None


def test_a_real_run_is_seen_as_it_was(tmp_path):
    plan = plan_of(small_study())
    engine.run(plan, tmp_path / "r", "cpu", FakeWorker, engine=Engine(workers=2, threads=1))
    progress = runs.progress(tmp_path / "r")
    assert progress.state == "done"
    assert progress.through == progress.samples == plan.samples
    assert len(progress.workers) == 2
    assert sum(each.work_units for each in progress.workers) == len(plan)


class Failing(FakeWorker):
    """One that cannot make any image of seed 1."""

    def run(self, work_unit, on_step=None):
        if work_unit.seed == 1:
            raise RuntimeError("out of memory")
        return super().run(work_unit, on_step)


def test_failures_are_told_with_their_reason_and_the_rest_goes_on(tmp_path, open_view: Open):
    folder = tmp_path / "r"
    engine.run(plan_of(small_study()), folder, "cpu", Failing)
    progress = runs.progress(folder)
    assert {(each.seed, each.error) for each in progress.troubles} == {
        (1, "RuntimeError: out of memory")
    }
    log = runs.newest_log(folder)
    lines = log.read_text().splitlines()[:-1]  # as it is before the run's end
    log.write_text("\n".join(lines) + "\n")
    app = open_view("overview", folder)
    assert "holds no published snapshot" in shown(app)
    assert "Run in progress" in shown(app), "a first run is followed before there is a snapshot"
    publish(folder)
    app = open_view("overview", folder)
    assert not app.exception
    assert "Run in progress" in shown(app)
    assert any("out of memory" in str(table.value.to_dict()) for table in app.dataframe)


def test_a_live_run_shows_its_newest_images(tmp_path, open_view: Open, results):
    folder = tmp_path / "demo"
    shutil.copytree(results, folder)
    for file in (folder / "snapshots").iterdir():
        file.unlink()
    (folder / "current.json").unlink()
    log = runs.newest_log(folder)
    lines = log.read_text().splitlines()
    app = open_view("overview", folder)
    assert not app.get("image_group") and not app.get("imgs"), "it is done"
    now = datetime.now(UTC).isoformat()
    log.write_text(
        "".join(f"{json.dumps({**json.loads(line), 'time': now})}\n" for line in lines[:-1])
    )
    app = open_view("overview", folder)
    assert not app.exception
    last = json.loads(lines[-2])
    assert f"{last['model']}, seed {last['seed']}" in shown(app).replace("\\", "")
    assert "Newest images" in shown(app)


def test_a_new_snapshot_is_offered_and_not_forced(tmp_path, open_view: Open, results):
    folder_of_run = tmp_path / "demo"
    shutil.copytree(results, folder_of_run)
    app = open_view("overview", folder_of_run)
    assert not any(button.key == "take_snapshot" for button in app.button)
    publish(folder_of_run)
    app.run()
    assert any("Snapshot 1" in each.value for each in app.caption)
    assert app.button(key="take_snapshot_here"), "the sidebar's is below the fold of a small window"
    app.button(key="take_snapshot").click().run()
    assert not app.exception
    assert any("Snapshot 2" in each.value for each in app.caption)
    assert not any(button.key == "take_snapshot" for button in app.button)


def test_a_snapshot_that_is_gone_gives_way_to_the_newest(tmp_path, open_view: Open, results):
    folder_of_run = tmp_path / "demo"
    shutil.copytree(results, folder_of_run)
    app = open_view("overview", folder_of_run)
    old = folder_of_run / json.loads((folder_of_run / "current.json").read_text())["snapshot"]
    publish(folder_of_run)
    old.unlink()
    app.run()
    assert not app.exception
    assert any("Snapshot 2" in each.value for each in app.caption)
