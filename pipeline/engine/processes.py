"""A fleet of processes on this machine: one per GPU, or as many as asked for on the CPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from tqdm import tqdm

from pipeline.engine.host import STARTING, Answer, Host, Job
from pipeline.study.plan import WorkUnit

SPAWN = multiprocessing.get_context("spawn")  # CUDA and torch's threads do not survive a fork
READY = "ready"
BEAT = "beat"


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
        self._work_units: list[WorkUnit | None] = [None] * workers
        self._ready = [False] * workers
        self._heard = [0.0] * workers

    def __enter__(self) -> Processes:
        for worker in range(self.size):
            self._start(worker)
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

    def _start(self, worker: int) -> None:
        ours, theirs = SPAWN.Pipe()
        job = replace(self.job, device=self.devices[worker])
        process = SPAWN.Process(target=_serve, args=(job, worker, theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        self._processes[worker], self._pipes[worker] = process, ours
        self._work_units[worker], self._ready[worker] = None, False
        self._heard[worker] = time.monotonic() + STARTING

    def idle(self) -> list[int]:
        """Workers that have started and wait for a work unit."""
        return [p for p in range(self.size) if self._ready[p] and self._work_units[p] is None]

    def give(self, worker: int, work_unit: WorkUnit) -> None:
        """Hands a work unit to an idle worker; one that has just ended is noticed by `wait`."""
        self._work_units[worker] = work_unit
        pipe = self._pipes[worker]
        assert pipe is not None
        with suppress(OSError):
            pipe.send(work_unit)

    def wait(self, seconds: float) -> list[Answer]:
        """The answers that have come, after at most some seconds; losses of workers among them."""
        open_ = [pipe for pipe in self._pipes if pipe is not None]
        heard = wait(open_, seconds)
        answers: list[Answer] = []
        for worker, pipe in enumerate(list(self._pipes)):
            if pipe is None or pipe not in heard:
                continue
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                answers.append(self._lost(worker))
                continue
            self._heard[worker] = time.monotonic()
            if message == READY:
                self._ready[worker] = True
            elif message != BEAT:
                self._work_units[worker] = None
                answers.append(message)
        return answers

    def finish(self) -> list[Answer]:
        """Nothing: each worker writes its shard before it answers."""
        return []

    def heard(self) -> dict[int, float]:
        """When each worker last said something; one that starts may take its time."""
        return dict(enumerate(self._heard))

    def stop(self, worker: int, why: str) -> Answer:
        """Kills a worker, also one that is stopped itself (SIGSTOP), and starts another."""
        process, work_unit = self._processes[worker], self._work_units[worker]
        process.kill()
        process.join(5)
        pipe = self._pipes[worker]
        if pipe is not None:
            pipe.close()
        self._start(worker)
        return Answer(worker, work_unit, "lost", error=f"worker {worker} {why}; killed")

    def _lost(self, worker: int) -> Answer:
        process, work_unit = self._processes[worker], self._work_units[worker]
        process.join(5)
        code = process.exitcode
        reason = (
            f"killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with status {code}"
        )
        hint = "; the system may be out of memory" if code == -signal.SIGKILL else ""
        self._start(worker)
        return Answer(worker, work_unit, "lost", error=f"worker {worker} {reason}{hint}")


def _serve(job: Job, worker: int, pipe: Connection, driver: int) -> None:
    """Runs work units until the driver goes."""
    tqdm.set_lock(
        threading.RLock()
    )  # tqdm's own holds a semaphore, which is left behind when the process is ended
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group: the driver decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limit_threads(job.threads)
    host = Host(job, worker, wanted=lambda: os.getppid() == driver)
    lock = threading.Lock()

    def send(message: object) -> None:
        with lock:
            pipe.send(message)

    def live() -> None:
        with suppress(OSError):
            while True:
                time.sleep(job.beat)
                send(BEAT)

    with suppress(EOFError, OSError):
        send(READY)
        threading.Thread(target=live, daemon=True).start()
        while True:
            send(host.run(pipe.recv()))


def limit_threads(threads: int | None) -> None:
    """Keeps workers of one machine from taking each other's cores."""
    if threads is None:
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    torch = sys.modules.get("torch")  # a later import reads the variables
    if torch is not None:
        torch.set_num_threads(threads)
