"""A fleet of Ray actors, one per GPU or CPU slot of a cluster. Ray carries the work; the ledger stays here."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.engines.host import Answer, Host, Job
from pipeline.engines.local import limit_threads
from pipeline.errors import StepscopeError
from pipeline.plan import WorkUnit

READY = "ready"


class EngineError(StepscopeError):
    """Ray is not installed, or its cluster cannot be used."""


class RayFleet:
    """Actors that take units.

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
        ] = {}  # reference -> place, unit (None: its start)
        self._idle: list[int] = []

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
        self._actor = self.ray.remote(max_restarts=0, max_task_retries=0)(_Actor)
        for place in range(self.size):
            self._start(place)
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
            found = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
            options |= {"_temp_dir": self._temp, "num_cpus": cores, "runtime_env": found}
        if not self.ray.is_initialized():
            self.ray.init(address=self._address or "local", logging_level="ERROR", **options)

    def _disconnect(self) -> None:
        with suppress(Exception):
            self.ray.shutdown()
        if self._temp:
            shutil.rmtree(self._temp, ignore_errors=True)

    def _slots(self) -> int:
        found = self.ray.cluster_resources()
        slots = found.get("GPU", 0) if self._gpu else found.get("CPU", 1) // (self.job.threads or 1)
        if slots < 1:
            raise EngineError(
                "the cluster has no GPU. Use --device cpu, or say how many workers to wait for with --workers."
            )
        return int(slots)

    def _start(self, place: int) -> None:
        resources = {"num_gpus": 1 if self._gpu else 0, "num_cpus": self.job.threads or 1}
        actor = self._actor.options(**resources).remote(self.job, place)
        self._actors[place] = actor
        self._calls[actor.ready.remote()] = (place, None)

    def idle(self) -> list[int]:
        """Places whose actor has started and waits for a unit."""
        return list(self._idle)

    def give(self, worker: int, unit: WorkUnit) -> None:
        """Hands a unit to an idle actor."""
        self._idle.remove(worker)
        self._calls[self._actors[worker].run.remote(unit)] = (worker, unit)

    def wait(self, seconds: float) -> list[Answer]:
        """The answers that have come, after at most some seconds; losses of actors among them."""
        waiting = list(self._calls)
        done, _ = self.ray.wait(waiting, num_returns=1, timeout=seconds)
        if done and len(waiting) > 1:  # whatever else is there already
            done, _ = self.ray.wait(waiting, num_returns=len(waiting), timeout=0)
        answers = []
        for reference in done:
            place, unit = self._calls.pop(reference)
            try:
                message = self.ray.get(reference)
            except self.ray.exceptions.RayError as error:
                answers.append(self._lost(place, unit, error))
                continue
            self._idle.append(place)
            if message != READY:
                answers.append(message)
        return answers

    def _lost(self, place: int, unit: WorkUnit | None, error: Exception) -> Answer:
        with suppress(Exception):
            self.ray.kill(self._actors[place], no_restart=True)
        self._start(place)
        reason = " ".join(str(error).split())
        return Answer(place, unit, "lost", error=f"actor {place} lost: {reason}"[:500])


class _Actor:
    """A `Host` in a Ray actor."""

    def __init__(self, job: Job, place: int) -> None:
        limit_threads(job.threads)
        self.host = Host(job, place)

    def ready(self) -> str:
        return READY

    def run(self, unit: WorkUnit) -> Answer:
        return self.host.run(unit)

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
