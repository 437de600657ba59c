"""What runs inside a worker of a fleet: opens a model, runs work units, writes their shards, answers the driver."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.errors import ModelError, StepscopeError, StoreError
from pipeline.results.ledger import LedgerEntry
from pipeline.results.record import environment
from pipeline.results.rows import failed_row
from pipeline.results.shards import write_shard
from pipeline.results.storage import ShardStore
from pipeline.study.concepts import ConceptBank
from pipeline.study.plan import INCEPTION, Revisions, WorkUnit, find_revisions
from pipeline.study.spec import ModelSpec, Study


class Worker(Protocol):
    """What runs work units: see `pipeline.sampling.Worker`."""

    description: dict[str, Any]
    total_steps: int

    def __enter__(self) -> Worker: ...
    def __exit__(self, *error: object) -> None: ...
    def run(
        self, work_unit: WorkUnit, on_step: Callable[[int], None] | None
    ) -> list[dict[str, Any]]:
        """One row of the shard per prompt of the work unit, in order."""


OnStep = Callable[[int], None]
"""Is told of finished denoising steps: of how many images."""
OpenWorker = Callable[[Study, ModelSpec, ConceptBank, str], Worker]


@dataclass(frozen=True)
class Job:
    """All that a worker must know, sent to it once."""

    study: Study
    bank: ConceptBank
    revisions: Revisions
    store: ShardStore
    device: str
    open_worker: OpenWorker
    threads: int | None = None
    elsewhere: bool = (
        False  # on another machine: its model folders must be compared with the driver's
    )
    beat: float = 5.0  # seconds between two signs of life


@dataclass(frozen=True)
class Answer:
    """What became of a work unit.

    Attributes:
        worker: number of the worker's place.
        work_unit: the work unit, None where the worker had none.
        kind: done | broken (the work unit raised) | unopened (its model did) | unstored (its shard cannot be written) |
            lost (the worker ended).
        entry: the ledger entry where done.
        error: what went wrong, on one line.
        seconds: of the work unit.
        description: the worker's, for the record of models.
        environment: where it ran.
    """

    worker: int
    work_unit: WorkUnit | None
    kind: str
    entry: LedgerEntry | None = None
    error: str = ""
    seconds: float = 0.0
    description: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampled:
    """The rows of a work unit whose shard is not written yet, and what their worker says of itself."""

    work_unit: WorkUnit
    rows: list[dict[str, Any]]
    seconds: float
    description: dict[str, Any]
    environment: dict[str, Any]


STARTING = 600.0  # seconds that a worker may take to start, beyond those in which it must give a sign of life


class Fleet(Protocol):
    """Workers that take work units. A place whose worker is lost, or is stopped, gets a new one."""

    size: int

    def __enter__(self) -> Fleet: ...
    def __exit__(self, *error: object) -> None: ...
    def idle(self) -> list[int]:
        """Workers that have started and wait for a work unit."""

    def give(self, worker: int, work_unit: WorkUnit) -> None:
        """Hands a work unit to an idle worker."""

    def wait(self, seconds: float) -> list[Answer]:
        """The answers that have come, after at most some seconds; losses of workers among them."""

    def finish(self) -> list[Answer]:
        """The answers of what was sampled before the run stopped, and is being written."""

    def heard(self) -> Mapping[int, float]:
        """When each worker last gave a sign of life, by time.monotonic; without places that cannot tell."""

    def stop(self, worker: int, why: str) -> Answer:
        """Kills a worker that hangs. Its work unit, if it has one, comes back as lost."""


class Host:
    """Runs work units one after the other; keeps the model open as long as work units ask for the same one."""

    def __init__(self, job: Job, number: int, wanted: Callable[[], bool] = lambda: True) -> None:
        """Prepares a worker; models are opened when the first work unit comes.

        Args:
            job: what to run.
            number: number of the worker.
            wanted: whether the driver still lives; a shard of a dead driver's worker would come too late.
        """
        self.job, self.number, self.wanted = job, number, wanted
        self._model: ModelSpec | None = None
        self._worker: Worker | None = None
        self._environment: dict[str, Any] = {}

    def run(self, work_unit: WorkUnit) -> Answer:
        """Runs a work unit and writes its shard. Never raises: what went wrong is in the answer."""
        sampled = self.sample(work_unit)
        if isinstance(sampled, Answer):
            return sampled
        if not self.wanted():
            raise SystemExit("the driver has gone")
        return self.store(sampled)

    def sample(self, work_unit: WorkUnit, on_step: OnStep | None = None) -> Sampled | Answer:
        """Opens the model if need be and samples a work unit; the answer where that fails."""
        try:
            worker = self._open(work_unit.model)
        except Exception as error:
            self.close()
            return Answer(self.number, work_unit, "unopened", error=one_line(error))
        started = time.perf_counter()
        try:
            rows = checked(work_unit, worker.run(work_unit, on_step))
        except StoreError as error:
            return Answer(self.number, work_unit, "unstored", error=str(error))
        except Exception as error:
            seconds = time.perf_counter() - started
            return Answer(self.number, work_unit, "broken", error=one_line(error), seconds=seconds)
        seconds = time.perf_counter() - started
        return Sampled(work_unit, rows, seconds, dict(worker.description), self._environment)

    def store(self, sampled: Sampled) -> Answer:
        """Writes the shard of a work unit."""
        work_unit = sampled.work_unit
        try:
            entry = write_shard(self.job.store, work_unit.unit_id, sampled.rows)
        except StoreError as error:
            return Answer(self.number, work_unit, "unstored", error=str(error))
        return Answer(
            self.number,
            work_unit,
            "done",
            entry,
            seconds=sampled.seconds,
            description=sampled.description,
            environment=sampled.environment,
        )

    def _open(self, model: ModelSpec) -> Worker:
        if self._worker is not None and self._model == model:
            return self._worker
        self.close()
        if self.job.elsewhere:
            _refuse_other_files(self.job, model)
        opened = self.job.open_worker(self.job.study, model, self.job.bank, self.job.device)
        self._worker, self._model = opened.__enter__(), model
        device = str(opened.description.get("device", ""))
        self._environment = environment(device)
        if self.job.elsewhere:
            self._environment["host"] = socket.gethostname()
        return self._worker

    def close(self) -> None:
        """Closes the model that is open, if any."""
        worker, self._worker, self._model = self._worker, None, None
        if worker is not None:
            worker.__exit__(None, None, None)


def _refuse_other_files(job: Job, model: ModelSpec) -> None:
    """Another machine's folder of the same name may hold another model: its numbers would be mixed in."""
    from dataclasses import replace

    revisions = find_revisions(replace(job.study, models=(model,)))
    scorers = zip(job.study.scorers, revisions.scorers, job.revisions.scorers, strict=True)
    for what, here, planned in (
        (
            f"model {model.name}: {model.source}",
            revisions.models[model.name],
            job.revisions.models[model.name],
        ),
        (
            "measures.inception",
            revisions.models.get(INCEPTION),
            job.revisions.models.get(INCEPTION),
        ),
        *((f"scorer {spec.source}", here, planned) for spec, here, planned in scorers),
    ):
        if here != planned:
            raise ModelError(
                f"{what} on {socket.gethostname()} is not what the driver planned with ({here}, planned {planned}). "
                "Put the same files there, at the same path."
            )


