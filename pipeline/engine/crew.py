"""Who runs the work units: this process, processes of this machine, or actors of Ray."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.engine.host import Fleet, Job, OnStep, OpenWorker, rooted
from pipeline.engine.watchdog import Limits
from pipeline.results.record import environment
from pipeline.results.storage import ShardStore
from pipeline.study.plan import Plan


@dataclass(frozen=True)
class Engine:
    """How work units reach workers.

    Attributes:
        name: local (this machine) or ray.
        workers: None = one process per GPU, or one on the CPU; with ray one per slot of the cluster.
        threads: CPU threads of each worker; None = all cores shared out.
        address: of a Ray cluster; None = one started here.
        limits: when a worker counts as hung. A limit for work units makes even a single worker a process that can be killed.
    """

    name: str = "local"
    workers: int | None = None
    threads: int | None = None
    address: str | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Crew:
    """What a fleet is made of.

    Attributes:
        plan: the study's.
        store: where the shards go.
        engine: how work units reach workers.
        device: as it was asked for.
        devices: one for each worker of this machine.
        open_worker: makes the worker of a model.
    """

    plan: Plan
    store: ShardStore
    engine: Engine
    device: str
    devices: tuple[str, ...]
    open_worker: OpenWorker

    @property
    def alone(self) -> bool:
        """Whether this process does the work: one worker, and no limit at which it would have to be killed."""
        endless = self.engine.limits.work_unit in (None, math.inf)
        return self.engine.name == "local" and len(self.devices) == 1 and endless

    @property
    def limits(self) -> Limits:
        """When a worker counts as hung: this process never does, for it cannot kill itself."""
        return replace(self.engine.limits, work_unit=math.inf) if self.alone else self.engine.limits

    def facts(self) -> dict[str, Any]:
        """For the log."""
        return {
            "engine": self.engine.name,
            "workers": self.engine.workers or len(self.devices),
            "device": self.devices[0] if self.alone else self.device,
            "devices": list(self.devices),
            "environment": environment(),
        }

    def fleet(self, on_step: OnStep) -> Fleet:
        """The workers, not started yet.

        Args:
            on_step: is told of finished denoising steps where the work is done in this process.
        """
        if self.alone:
            from pipeline.engine.alone import Alone

            return Alone(replace(self._job(), device=self.devices[0]), on_step)
        job = replace(self._job(), study=rooted(self.plan.study))
        if self.engine.name == "ray":
            from pipeline.engine.ray import RayFleet

            return RayFleet(job, self.engine.workers, self.engine.address, _wants_gpu(self.device))
        from pipeline.engine.processes import Processes

        return Processes(job, self.devices)

    def _job(self) -> Job:
        return Job(
            self.plan.study,
            self.plan.bank,
            self.plan.revisions,
            self.store,
            self.device,
            self.open_worker,
            self._threads(),
            beat=self.engine.limits.beat,
        )

    def _threads(self) -> int | None:
        """CPU threads of each worker: as asked for, or the cores shared out where several share them."""
        shared = self.devices[0] == "cpu" and self.engine.name == "local"
        if self.engine.threads is not None or not shared or self.alone:
            return self.engine.threads
        return max(1, (os.cpu_count() or 1) // len(self.devices))


def _wants_gpu(device: str) -> bool:
    if device == "auto":
        import torch

        return torch.cuda.is_available()
    return device.startswith("cuda")
