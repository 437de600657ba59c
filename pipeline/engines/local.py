"""A fleet of processes on this machine: one per GPU, or as many as asked for on the CPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.engines.host import Answer, Host, Job
from pipeline.plan import WorkUnit

SPAWN = multiprocessing.get_context("spawn")  # CUDA and torch's threads do not survive a fork
READY = "ready"


class Processes:
    """Worker processes, each at the other end of a pipe and on a device of its own or a shared one.

    Args:
        job: what to run; its device is replaced by the worker's.
        devices: one for each worker, such as "cuda:0". A worker in a lost one's place gets the same.
    """

    def __init__(self, job: Job, devices: Sequence[str]) -> None:
        self.job, self.devices = job, tuple(devices)
        self.size = workers = len(self.devices)
        self._processes: list[Any] = [None] * workers
        self._pipes: list[Connection | None] = [None] * workers
        self._units: list[WorkUnit | None] = [None] * workers
        self._ready = [False] * workers

    def __enter__(self) -> Processes:
        for place in range(self.size):
            self._start(place)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process is not None:
                process.terminate()
        for process in self._processes:
            if process is not None:
                process.join(5)
                if process.is_alive():
                    process.kill()
                    process.join()

    def _start(self, place: int) -> None:
        ours, theirs = SPAWN.Pipe()
        job = replace(self.job, device=self.devices[place])
        process = SPAWN.Process(target=_serve, args=(job, place, theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        self._processes[place], self._pipes[place] = process, ours
        self._units[place], self._ready[place] = None, False

    def idle(self) -> list[int]:
        """Places whose worker has started and waits for a unit."""
        return [p for p in range(self.size) if self._ready[p] and self._units[p] is None]

    def give(self, worker: int, unit: WorkUnit) -> None:
        """Hands a unit to an idle worker; one that has just ended is noticed by `wait`."""
        self._units[worker] = unit
        pipe = self._pipes[worker]
        assert pipe is not None
        with suppress(OSError):
            pipe.send(unit)

    def wait(self, seconds: float) -> list[Answer]:
        """The answers that have come, after at most some seconds; losses of workers among them."""
        open_ = [pipe for pipe in self._pipes if pipe is not None]
        heard = wait(open_, seconds)
        answers: list[Answer] = []
        for place, pipe in enumerate(list(self._pipes)):
            if pipe is None or pipe not in heard:
                continue
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                answers.append(self._lost(place))
                continue
            if message == READY:
                self._ready[place] = True
            else:
                self._units[place] = None
                answers.append(message)
        return answers

    def _lost(self, place: int) -> Answer:
        process, unit = self._processes[place], self._units[place]
        process.join(5)
        code = process.exitcode
        reason = (
            f"killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with status {code}"
        )
        hint = "; the system may be out of memory" if code == -signal.SIGKILL else ""
        self._start(place)
        return Answer(place, unit, "lost", error=f"worker {place} {reason}{hint}")


def _serve(job: Job, place: int, pipe: Connection, driver: int) -> None:
    """Runs units until the driver goes."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group: the driver decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limit_threads(job.threads)
    host = Host(job, place, wanted=lambda: os.getppid() == driver)
    with suppress(EOFError, OSError):
        pipe.send(READY)
        while True:
            pipe.send(host.run(pipe.recv()))


def limit_threads(threads: int | None) -> None:
    """Keeps workers of one machine from taking each other's cores."""
    if threads is None:
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    torch = sys.modules.get("torch")  # a later import reads the variables
    if torch is not None:
        torch.set_num_threads(threads)
