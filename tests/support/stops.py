"""Faults of processes that are stopped (SIGSTOP), as a debugger, a full terminal or a suspended machine stops them."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.database import publish as publisher
from pipeline.engine.run import Engine
from pipeline.engine.watchdog import Limits
from tests.support import faults
from tests.support.fake_worker import FakeWorker

FORK = multiprocessing.get_context("forkserver")
PATIENCE = 300  # seconds for a process to get somewhere
MARKER = "STEPSCOPE_TEST_STOP"


class StopsOnce(FakeWorker):
    """The first worker that gets a unit is stopped in it: before or after the denoising."""

    def run(self, work_unit, on_step=None):
        moment = claimed()
        if moment == "before":
            stop()
        rows = super().run(work_unit, on_step)
        if moment == "after":
            stop()
        return rows


def claimed() -> str:
    """When to stop; "" where another process has been told before."""
    marker = Path(os.environ[MARKER])
    mine = marker.with_name(f"stopped-{os.getpid()}")
    try:
        marker.rename(mine)
    except FileNotFoundError:
        return ""
    return mine.read_text()


def stop() -> None:
    """Stops this process, until it is continued or killed."""
    os.kill(os.getpid(), signal.SIGSTOP)


def worker_stopped(folder: Path, rng: random.Random) -> str:
    """One of two workers is stopped within a work unit, of which the run learns by silence or by the unit's limit."""
    faults.half(folder, rng)
    marker = folder.with_name("stop")
    marker.write_text(rng.choice(["before", "after"]))
    limits = rng.choice([Limits(silence=15), Limits(work_unit=20)])
    os.environ[MARKER] = str(marker)
    try:
        outcome = faults.run(folder, StopsOnce, engine=Engine(workers=2, threads=1, limits=limits))
    finally:
        del os.environ[MARKER]
    faults.publish(folder)
    assert not marker.exists(), "no worker was stopped"
    said = [line for log in (folder / "logs").iterdir() for line in log.read_text().splitlines()]
    lost = [line for line in said if '"kind": "lost"' in line and "killed" in line]
    return "; ".join(lost) if not outcome.errors else ""


def driver_stopped(folder: Path, rng: random.Random) -> str:
    """A driver is stopped within a unit; a second one is refused; the first is continued and ends well."""
    faults.half(folder, rng)
    process = FORK.Process(target=_drive, args=(folder, rng.randint(1, 2)))
    process.start()
    try:
        await_stop(process)
        said = [faults.said_by(lambda: faults.run(folder)) for _ in range(2)]
        os.kill(process.pid, signal.SIGCONT)
        process.join(PATIENCE)
        return "; ".join(said) if all(said) and process.exitcode == 0 else ""
    finally:
        process.kill()
        process.join()


def publisher_stopped(folder: Path, rng: random.Random) -> str:
    """A publisher is stopped on its way; a second one is refused; the first is killed."""
    faults.half(folder, rng)
    faults.run(folder)
    moment = rng.choice(["insert_shards", "point_to"])
    process = FORK.Process(target=_publish, args=(folder, moment, rng.random() < 0.5))
    process.start()
    try:
        await_stop(process)
        assert faults.served(folder), "the snapshot before is not served while a publisher stands"
        return faults.said_by(lambda: faults.publish(folder))
    finally:
        process.kill()
        process.join()


def _drive(folder: Path, at: int) -> None:
    """A driver that is stopped within its unit number `at`."""

    class Stops(FakeWorker):
        work_units = 0

        def run(self, work_unit, on_step=None):
            Stops.work_units += 1
            if Stops.work_units == at:
                stop()
            return super().run(work_unit, on_step)

    faults.run(folder, Stops)


def _publish(folder: Path, moment: str, after: bool) -> None:
    """A publisher that is stopped before or after it does something."""
    act = getattr(publisher, moment)

    def stopping(*arguments, **named):
        if not after:
            stop()
        done = act(*arguments, **named)
        if after:
            stop()
        return done

    setattr(publisher, moment, stopping)
    publisher.publish(folder)


def await_stop(process) -> None:
    """Returns when a process is stopped.

    Raises:
        RuntimeError: it ended before, or was not stopped in time.
    """
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        if not process.is_alive() or time.monotonic() > end:
            raise RuntimeError(f"process {process.pid} was not stopped")
        time.sleep(0.02)


STOPS: dict[str, Callable[[Path, random.Random], str]] = {
    "worker stopped in a work unit": worker_stopped,
    "driver stopped, a second one tries, continued": driver_stopped,
    "publisher stopped, a second one tries, killed": publisher_stopped,
}
