"""Runs the work units of a study, in this process or by a fleet of workers, and keeps the ledger."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.engines.host import (
    Answer,
    Fleet,
    Job,
    OpenWorker,
    Worker,
    checked,
    local_worker,
    one_line,
    rooted,
)
from pipeline.errors import ModelError, StepscopeError, StoreError
from pipeline.plan import Plan, WorkUnit
from pipeline.progress import is_finished
from pipeline.results import environment, save_plan, save_worker
from pipeline.runlog import RunLog
from pipeline.shards import MAX_TRIES, Ledger, LedgerEntry, Results, now, write_shard
from pipeline.study import ModelSpec


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    units: int  # run now
    kept: int  # already there
    failed: int  # samples that failed in the units run now
    errors: tuple[str, ...]  # units without a shard, and why
    interrupted: bool
    seconds: float


def run(
    made: Plan,
    folder: Path,
    device: str = "auto",
    open_worker: OpenWorker | None = None,
    duplicates: int = 0,
    engine: Engine | None = None,
    shards: str | None = None,
    retry: bool = False,
) -> Outcome:
    """Run what is missing of a plan, into a results folder that only one run may hold.

    Ctrl-C or SIGTERM stops at once; what is finished is kept, and the next run goes on from there. A unit that breaks, or
    a model that cannot be opened, is reported and does not stop the others.

    Args:
        made: the plan.
        folder: the results folder, made if need be.
        device: auto, cpu, cuda (every GPU), cuda:1 (that one) or mps.
        open_worker: makes the worker of a model; None = in this process.
        duplicates: repeated prompts that were left out, for the record.
        engine: how units reach workers; None = one worker, in this process.
        shards: a folder or object store for the shards; None = where they are, else in the results folder.
        retry: also run the units that were set aside after MAX_TRIES.

    Raises:
        StoreError: the folder is in use, or cannot be written.
        ModelError: the device is not there.
        StepscopeError: no model of the study can be opened.
    """
    engine = engine or Engine()
    devices = _devices(device, engine)
    results = Results(folder)
    results.create()
    with results.locked(), _stopped_by_sigterm():
        results.remove_stale()
        if shards is not None:
            results.keep_shards_at(shards)
        save_plan(results, made, duplicates)
        opener = open_worker or _local_worker
        if len(devices) == 1 and engine.name == "local":
            return _Run(made, results, devices[0], opener, retry).go()
        return _FleetRun(made, results, device, opener, retry, engine, devices).go()


def _devices(device: str, engine: Engine) -> tuple[str, ...]:
    """The device of each worker of this machine: one worker for each GPU, or as many as asked for, over them in turn.

    With Ray the workers' devices are the cluster's, which hands them out.

    Raises:
        ModelError: the device is not there, or is the number of a GPU that only the cluster gives.
    """
    if engine.name == "ray" and ":" in device:
        raise ModelError(
            f"device {device!r} is one GPU of a machine, and a Ray cluster hands out its GPUs itself. Use --device cuda."
        )
    if engine.name == "ray" or device == "cpu":  # no need of torch here
        return (device,) * (engine.workers or 1)
    from pipeline.devices import assign, worker_devices

    found = worker_devices(device)
    return assign(found, engine.workers or len(found))


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM, which schedulers and `docker stop` send, ends a run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


_local_worker = local_worker


@dataclass(frozen=True)
class Engine:
    """How units reach workers.

    Attributes:
        name: local (this machine) or ray.
        workers: None = one process per GPU, or one on the CPU; with ray one per slot of the cluster.
        threads: CPU threads of each worker; None = all cores shared out.
        address: of a Ray cluster; None = one started here.
    """

    name: str = "local"
    workers: int | None = None
    threads: int | None = None
    address: str | None = None


class _Run:
    def __init__(
        self, made: Plan, results: Results, device: str, open_worker: OpenWorker, retry: bool
    ) -> None:
        self.made, self.results, self.retry = made, results, retry
        self.log = RunLog(results.logs, "run")
        self.device, self.open_worker = device, open_worker
        self.ledger: Ledger = results.read_ledger()
        self.units = self.failed = self.samples = 0
        self.errors: list[str] = []
        self.unopened: list[StepscopeError] = []
        self.unwritten: tuple[WorkUnit, Future[LedgerEntry], float] | None = None

    def go(self) -> Outcome:
        started, interrupted = time.perf_counter(), False
        waiting = {
            model.name: [unit for unit in self.made.of_model(model) if not self._finished(unit)]
            for model in self.made.study.models
        }
        todo = sum(len(units) for units in waiting.values())
        images = sum(len(unit) for units in waiting.values() for unit in units)
        self.log.write(
            "start", study=self.made.study.name, units=len(self.made), todo=todo, samples=images,
            **self._facts(),
        )  # fmt: skip
        try:
            self._run_all(waiting)
            if self.unopened and not self.units:
                raise self.unopened[0]
        except KeyboardInterrupt:
            interrupted = True
        except StepscopeError as error:
            self.log.write("stop", error=str(error))
            raise
        self.log.write(
            "end",
            units=self.units,
            failed=self.failed,
            errors=len(self.errors),
            interrupted=interrupted,
        )
        return Outcome(
            units=self.units,
            kept=len(self.made) - todo,
            failed=self.failed,
            errors=tuple(self.errors),
            interrupted=interrupted,
            seconds=time.perf_counter() - started,
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "engine": "local",
            "workers": 1,
            "device": self.device,
            "environment": environment(),
        }

    def _run_all(self, waiting: dict[str, list[WorkUnit]]) -> None:
        for model in self.made.study.models:
            if waiting[model.name]:
                self._run_model(model, waiting[model.name])

    def _finished(self, unit: WorkUnit) -> bool:
        entry = self.ledger.entries.get(unit.unit_id)
        if self.retry and entry is not None and entry.status != "done":
            return False
        return is_finished(self.results, entry)

    def _tries(self, unit: WorkUnit) -> int:
        """The number of this try; a unit that had been set aside begins again."""
        before = self.ledger.entries.get(unit.unit_id)
        tries = before.tries if before is not None else 0
        return 1 if self.retry and tries >= MAX_TRIES else tries + 1

    def _keep(self, unit: WorkUnit, entry: LedgerEntry, **facts: Any) -> None:
        """Writes an entry to the ledger and to the log; `through` counts the samples that need no more work in this run."""
        self.results.append([entry])
        if entry.has_shard or entry.tries >= MAX_TRIES:
            self.samples += len(unit)
        self.log.write(
            "unit", unit_id=unit.unit_id, model=unit.model.name, seed=unit.seed, status=entry.status,
            samples=len(unit), through=self.samples, failed=entry.failed, tries=entry.tries, error=entry.error, **facts,
        )  # fmt: skip

    def _run_model(self, model: ModelSpec, units: list[WorkUnit]) -> None:
        try:
            opened = self.open_worker(self.made.study, model, self.made.bank, self.device)
        except StoreError:
            raise
        except StepscopeError as error:
            self._unopened(model.name, error)
            return
        with opened as worker, self._writing():
            save_worker(self.results, model.name, worker.description)
            total = sum(len(unit) for unit in units) * worker.total_steps
            with tqdm(
                total=total,
                desc=model.name,
                unit=" image steps",
                smoothing=0.1,
                dynamic_ncols=True,
                mininterval=0.2 if sys.stderr.isatty() else 15,  # a log file needs no more
            ) as bar:
                for unit in units:
                    start = bar.n
                    self._run_unit(worker, unit, bar)
                    bar.n = (
                        start + len(unit) * worker.total_steps
                    )  # failed items report fewer steps
                    bar.set_postfix_str(f"{self.failed} failed" if self.failed else "")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A thread that writes a unit's shard while the next unit is sampled. What it has been given is kept, also after Ctrl-C."""
        with ThreadPoolExecutor(1) as self.writer:
            try:
                yield
            finally:
                self._settle()

    def _run_unit(self, worker: Worker, unit: WorkUnit, bar: tqdm) -> None:
        before, started = self.ledger.entries.get(unit.unit_id), time.perf_counter()
        try:
            rows = worker.run(unit, lambda images: bar.update(images) and None)
        except Exception as error:
            self._settle()
            entry = self._broken(unit, before, one_line(error))
            self.errors.append(f"{unit.model.name}, seed {unit.seed}: {entry.error}")
            self._done(unit, entry, time.perf_counter() - started)
        else:
            seconds = time.perf_counter() - started
            self._settle()
            rows = checked(unit, rows)
            shard = self.writer.submit(write_shard, self.results.store, unit.unit_id, rows)
            self.unwritten = unit, shard, seconds

    def _settle(self) -> None:
        """Waits for the shard that is being written, if there is one, and puts it down in the ledger."""
        if self.unwritten is not None:
            unit, shard, seconds = self.unwritten
            self.unwritten = None
            self._done(unit, shard.result(), seconds)

    def _done(self, unit: WorkUnit, entry: LedgerEntry, seconds: float) -> None:
        entry = replace(entry, tries=self._tries(unit))
        self._keep(unit, entry, seconds=round(seconds, 3))
        self.units += 1
        self.failed += entry.failed

    def _unopened(self, name: str, error: StepscopeError) -> None:
        self.errors.append(str(error))
        self.unopened.append(error)
        self.log.write("unopened", model=name, error=str(error))

    def _broken(self, unit: WorkUnit, before: LedgerEntry | None, text: str) -> LedgerEntry:
        """The entry of a unit that raised; a shard that an earlier try left goes on to count."""
        if before is not None and self.results.holds(before):
            return replace(before, status="failed", stage="unit", error=text, finished_at=now())
        return LedgerEntry(
            unit.unit_id, status="error", stage="unit", error=text, finished_at=now()
        )


