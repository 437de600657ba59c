"""Runs the work units of a study in this process, one model after the other, and keeps the ledger."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from pipeline.concepts import ConceptBank
from pipeline.errors import StepscopeError, StoreError
from pipeline.plan import Plan, WorkUnit
from pipeline.progress import is_finished
from pipeline.results import save_plan, save_worker
from pipeline.shards import Ledger, LedgerEntry, Results, failed_row, now, write_shard
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
    made: Plan,
    folder: Path,
    device: str = "auto",
    open_worker: OpenWorker | None = None,
    duplicates: int = 0,
) -> Outcome:
    """Run what is missing of a plan, into a results folder that only one run may hold.

    Ctrl-C or SIGTERM stops at once; what is finished is kept, and the next run goes on from there. A unit that breaks, or
    a model that cannot be opened, is reported and does not stop the others.

    Args:
        made: the plan.
        folder: the results folder, made if need be.
        device: auto, cpu or cuda.
        open_worker: makes the worker of a model; None = in this process.
        duplicates: repeated prompts that were left out, for the record.

    Raises:
        StoreError: the folder is in use, or cannot be written.
        StepscopeError: no model of the study can be opened.
    """
    results = Results(folder)
    results.create()
    with results.locked(), _stopped_by_sigterm():
        results.remove_stale()
        save_plan(results, made, duplicates)
        return _Run(made, results, device, open_worker or _local_worker).go()


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
        self.unopened: list[StepscopeError] = []

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
            if self.unopened and not self.units:
                raise self.unopened[0]
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
        try:
            opened = self.open_worker(self.made.study, model, self.made.bank, self.device)
        except StoreError:
            raise
        except StepscopeError as error:
            self.errors.append(str(error))
            self.unopened.append(error)
            return
        with opened as worker:
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
        except Exception as error:
            entry = self._broken(unit, before, error)
            self.errors.append(f"{unit.model.name}, seed {unit.seed}: {entry.error}")
        else:
            entry = write_shard(self.results.store, unit.unit_id, checked(unit, rows))
        entry = replace(entry, tries=tries)
        self.results.append([entry])
        self.units += 1
        self.failed += entry.failed

    def _broken(self, unit: WorkUnit, before: LedgerEntry | None, error: Exception) -> LedgerEntry:
        """The entry of a unit that raised; a shard that an earlier try left goes on to count."""
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        if before is not None and self.results.holds(before):
            return replace(before, status="failed", stage="unit", error=text, finished_at=now())
        return LedgerEntry(
            unit.unit_id, status="error", stage="unit", error=text, finished_at=now()
        )


def checked(unit: WorkUnit, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a unit as they may be stored: one per prompt, no similarity that is not a number.

    Raises:
        StoreError: there are more or fewer rows than prompts, or of other prompts.
    """
    if [row["prompt_key"] for row in rows] != [prompt.prompt_key for prompt in unit.prompts]:
        raise StoreError(
            f"the worker of {unit.model.name!r} gave {len(rows)} rows for {len(unit)} prompts, or of other prompts"
        )
    return [
        row
        if row["status"] != "done" or _finite(row)
        else failed_row(unit, prompt, "similarities are NaN or infinite", "observe")
        for prompt, row in zip(unit.prompts, rows, strict=True)
    ]


def _finite(row: dict[str, Any]) -> bool:
    curves = [row["prompt_similarity"], *(t["similarity"] for t in row["trajectories"])]
    return all(np.isfinite(np.asarray(curve, np.float64)).all() for curve in curves)
