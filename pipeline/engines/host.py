"""What runs inside a worker of a fleet: opens a model, runs units, writes their shards, answers the driver."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.concepts import ConceptBank
from pipeline.errors import ModelError, StepscopeError, StoreError
from pipeline.plan import Revisions, WorkUnit, find_revisions
from pipeline.results import environment
from pipeline.shards import LedgerEntry, failed_row, write_shard
from pipeline.storage import ShardStore
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


@dataclass(frozen=True)
class Answer:
    """What became of a unit.

    Attributes:
        worker: number of the worker's place.
        unit: the unit, None where the worker had none.
        kind: done | broken (the unit raised) | unopened (its model did) | unstored (its shard cannot be written) |
            lost (the worker ended).
        entry: the ledger entry where done.
        error: what went wrong, on one line.
        seconds: of the unit.
        description: the worker's, for the record of models.
        environment: where it ran.
    """

    worker: int
    unit: WorkUnit | None
    kind: str
    entry: LedgerEntry | None = None
    error: str = ""
    seconds: float = 0.0
    description: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)


class Fleet(Protocol):
    """Workers that take units. A place whose worker is lost gets a new one."""

    size: int

    def __enter__(self) -> Fleet: ...
    def __exit__(self, *error: object) -> None: ...
    def idle(self) -> list[int]:
        """Places whose worker has started and waits for a unit."""

    def give(self, worker: int, unit: WorkUnit) -> None:
        """Hands a unit to an idle worker."""

    def wait(self, seconds: float) -> list[Answer]:
        """The answers that have come, after at most some seconds; losses of workers among them."""


class Host:
    """Runs units one after the other; keeps the model open as long as units ask for the same one."""

    def __init__(self, job: Job, place: int, wanted: Callable[[], bool] = lambda: True) -> None:
        """Prepares a worker; models are opened when the first unit comes.

        Args:
            job: what to run.
            place: number of the worker.
            wanted: whether the driver still lives; a shard of a dead driver's worker would come too late.
        """
        self.job, self.place, self.wanted = job, place, wanted
        self._model: ModelSpec | None = None
        self._worker: Worker | None = None
        self._environment: dict[str, Any] = {}

    def run(self, unit: WorkUnit) -> Answer:
        """Runs a unit and writes its shard. Never raises: what went wrong is in the answer."""
        started = time.perf_counter()
        try:
            worker = self._open(unit.model)
        except Exception as error:
            self._close()
            return Answer(self.place, unit, "unopened", error=one_line(error))
        try:
            rows = checked(unit, worker.run(unit, None))
        except StoreError as error:
            return Answer(self.place, unit, "unstored", error=str(error))
        except Exception as error:
            return Answer(self.place, unit, "broken", error=one_line(error))
        if not self.wanted():
            raise SystemExit("the driver has gone")
        try:
            entry = write_shard(self.job.store, unit.unit_id, rows)
        except StoreError as error:
            return Answer(self.place, unit, "unstored", error=str(error))
        return Answer(
            self.place,
            unit,
            "done",
            entry,
            seconds=time.perf_counter() - started,
            description=worker.description,
            environment=self._environment,
        )

    def _open(self, model: ModelSpec) -> Worker:
        if self._worker is not None and self._model == model:
            return self._worker
        self._close()
        if self.job.elsewhere:
            _refuse_other_files(self.job, model)
        opened = self.job.open_worker(self.job.study, model, self.job.bank, self.job.device)
        self._worker, self._model = opened.__enter__(), model
        device = str(opened.description.get("device", ""))
        self._environment = environment(device)
        if self.job.elsewhere:
            self._environment["host"] = socket.gethostname()
        return self._worker

    def _close(self) -> None:
        worker, self._worker, self._model = self._worker, None, None
        if worker is not None:
            worker.__exit__(None, None, None)


def _refuse_other_files(job: Job, model: ModelSpec) -> None:
    """Another machine's folder of the same name may hold another model: its numbers would be mixed in."""
    from dataclasses import replace

    found = find_revisions(replace(job.study, models=(model,)))
    scorers = zip(job.study.scorers, found.scorers, job.revisions.scorers, strict=True)
    for what, here, planned in (
        (
            f"model {model.name}: {model.source}",
            found.models[model.name],
            job.revisions.models[model.name],
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
    from pipeline.sampling import Worker as Local

    return Local(study, model, bank, device)


def rooted(study: Study) -> Study:
    """The study with absolute folders: a worker may have another current folder."""
    from dataclasses import replace

    def place(source: str) -> str:
        return str(Path(source).resolve()) if Path(source).is_dir() else source

    models = tuple(replace(model, source=place(model.source)) for model in study.models)
    scorer, *further = (replace(each, source=place(each.source)) for each in study.scorers)
    return replace(study, models=models, scorer=scorer, further_scorers=tuple(further))
