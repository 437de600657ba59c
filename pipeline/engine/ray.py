"""A fleet of Ray actors, one per GPU or CPU slot of a cluster. Ray carries the work; the ledger stays here."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.engine.host import Answer, Host, Job
from pipeline.engine.processes import limit_threads
from pipeline.errors import StepscopeError
from pipeline.study.plan import WorkUnit

READY = "ready"


class EngineError(StepscopeError):
    """Ray is not installed, or its cluster cannot be used."""


class RayFleet:
    """Actors that take work units.

    An actor that waits for a free slot takes no part until it has started, so a cluster may have fewer slots than
    workers were asked for, and machines that join later bring their workers in.
    """

    def __init__(self, job: Job, workers: int | None, address: str | None, gpu: bool) -> None:
        self.ray = _import_ray()
        self._address, self._gpu, self._asked = address, gpu, workers
        self.job = replace(job, elsewhere=True)
        self._temp = ""
        self.size = 0
        self._actors: dict[int, Any] = {}
        self._calls: dict[
            Any, tuple[int, WorkUnit | None]
        ] = {}  # reference -> worker, work unit (None: its start)
        self._idle: list[int] = []
        self._beats: dict[Any, int] = {}  # reference -> place
        self._heard: dict[int, float] = {}
        self._asked_at = 0.0

    def __enter__(self) -> RayFleet:
        try:
            self._connect()
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            self._disconnect()
            reason = " ".join(str(error).split())[:300]
            raise EngineError(
                f"--address {self._address}: no Ray cluster answers there ({reason}). Start one with `ray start --head`, "
                "or leave --address out."
            ) from None
        self.size = self._asked or self._slots()
        life = {"life": 1}  # a thread that answers while another runs a work unit
        remote = self.ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups=life)
        self._actor = remote(_Actor)
        for worker in range(self.size):
            self._start(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors.values():
            with suppress(Exception):
                self.ray.kill(actor, no_restart=True)
        self._disconnect()

    def _connect(self) -> None:
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
        if self._address is None:
            # Sockets have paths of at most 107 characters: a short folder of our own.
            self._temp = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
            cores = max(os.cpu_count() or 1, (self._asked or 1) * (self.job.threads or 1))
            environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
            options |= {"_temp_dir": self._temp, "num_cpus": cores, "runtime_env": environment}
        if not self.ray.is_initialized():
            self.ray.init(address=self._address or "local", logging_level="ERROR", **options)

    def _disconnect(self) -> None:
        with suppress(Exception):
            self.ray.shutdown()
        if self._temp:
            shutil.rmtree(self._temp, ignore_errors=True)

    def _slots(self) -> int:
        resources = self.ray.cluster_resources()
        slots = (
            resources.get("GPU", 0)
            if self._gpu
            else resources.get("CPU", 1) // (self.job.threads or 1)
        )
        if slots < 1:
            raise EngineError(
                "the cluster has no GPU. Use --device cpu, or say how many workers to wait for with --workers."
            )
        return int(slots)

    def _start(self, worker: int) -> None:
        resources = {"num_gpus": 1 if self._gpu else 0, "num_cpus": self.job.threads or 1}
        actor = self._actor.options(**resources).remote(self.job, worker)
        self._actors[worker] = actor
        self._calls[actor.ready.remote()] = (worker, None)

    def idle(self) -> list[int]:
        """Actors that have started and wait for a work unit."""
        return list(self._idle)

    def give(self, worker: int, work_unit: WorkUnit) -> None:
        """Hands a work unit to an idle actor."""
        self._idle.remove(worker)
        self._calls[self._actors[worker].run.remote(work_unit)] = (worker, work_unit)

    def wait(self, seconds: float) -> list[Answer]:
        """The answers that have come, after at most some seconds; losses of actors among them."""
        self._ask_for_life()
        waiting = [*self._calls, *self._beats]
        done, _ = self.ray.wait(waiting, num_returns=1, timeout=seconds)
        if done and len(waiting) > 1:  # whatever else is there already
            done, _ = self.ray.wait(waiting, num_returns=len(waiting), timeout=0)
        answers = []
        for reference in done:
            if reference in self._beats:
                self._hear(reference)
                continue
            if reference not in self._calls:
                continue  # the sign of life of an actor whose loss was noticed just now
            worker, work_unit = self._calls.pop(reference)
            try:
                message = self.ray.get(reference)
            except self.ray.exceptions.RayError as error:
                answers.append(self._lost(worker, work_unit, error))
                continue
            self._idle.append(worker)
            self._heard[worker] = time.monotonic()
            if message != READY:
                answers.append(message)
        return answers

    def _ask_for_life(self) -> None:
        """Asks every actor that has started and owes no answer to this question."""
        if time.monotonic() - self._asked_at < self.job.beat:
            return
        self._asked_at = time.monotonic()
        for worker in self._heard.keys() - set(self._beats.values()):
            beat = self._actors[worker].beat.options(concurrency_group="life")
            self._beats[beat.remote()] = worker

    def _hear(self, reference: Any) -> None:
        worker = self._beats.pop(reference)
        with suppress(self.ray.exceptions.RayError):
            self.ray.get(reference)
            self._heard[worker] = time.monotonic()

    def finish(self) -> list[Answer]:
        """Nothing: each worker writes its shard before it answers."""
        return []

    def heard(self) -> dict[int, float]:
        """When each actor that has started last answered."""
        return dict(self._heard)

    def stop(self, worker: int, why: str) -> Answer:
        """Kills an actor and asks for another."""
        mine = [reference for reference, (number, _) in self._calls.items() if number == worker]
        work_units = [self._calls.pop(reference)[1] for reference in mine]
        if worker in self._idle:
            self._idle.remove(worker)
        work_unit = work_units[0] if work_units else None
        return self._lost(worker, work_unit, TimeoutError(f"it {why}; killed"))

    def _lost(self, worker: int, work_unit: WorkUnit | None, error: Exception) -> Answer:
        self._heard.pop(worker, None)
        self._beats = {beat: at for beat, at in self._beats.items() if at != worker}
        with suppress(Exception):
            self.ray.kill(self._actors[worker], no_restart=True)
        self._start(worker)
        reason = " ".join(str(error).split())
        return Answer(worker, work_unit, "lost", error=f"actor {worker} lost: {reason}"[:500])


class _Actor:
    """A `Host` in a Ray actor."""

    def __init__(self, job: Job, worker: int) -> None:
        limit_threads(job.threads)
        self.host = Host(job, worker)

    def ready(self) -> str:
        return READY

    def beat(self) -> None:
        """A sign of life."""

    def run(self, work_unit: WorkUnit) -> Answer:
        return self.host.run(work_unit)

    def where(self) -> tuple[str, int]:
        return socket.gethostname(), os.getpid()


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        requirements = Path(__file__).resolve().parents[2] / "requirements-ray.txt"
        raise EngineError(
            f"--engine ray needs Ray: pip install -r {requirements.name} (beside the README), on every machine."
        ) from None
    return ray
