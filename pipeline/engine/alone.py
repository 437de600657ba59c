"""A fleet of one: the worker is in this process, and a shard is written while the next work unit is sampled."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.engine.host import Answer, Host, Job, OnStep, Sampled
from pipeline.study.plan import WorkUnit


class Alone:
    """Samples in `wait`, and answers for a work unit when its shard is on the disk.

    Args:
        job: what to run.
        on_step: is told of finished denoising steps.
    """

    def __init__(self, job: Job, on_step: OnStep | None = None) -> None:
        self.size = 1
        self._host, self._on_step = Host(job, 0), on_step
        self._next: WorkUnit | None = None
        self._writer = ThreadPoolExecutor(1)
        self._unwritten: Future[Answer] | None = None

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()
        self._host.close()

    def idle(self) -> list[int]:
        """Its one place, unless it has a work unit."""
        return [0] if self._next is None else []

    def give(self, worker: int, work_unit: WorkUnit) -> None:
        """Keeps the work unit for `wait`."""
        self._next = work_unit

    def wait(self, seconds: float) -> list[Answer]:
        """Samples the work unit that it has, however long that takes; answers for the one before."""
        work_unit, self._next = self._next, None
        if work_unit is None:
            return self.finish()
        sampled = self._host.sample(work_unit, self._on_step)
        answers = self.finish()
        if isinstance(sampled, Sampled):
            self._unwritten = self._writer.submit(self._host.store, sampled)
            return answers
        return [*answers, sampled]

    def finish(self) -> list[Answer]:
        """Waits for the shard that is being written, if there is one."""
        if self._unwritten is None:
            return []
        answer = self._unwritten.result()  # Ctrl-C here leaves it for the next call
        self._unwritten = None
        return [answer]

    def heard(self) -> dict[int, float]:
        """Nothing: it cannot hang apart from the run."""
        return {}

    def stop(self, worker: int, why: str) -> Answer:
        """Never called, for nothing is heard of it."""
        raise AssertionError(f"this process cannot stop itself: it {why}")
