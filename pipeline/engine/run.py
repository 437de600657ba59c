"""Runs the work units of a study: checks the device, locks the results folder, hands both to the loop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from pipeline.engine.crew import Crew, Engine
from pipeline.engine.host import OpenWorker, local_worker
from pipeline.engine.loop import Loop, Outcome
from pipeline.errors import ModelError, StepscopeError
from pipeline.results.folder import Results
from pipeline.results.origin import save_origin
from pipeline.results.parts import PartResults
from pipeline.results.record import save_plan
from pipeline.results.split import Part, work_units_of
from pipeline.study.plan import Plan

__all__ = ["Engine", "Outcome", "run"]


def run(
    plan: Plan,
    folder: Path,
    device: str = "auto",
    open_worker: OpenWorker | None = None,
    engine: Engine | None = None,
    shards: str | None = None,
    retry: bool = False,
    part: Part | None = None,
) -> Outcome:
    """Run what is missing of a plan, into a results folder that only one run may hold, or several parts of one.

    Ctrl-C or SIGTERM stops at once; what is finished is kept, and the next run resumes from there. A work unit that breaks, or
    a model that cannot be opened, is reported and does not stop the others.

    Args:
        plan: the plan.
        folder: the results folder, made if need be.
        device: auto, cpu, cuda (every GPU), cuda:1 (that one) or mps.
        open_worker: makes the worker of a model; None = in this process.
        engine: how work units reach workers; None = one worker, in this process.
        shards: a folder or object store for the shards; None = where they are, else in the results folder.
        retry: also run the work units that were set aside after MAX_TRIES.
        part: run only the work units of this part; other processes may run other parts into the folder at the same time.

    Raises:
        StoreError: the folder is in use, or cannot be written.
        ModelError: the device is not there.
        StepscopeError: no model of the study can be opened.
    """
    engine = engine or Engine()
    devices = _devices(device, engine)
    results = Results(folder) if part is None else PartResults(folder, part)
    results.create()
    with results.locked(), _stopped_by_sigterm():
        with results.starting(plan) if isinstance(results, PartResults) else nullcontext():
            results.remove_stale()
            if shards is not None:
                results.keep_shards_at(shards)
            results.refuse_foreign_place()
            save_plan(results, plan)
            save_origin(results)
        crew = Crew(plan, results.store, engine, device, devices, open_worker or local_worker)
        work_units = plan if part is None else work_units_of(plan, part)
        outcome = Loop(plan, results, crew, retry, work_units, part).go()
        if part is not None or outcome.interrupted:
            return outcome
        return _with_distances(outcome, plan, results, "auto" if engine.name == "ray" else device)


def _with_distances(outcome: Outcome, plan: Plan, results: Results, device: str) -> Outcome:
    """The outcome after the distances to reference entries were computed; a problem with them does not undo the run."""
    if not plan.study.distances:
        return outcome
    from pipeline.engine.distances import measure_distances

    try:
        return replace(outcome, distances=measure_distances(plan, results, device))
    except StepscopeError as error:
        return replace(outcome, problem=str(error))
    except KeyboardInterrupt:
        return replace(outcome, interrupted=True)


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
    from pipeline.models.devices import assign, worker_devices

    present = worker_devices(device)
    return assign(present, engine.workers or len(present))


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