def one_line(error: BaseException) -> str:
    """An exception as a line of the ledger: its class unless it is a user's mistake, and its message."""
    text = " ".join(str(error).split())
    return (text if isinstance(error, StepscopeError) else f"{type(error).__name__}: {text}")[:500]


def checked(work_unit: WorkUnit, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a work unit as they may be stored: one per prompt, no similarity that is not a number.

    Raises:
        StoreError: there are more or fewer rows than prompts, or of other prompts.
    """
    if [row["prompt_key"] for row in rows] != [prompt.prompt_key for prompt in work_unit.prompts]:
        raise StoreError(
            f"the worker of {work_unit.model.name!r} gave {len(rows)} rows for {len(work_unit)} prompts, or of other prompts"
        )
    return [
        row
        if row["status"] != "done" or _finite(row)
        else failed_row(work_unit, prompt, "similarities are NaN or infinite", "observe")
        for prompt, row in zip(work_unit.prompts, rows, strict=True)
    ]


def _finite(row: dict[str, Any]) -> bool:
    return all(_finite_scores(scored) for scored in (row, *row["further_scorers"]))


def _finite_scores(scored: Mapping[str, Any]) -> bool:
    """Of one scorer: the final score and the similarities of every step."""
    curves = [scored["prompt_similarity"], *(t["similarity"] for t in scored["trajectories"])]
    score = scored["clip_score"]
    return (score is None or bool(np.isfinite(score))) and all(
        np.isfinite(np.asarray(curve, np.float64)).all() for curve in curves
    )


def local_worker(study: Study, model: ModelSpec, bank: ConceptBank, device: str) -> Worker:
    """The real worker: torch is loaded only when there is work."""
    if model.imported:
        from pipeline.engine.imported import ImageWorker

        return ImageWorker(study, model, bank, device)
    from pipeline.engine.worker import Worker as Local

    return Local(study, model, bank, device)


def rooted(study: Study) -> Study:
    """The study with absolute folders: a worker may have another current folder."""
    from dataclasses import replace

    def absolute(source: str) -> str:
        return str(Path(source).resolve()) if Path(source).exists() else source

    models = tuple(
        replace(
            model, source=absolute(model.source), config=model.config and absolute(model.config)
        )
        for model in study.models
    )
    scorer, *further = (replace(each, source=absolute(each.source)) for each in study.scorers)
    return replace(study, models=models, scorer=scorer, further_scorers=tuple(further))
