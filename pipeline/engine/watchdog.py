"""Which workers hang: they give no sign of life, or take far longer for a work unit than the plan lets expect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.engine.work import work_unit_calls
from pipeline.study.plan import Plan, WorkUnit

BEAT = 5.0  # seconds between two signs of life of a worker
SILENCE = 300.0  # seconds without one
FLOOR = 900.0  # seconds that every work unit may take: its first one opens the model, perhaps from a slow disk
CALL = 120.0  # seconds for a denoiser call before any was measured; SDXL takes about 60 on a CPU
FACTOR = 20.0  # times the slowest work unit of the model so far, per denoiser call


@dataclass(frozen=True)
class Limits:
    """When a worker counts as hung.

    Attributes:
        work_unit: seconds for a work unit; None = from the plan's denoiser calls and what work units took so far, inf = any time.
        silence: seconds without a sign of life.
    """

    work_unit: float | None = None
    silence: float = SILENCE

    @property
    def beat(self) -> float:
        """Seconds between two signs of life of a worker."""
        return min(BEAT, self.silence / 8)


@dataclass(frozen=True)
class _Task:
    work_unit: WorkUnit
    calls: int
    since: float


class Watchdog:
    """Knows which worker has which work unit since when. Times are of one monotonic clock, in seconds."""

    def __init__(self, plan: Plan, limits: Limits) -> None:
        self.plan, self.limits = plan, limits
        self._tasks: dict[int, _Task] = {}
        self._slowest: dict[str, float] = {}  # model -> seconds for a denoiser call

    def give(self, worker: int, work_unit: WorkUnit, now: float) -> None:
        """A worker begins a work unit."""
        self._tasks[worker] = _Task(work_unit, work_unit_calls(self.plan, work_unit), now)

    def take(self, worker: int, seconds: float = 0.0) -> None:
        """A worker has done its work unit, in some seconds, or lost it (0)."""
        task = self._tasks.pop(worker, None)
        if task is not None and seconds > 0:
            name = task.work_unit.model.name
            self._slowest[name] = max(seconds / task.calls, self._slowest.get(name, 0.0))

    def limit(self, worker: int) -> float:
        """Seconds that the work unit of a worker may take."""
        if self.limits.work_unit is not None:
            return self.limits.work_unit
        task = self._tasks[worker]
        pace = self._slowest.get(task.work_unit.model.name)
        return FLOOR + task.calls * (CALL if pace is None else FACTOR * pace)

    def hung(self, heard: Mapping[int, float], now: float) -> dict[int, str]:
        """The workers to stop, and why.

        Args:
            heard: when each worker last gave a sign of life; without the workers that cannot tell.
            now: the time.
        """
        silent = {
            worker: f"gave no sign of life for {now - at:.0f} s"
            for worker, at in heard.items()
            if now - at > self.limits.silence
        }
        late = {
            worker: f"took over {self.limit(worker):.0f} s for a work unit (--unit-limit)"
            for worker, task in self._tasks.items()
            if now - task.since > self.limit(worker)
        }
        return {**late, **silent}

    def patience(self, now: float, most: float) -> float:
        """Seconds to wait for answers before looking again, at most some."""
        ends = [task.since + self.limit(worker) for worker, task in self._tasks.items()]
        soonest = min(ends, default=math.inf) - now
        return max(0.05, min(most, self.limits.silence / 4, soonest))
