"""The one loop of a run: gives work units to a fleet, and keeps the ledger and the log of what it answers.

A work unit that raises is recorded, and the next run tries it again. One whose worker is lost is given to another worker
of this run. After `MAX_TRIES` either is set aside.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from pipeline.engine.crew import Crew
from pipeline.engine.host import Answer, Fleet
from pipeline.engine.progress import is_finished
from pipeline.engine.runlog import RunLog
from pipeline.engine.watchdog import Watchdog
from pipeline.errors import ModelError, StepscopeError, StoreError
from pipeline.results.folder import Results
from pipeline.results.ledger import MAX_TRIES, LedgerEntry
from pipeline.results.record import save_worker
from pipeline.results.shards import now
from pipeline.results.split import Part
from pipeline.study.plan import Plan, WorkUnit

PATIENCE = 60.0  # seconds without any worker before that is said
DEATHS = 3  # workers that end before any has started: something is wrong with all of them


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    work_units: int  # run now
    stored_before: int  # already there
    failed: int  # samples that failed in the work units run now
    errors: tuple[str, ...]  # work units without a shard, and why
    interrupted: bool
    seconds: float
    distances: tuple[
        str, ...
    ] = ()  # what became of the distances to reference entries, a line each
    problem: str = ""  # why they could not be computed


class Loop:
    """Runs what is not finished of a plan."""

    def __init__(
        self,
        plan: Plan,
        results: Results,
        crew: Crew,
        retry: bool,
        work_units: Sequence[WorkUnit] | None = None,
        part: Part | None = None,
    ) -> None:
        """Prepares a run.

        Args:
            plan: the plan.
            results: the results folder, locked.
            crew: what the fleet is made of.
            retry: also run the work units that were set aside after MAX_TRIES.
            work_units: those of the plan to run; None = all.
            part: the part that they are, for the log.
        """
        self.plan, self.results, self.crew, self.retry = plan, results, crew, retry
        self.work_units = plan if work_units is None else work_units
        self.part = part
        self.log = RunLog(results.logs, "run" if part is None else "part")
        self.watchdog = Watchdog(plan, crew.limits)
        self.entries = dict(results.read_ledger().entries)
        self.attempts: Counter[str] = Counter()
        self.queue: deque[WorkUnit] = deque()
        self.busy = 0
        self.done = self.failed = self.samples = self.steps = 0
        self.errors: list[str] = []
        self.unopened: list[StepscopeError] = []
        self.cannot: dict[str, set[int]] = {}  # model -> workers that cannot open it
        self.saved: dict[str, Any] = {}  # model -> what its last worker said of itself
        self.deaths = 0
        self.started = False

    def go(self) -> Outcome:
        """Runs until nothing is left, or Ctrl-C.

        Raises:
            StoreError: a shard or the ledger cannot be written, or no worker starts.
            ModelError: no model of the study can be opened.
        """
        began, interrupted = time.perf_counter(), False
        self.queue.extend(each for each in self.work_units if not self._finished(each))
        todo, samples = len(self.queue), sum(map(len, self.queue))
        self.log.write(
            "start", study=self.plan.study.name, units=len(self.work_units), todo=todo, samples=samples,
            **({} if self.part is None else {"part": str(self.part)}), **self.crew.facts(),
        )  # fmt: skip
        try:
            self._run_all()
            if self.unopened and not self.done:
                raise self.unopened[0]
        except KeyboardInterrupt:
            interrupted = True
        except StepscopeError as error:
            self.log.write("stop", error=str(error))
            raise
        errors = tuple(self.errors)
        self.log.write(
            "end", units=self.done, failed=self.failed, errors=len(errors), interrupted=interrupted
        )
        seconds = time.perf_counter() - began
        return Outcome(
            self.done, len(self.work_units) - todo, self.failed, errors, interrupted, seconds
        )

    def _finished(self, work_unit: WorkUnit) -> bool:
        entry = self.entries.get(work_unit.unit_id)
        if self.retry and entry is not None and entry.status != "done":
            return False
        return is_finished(self.results, entry)

    def _run_all(self) -> None:
        if not self.queue:
            return
        total = sum(_steps(work_unit) for work_unit in self.queue)
        with (
            tqdm(
                total=total,
                unit=" image steps",
                smoothing=0.1,
                dynamic_ncols=True,
                mininterval=0.2 if sys.stderr.isatty() else 15,  # a log file needs no more
            ) as bar,
            self.crew.fleet(lambda images: _advance(bar, bar.n + images)) as fleet,
        ):
            try:
                while self.queue or self.busy:
                    self._turn(fleet, bar)
            finally:
                self._take_all(fleet.finish(), fleet, bar)

    def _turn(self, fleet: Fleet, bar: tqdm) -> None:
        """Gives every idle worker a work unit, and takes what has come."""
        for worker in fleet.idle():
            work_unit = self._next(worker)
            if work_unit is not None:
                fleet.give(worker, work_unit)
                self.watchdog.give(worker, work_unit, time.monotonic())
                self.busy += 1
        self._take_all(self._answers(fleet), fleet, bar)
        if not self.busy and not fleet.idle():
            self.log.write("waiting", asked=fleet.size)

    def _next(self, worker: int) -> WorkUnit | None:
        """The next work unit whose model the worker can open."""
        for _ in range(len(self.queue)):
            work_unit = self.queue.popleft()
            if worker not in self.cannot.get(work_unit.model.name, ()):
                return work_unit
            self.queue.append(work_unit)
        return None

    def _answers(self, fleet: Fleet) -> list[Answer]:
        """What workers have said, and what is taken from those that hang: they are killed."""
        answers = fleet.wait(self.watchdog.patience(time.monotonic(), PATIENCE))
        for answer in answers:
            if answer.work_unit is not None:
                self.watchdog.take(answer.worker, answer.seconds)
        for worker, why in self.watchdog.hung(fleet.heard(), time.monotonic()).items():
            self.watchdog.take(worker)
            answers.append(fleet.stop(worker, why))
        return answers

    def _take_all(self, answers: list[Answer], fleet: Fleet, bar: tqdm) -> None:
        for answer in answers:
            if answer.work_unit is None:
                self._lost_idle(answer)
                continue
            self.busy -= 1
            self.started = True
            self._take(answer, answer.work_unit, fleet)
            _advance(bar, max(bar.n, self.steps))
            bar.set_postfix_str(f"{self.failed} failed" if self.failed else "")

    def _take(self, answer: Answer, work_unit: WorkUnit, fleet: Fleet) -> None:
        if answer.kind == "unstored":
            raise StoreError(answer.error)
        if answer.kind == "unopened":
            self._cannot_open(answer, work_unit, fleet)
            return
        if answer.kind == "done":
            self._save_worker(work_unit.model.name, answer)
        entry = self._entry(answer, work_unit)
        self._keep(answer, work_unit, entry)
        if answer.kind == "lost" and entry.tries < MAX_TRIES:
            self.queue.append(work_unit)
            return
        if answer.kind != "done":
            self.errors.append(f"{work_unit.model.name}, seed {work_unit.seed}: {entry.error}")
        self.done += 1
        self.failed += entry.failed
        self.steps += _steps(work_unit)

    def _save_worker(self, name: str, answer: Answer) -> None:
        description = (answer.description, answer.environment)
        if self.saved.get(name) != description:
            save_worker(self.results, name, *description)
            self.saved[name] = description

    def _entry(self, answer: Answer, work_unit: WorkUnit) -> LedgerEntry:
        """What the ledger says of an answer; a shard that an earlier try left still counts."""
        before, key = self.entries.get(work_unit.unit_id), work_unit.unit_id
        tries = before.tries if before is not None else 0
        if self.retry and not self.attempts[key] and tries >= MAX_TRIES:
            tries = 0  # it had been set aside: it begins again
        if answer.entry is not None:
            entry = answer.entry
        elif before is not None and self.results.holds(before):
            entry = replace(
                before, status="failed", stage="unit", error=answer.error, finished_at=now()
            )
        else:
            entry = LedgerEntry(
                key, status="error", stage="unit", error=answer.error, finished_at=now()
            )
        return replace(entry, tries=tries + 1)

    def _keep(self, answer: Answer, work_unit: WorkUnit, entry: LedgerEntry) -> None:
        """Writes an entry to the ledger and to the log; `through` counts the samples that need no more work in this run."""
        self.attempts[work_unit.unit_id] += 1
        self.entries[work_unit.unit_id] = entry
        self.results.append([entry])
        if entry.has_shard or entry.tries >= MAX_TRIES:
            self.samples += len(work_unit)
        self.log.write(
            "unit", unit_id=work_unit.unit_id, model=work_unit.model.name, seed=work_unit.seed, status=entry.status,
            samples=len(work_unit), through=self.samples, failed=entry.failed, tries=entry.tries, error=entry.error,
            kind=answer.kind, worker=answer.worker, seconds=round(answer.seconds, 3),
        )  # fmt: skip

    def _lost_idle(self, answer: Answer) -> None:
        self.log.write("lost", worker=answer.worker, error=answer.error)
        self.deaths += 1
        if not self.started and self.deaths >= DEATHS:
            raise StoreError(
                f"{self.deaths} workers ended before they could start ({answer.error}). Run with one worker "
                "(--workers 1) to see why."
            )

    def _cannot_open(self, answer: Answer, work_unit: WorkUnit, fleet: Fleet) -> None:
        """Gives the work unit to another worker; drops the model when as many as count cannot open it."""
        name = work_unit.model.name
        workers = self.cannot.setdefault(name, set())
        workers.add(answer.worker)
        self.queue.append(work_unit)
        if len(workers) < min(DEATHS, fleet.size):
            return
        if len(workers) == min(DEATHS, fleet.size):
            self.errors.append(answer.error)
            self.unopened.append(ModelError(answer.error))
            self.log.write("unopened", model=name, error=answer.error)
        dropped = [other for other in self.queue if other.model.name == name]
        for other in dropped:
            self.queue.remove(other)
            self.steps += _steps(other)


def _steps(work_unit: WorkUnit) -> int:
    """Denoising steps of a work unit, over its images."""
    return len(work_unit) * work_unit.model.steps


def _advance(bar: tqdm, steps: int) -> None:
    """Moves a bar forward, at most to its end: a scheduler may call more often than the model has steps."""
    bar.update(max(0, min(steps, bar.total) - bar.n))
