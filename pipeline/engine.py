"""Runs the work units of a study in this process, one model after the other, and keeps the ledger."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from pipeline.concepts import ConceptBank
from pipeline.errors import StepscopeError, StoreError
from pipeline.plan import Plan, WorkUnit
from pipeline.progress import is_finished
from pipeline.results import save_plan, save_worker
from pipeline.shards import Ledger, LedgerEntry, Results, now, write_shard
from pipeline.study import ModelSpec, Study


class Worker(Protocol):
    """What runs units: see `pipeline.sampling.Worker`."""

    description: dict[str, Any]
    total_steps: int

    def __enter__(self) -> Worker: ...
    def __exit__(self, *error: object) -> None: ...
    def run(self, unit: WorkUnit, on_step: Callable[[int], None] | None) -> list[dict[str, Any]]:
        """One row of the shard per prompt of the unit, in order."""


OpenWorker = Callable[[Study, ModelSpec, ConceptBank, str], Worker]


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
    made: Plan, folder: Path, device: str = "auto", open_worker: OpenWorker | None = None
) -> Outcome:
    """Run what is missing of a plan, into a results folder that only one run may hold.

    Ctrl-C stops after the unit's current step; what is finished is kept, and the next run goes on from there.

    Raises:
        StoreError: the folder is in use, or cannot be written.
        ModelError: a model or the scorer cannot be loaded; nothing of that model was run.
    """
    results = Results(folder)
    results.create()
    with results.locked():
        results.remove_stale()
        save_plan(results, made, 0)
        return _Run(made, results, device, open_worker or _local_worker).go()


def _local_worker(study: Study, model: ModelSpec, bank: ConceptBank, device: str) -> Worker:
    from pipeline.sampling import Worker as Local  # torch is loaded only when there is work

    return Local(study, model, bank, device)


class _Run:
    def __init__(self, made: Plan, results: Results, device: str, open_worker: OpenWorker) -> None:
        self.made, self.results = made, results
        self.device, self.open_worker = device, open_worker
        self.ledger: Ledger = results.read_ledger()
        self.units = self.failed = 0
        self.errors: list[str] = []

    def go(self) -> Outcome:
        started, interrupted = time.perf_counter(), False
        waiting = {
            model.name: [unit for unit in self.made.of_model(model) if not self._finished(unit)]
            for model in self.made.study.models
        }
        todo = sum(len(units) for units in waiting.values())
        try:
            for model in self.made.study.models:
                if waiting[model.name]:
                    self._run_model(model, waiting[model.name])
        except KeyboardInterrupt:
            interrupted = True
        return Outcome(
            units=self.units,
            kept=len(self.made) - todo,
            failed=self.failed,
            errors=tuple(self.errors),
            interrupted=interrupted,
            seconds=time.perf_counter() - started,
        )

    def _finished(self, unit: WorkUnit) -> bool:
        return is_finished(self.results, self.ledger.entries.get(unit.unit_id))

    def _run_model(self, model: ModelSpec, units: list[WorkUnit]) -> None:
        with self.open_worker(self.made.study, model, self.made.bank, self.device) as worker:
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

    def _run_unit(self, worker: Worker, unit: WorkUnit, bar: tqdm) -> None:
        before = self.ledger.entries.get(unit.unit_id)
        tries = (before.tries if before is not None else 0) + 1
        try:
            rows = worker.run(unit, lambda images: bar.update(images) and None)
            entry = replace(write_shard(self.results.shards, unit.unit_id, rows), tries=tries)
        except StoreError:
            raise
        except Exception as error:
            entry = LedgerEntry(
                unit_id=unit.unit_id,
                status="error",
                tries=tries,
                stage="unit",
                error=f"{type(error).__name__}: {error}"[:500],
                finished_at=now(),
            )
            self.errors.append(f"{unit.model.name}, seed {unit.seed}: {entry.error}")
            if isinstance(error, StepscopeError):
                raise
        self.results.append([entry])
        self.units += 1
        self.failed += entry.failed