PATIENCE = 60.0  # seconds without any worker before that is said
DEATHS = 3  # workers that end before any has started: something is wrong with all of them


class _FleetRun(_Run):
    """The same with several workers: what one loses, another gets, up to MAX_TRIES times."""

    def __init__(
        self,
        made: Plan,
        results: Results,
        device: str,
        open_worker: OpenWorker,
        retry: bool,
        engine: Engine,
        devices: Sequence[str],
    ) -> None:
        super().__init__(made, results, device, open_worker, retry)
        self.engine, self.devices = engine, devices
        self.entries = dict(self.ledger.entries)
        self.attempts: Counter[str] = Counter()
        self.deaths = 0
        self.started = False
        self.cannot: dict[str, set[int]] = {}  # model -> places that cannot open it

    def _facts(self) -> dict[str, Any]:
        workers = self.engine.workers or len(self.devices)
        facts = {"engine": self.engine.name, "workers": workers, "devices": list(self.devices)}
        return super()._facts() | facts

    def _fleet(self) -> Fleet:
        threads = self.engine.threads
        if threads is None and self.devices[0] == "cpu" and self.engine.name == "local":
            threads = max(1, (os.cpu_count() or 1) // len(self.devices))
        study = rooted(self.made.study)
        store = self.results.store
        job = Job(
            study,
            self.made.bank,
            self.made.revisions,
            store,
            self.device,
            self.open_worker,
            threads,
        )
        if self.engine.name == "ray":
            from pipeline.engines.cluster import RayFleet

            return RayFleet(job, self.engine.workers, self.engine.address, _wants_gpu(self.device))
        from pipeline.engines.local import Processes

        return Processes(job, self.devices)

    def _run_all(self, waiting: dict[str, list[WorkUnit]]) -> None:
        queue = deque(unit for units in waiting.values() for unit in units)
        if not queue:
            return
        busy = 0
        total = sum(len(unit) for unit in queue)
        with self._fleet() as fleet, tqdm(total=total, unit=" images", dynamic_ncols=True) as bar:
            while queue or busy:
                for place in fleet.idle():
                    unit = self._next(queue, place)
                    if unit is not None:
                        fleet.give(place, unit)
                        busy += 1
                if not busy and not queue:
                    break
                for answer in fleet.wait(PATIENCE):
                    busy -= answer.unit is not None
                    self._take(answer, queue, fleet, bar)
                if not busy and not fleet.idle():
                    self.log.write("waiting", asked=fleet.size)

    def _next(self, queue: deque[WorkUnit], place: int) -> WorkUnit | None:
        """The next unit whose model the worker can open."""
        for _ in range(len(queue)):
            unit = queue.popleft()
            if place not in self.cannot.get(unit.model.name, ()):
                return unit
            queue.append(unit)
        return None

    def _take(self, answer: Answer, queue: deque[WorkUnit], fleet: Fleet, bar: tqdm) -> None:
        unit = answer.unit
        if unit is None:
            self._lost_idle(answer)
            return
        self.started = True
        if answer.kind == "unstored":
            raise StoreError(answer.error)
        if answer.kind == "unopened":
            self._cannot_open(answer, unit, queue, fleet, bar)
            return
        if answer.kind == "done" and answer.entry is not None:
            save_worker(self.results, unit.model.name, answer.description, answer.environment)
            entry = answer.entry
        else:
            entry = self._broken(unit, self.entries.get(unit.unit_id), answer.error)
        before = self.entries.get(unit.unit_id)
        tries = before.tries if before is not None else 0
        if self.retry and not self.attempts[unit.unit_id] and tries >= MAX_TRIES:
            tries = 0  # it had been set aside: it begins again
        entry = replace(entry, tries=tries + 1)
        self.attempts[unit.unit_id] += 1
        self.entries[unit.unit_id] = entry
        self._keep(
            unit, entry, kind=answer.kind, worker=answer.worker, seconds=round(answer.seconds, 3)
        )
        if answer.kind != "done" and entry.tries < MAX_TRIES:
            queue.append(unit)
            return
        if answer.kind != "done":
            self.errors.append(f"{unit.model.name}, seed {unit.seed}: {entry.error}")
        self.units += 1
        self.failed += entry.failed
        bar.update(len(unit))

    def _lost_idle(self, answer: Answer) -> None:
        self.log.write("lost", worker=answer.worker, error=answer.error)
        self.deaths += 1
        if not self.started and self.deaths >= DEATHS:
            raise StoreError(
                f"{self.deaths} workers ended before they could start ({answer.error}). Run with one worker "
                "(--workers 1) to see why."
            )

    def _cannot_open(
        self, answer: Answer, unit: WorkUnit, queue: deque[WorkUnit], fleet: Fleet, bar: tqdm
    ) -> None:
        """Gives the unit to another worker; drops the model when as many as count cannot open it."""
        name = unit.model.name
        places = self.cannot.setdefault(name, set())
        places.add(answer.worker)
        queue.append(unit)
        if len(places) < min(DEATHS, fleet.size):
            return
        if len(places) == min(DEATHS, fleet.size):
            self._unopened(name, ModelError(answer.error))
        dropped = [other for other in queue if other.model.name == name]
        for other in dropped:
            queue.remove(other)
            bar.update(len(other))


def _wants_gpu(device: str) -> bool:
    if device == "auto":
        import torch

        return torch.cuda.is_available()
    return device.startswith("cuda")
