"""How far images are from those of a reference entry: final ones, or the frames of every step. Computed from the shards, once
both entries are done.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import msgspec
import pyarrow as pa
import torch
from jaxtyping import UInt8
from numpy import ndarray
from tqdm import tqdm

from pipeline.errors import StoreError
from pipeline.models.devices import choose_device
from pipeline.models.distances import NAMES, Distance, Facts, check_distance, open_distance
from pipeline.models.pictures import PictureError, decode_picture
from pipeline.results.distances import Compared, DistanceFile, PairKey
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.scores import SCHEMA, Metric, ScoreFiles
from pipeline.results.shards import now, parse_shard
from pipeline.study.plan import DISTANCE, Plan, WorkUnit, weights_hash
from pipeline.study.spec import DistanceSpec

VERSION = 1  # raise it when the same weights would now give other numbers
DECODED = 64  # pairs that are decoded at a time
COLUMNS = ("prompt_key", "status", "image")
STEP_COLUMNS = ("prompt_key", "status", "frames", "steps")
ROUNDING = 1e-4  # by which a value may lie beyond the range of its kind
NAMED = 5  # images without a distance that a message names
NO_PARTNER = "the reference has no image"
Part = tuple[str, int | None]  # prompt_key and step; None = the final image
Level = tuple[bytes, float]  # a frame as it is stored, and its log-SNR


@dataclass(frozen=True)
class Pair:
    """A work unit and that of the reference entry with its prompts and seed.

    Attributes:
        work_unit: whose images are compared.
        entry: its entry in the ledger.
        reference: the reference entry's work unit.
        partner: its entry in the ledger; None = not done.
    """

    work_unit: WorkUnit
    entry: LedgerEntry
    reference: WorkUnit
    partner: LedgerEntry | None


@dataclass(frozen=True)
class Task:
    """A distance of a study and what identifies its numbers."""

    spec: DistanceSpec
    facts: Facts
    revision: str

    @property
    def identity(self) -> str:
        """A hash of the definition and the weights."""
        text = f"{self.spec.kind} {VERSION} {self.revision}{' steps' if self.spec.steps else ''}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def source(self) -> str:
        """What is shown beside every number."""
        weights = f", weights {self.revision}" if self.spec.weights else ""
        return f"{self.facts.network} to {self.spec.reference}{weights}"[:200]

    @property
    def preprocessing(self) -> str:
        """What of an image is compared."""
        text = self.facts.preprocessing
        if self.spec.steps:
            text = text.replace("final image", "recorded frames (WebP)").replace(", full size", "")
        return text[:200]

    def key(self, pair: Pair) -> PairKey:
        """What identifies a comparison; without a shard of the reference it is that of its absence."""
        return PairKey(
            self.identity, pair.entry.sha256, pair.partner.sha256 if pair.partner else ""
        )


def measure_distances(plan: Plan, results: Results, device: str = "auto") -> tuple[str, ...]:
    """Computes what is missing of a study's distances and stores each as a score per image.

    What is done is kept pair by pair of work units, so that a killed run resumes. Only for the holder of the folder's lock.

    Args:
        plan: the plan.
        results: the results folder.
        device: auto, cpu, cuda, cuda:1 or mps.

    Returns: what a user should know of each distance, a line each.

    Raises:
        ModelError: weights that cannot be used.
        StoreError: a shard is damaged, a score of that name is another program's, or nothing can be written.
    """
    if not plan.study.distances:
        return ()
    lines: list[str] = []
    file, entries = DistanceFile(results), results.read_ledger().entries
    file.prepare()
    done = file.read()
    for spec in plan.study.distances:
        task = Task(spec, check_distance(spec), plan.revisions.models[DISTANCE + spec.name])
        _refuse_foreign(results, task)
        pairs = list(pairs_of(plan, spec, entries))
        for pair in pairs:
            if (known := done.get(task.key(pair))) and not _is_possible(known, task.facts):
                del done[known.key]
        done |= _compare_all(
            task, results, file, [p for p in pairs if task.key(p) not in done], device
        )
        lines += _store(plan, results, task, pairs, done)
    stored = {entry.sha256 for entry in entries.values()}  # what gc has removed is in no ledger
    if any(key.shard not in stored for key in done):
        file.keep([done[key] for key in done if key.shard in stored])
    return tuple(lines)


def _is_possible(compared: Compared, facts: Facts) -> bool:
    """Whether every value lies in the range of its kind; a line in a stranger's folder may hold any number."""
    values = [*compared.values.values(), *(v for s in compared.steps.values() for v in s.values())]
    high = math.inf if facts.high is None else facts.high
    return all(facts.low - ROUNDING <= value <= high + ROUNDING for value in values)


def pairs_of(plan: Plan, spec: DistanceSpec, entries: Mapping[str, LedgerEntry]) -> Iterator[Pair]:
    """The work units of other entries that are done, those of one reference work unit one after the other."""
    models = plan.study.models
    reference = next(model for model in models if model.name == spec.reference)
    others = [plan.of_model(model) for model in models if model != reference]
    for partner, *work_units in zip(plan.of_model(reference), *others, strict=True):
        known = entries.get(partner.unit_id)
        for work_unit in work_units:
            entry = entries.get(work_unit.unit_id)
            if entry is not None and entry.has_shard:
                yield Pair(work_unit, entry, partner, known if known and known.has_shard else None)


def _refuse_other_weights(task: Task) -> None:
    if task.spec.weights and weights_hash(task.spec.weights) != task.revision.rpartition(":")[2]:
        raise StoreError(
            f"distance {task.spec.name}: {task.spec.weights} is not what the study was planned with. Run the study again, with its study file."
        )


def _refuse_foreign(results: Results, task: Task) -> None:
    """Raises StoreError where a score of that name was added by hand."""
    present = {metric.name: metric for metric in ScoreFiles(results).metrics()}.get(task.spec.name)
    ours = tuple(f"{name} " for name in NAMES.values())
    if present is not None and not present.source.startswith(ours):
        raise StoreError(
            f"distance {task.spec.name}: {results.folder} has a score of that name by {present.source!r}. Give the distance another name in the "
            f"study file, or remove the score: `python -m pipeline scores remove {results.folder} {task.spec.name}`."
        )


def _compare_all(
    task: Task, results: Results, file: DistanceFile, pairs: list[Pair], device: str
) -> dict[PairKey, Compared]:
    """Compares pairs, and notes each when it is done."""
    if not pairs:
        return {}
    _refuse_other_weights(task)
    distance = open_distance(task.spec, choose_device(device))
    done: dict[PairKey, Compared] = {}
    images = sum(pair.entry.rows - pair.entry.failed for pair in pairs)
    read = _frames if task.spec.steps else _images
    seconds = 0.2 if sys.stderr.isatty() else 15  # a log file needs no more
    with tqdm(total=images, unit=" images", desc=task.spec.name, dynamic_ncols=True, mininterval=seconds) as bar:  # fmt: skip
        for _, group in groupby(pairs, key=lambda pair: pair.reference.unit_id):
            same = list(group)
            partners = read(results, same[0].partner)
            for pair in same:
                here = read(results, pair.entry)
                parts = _matched(here, partners)
                compared = _compare(distance, task.key(pair), parts)
                file.append(compared)
                done[compared.key] = compared
                bar.update(len(here))
    return done


Pictures = Mapping[str, Mapping[int | None, Level]]
"""The images of a shard by prompt_key and step."""


def _images(results: Results, entry: LedgerEntry | None) -> Pictures:
    """The final images of a shard, as they are stored, without loss; none where there is no shard."""
    rows = _rows(results, entry, COLUMNS)
    return {row["prompt_key"]: {None: (row["image"], math.inf)} for row in rows}


def _frames(results: Results, entry: LedgerEntry | None) -> Pictures:
    """The recorded frames of a shard with their noise levels; none where there is no shard."""
    frames: dict[str, dict[int | None, Level]] = {}
    for row in _rows(results, entry, STEP_COLUMNS):
        levels = {each["step"]: each["log_snr"] for each in row["steps"] or ()}
        frames[row["prompt_key"]] = {
            each["step"]: (each["image"], levels[each["step"]])
            for each in row["frames"] or ()
            if levels.get(each["step"]) is not None
        }
    return frames


def _matched(here: Pictures, partners: Pictures) -> dict[Part, tuple[bytes, bytes | None]]:
    """Each image with the reference's at the same step, or at the nearest noise level where the timetables differ."""
    parts: dict[Part, tuple[bytes, bytes | None]] = {}
    for key, pictures in here.items():
        others = list(partners.get(key, {}).values())
        for step, (image, level) in pictures.items():
            nearest = min(others, key=partial(_gap, level), default=None)
            parts[key, step] = image, nearest and nearest[0]
    return parts


def _gap(level: float, other: Level) -> float:
    return 0.0 if level == other[1] else abs(level - other[1])


def _rows(
    results: Results, entry: LedgerEntry | None, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of a shard that are done; none where there is no shard.

    Raises:
        StoreError: the shard is not the one that was written.
    """
    if entry is None:
        return []
    data = results.store.read(entry.unit_id)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise StoreError(
            f"shards/{entry.unit_id}.parquet: its bytes are not those that were written. Use `python -m pipeline verify`."
        )
    rows = parse_shard(data, entry.unit_id, columns).to_pylist()
    return [row for row in rows if row["status"] == "done"]


def _compare(
    distance: Distance, key: PairKey, parts: Mapping[Part, tuple[bytes, bytes | None]]
) -> Compared:
    """The distances of one work unit's images, a bounded number of them decoded at a time."""
    values: dict[Part, float] = {}
    without: dict[str, str] = {}
    names = list(parts)
    for at in range(0, len(names), DECODED):
        by_sizes: dict[tuple[int, ...], list[tuple[Part, ndarray, ndarray]]] = {}
        for name in names[at : at + DECODED]:
            try:
                pair = _decoded(distance, *parts[name])
            except PictureError as reason:
                without[name[0]] = str(reason)
            else:
                by_sizes.setdefault((*pair[0].shape, *pair[1].shape), []).append((name, *pair))
        for same in by_sizes.values():  # pairs of one size go through the network together
            keys, first, second = zip(*same, strict=True)
            numbers = distance.between(_tensor(first), _tensor(second))
            values |= zip(keys, numbers, strict=True)
    final = {prompt: value for (prompt, step), value in values.items() if step is None}
    steps: dict[str, dict[int, float]] = {}
    for (prompt, step), value in values.items():
        if step is not None:
            steps.setdefault(prompt, {})[step] = value
    return Compared(key, final, without, steps)


def _decoded(
    distance: Distance, image: bytes, partner: bytes | None
) -> tuple[UInt8[ndarray, "h w 3"], UInt8[ndarray, "a b 3"]]:
    """The pixels of both. Raises PictureError that says why they cannot be compared."""
    if partner is None:
        raise PictureError(NO_PARTNER)
    first, second = (decode_picture(data)[0] for data in (image, partner))
    sizes = [f"{each.shape[1]} x {each.shape[0]} px" for each in (first, second)]
    if distance.one_size and first.shape != second.shape:
        raise PictureError(f"{sizes[0]}, and the reference's image has {sizes[1]}")
    least = distance.facts.least
    for pixels, size in zip((first, second), sizes, strict=True):
        if min(pixels.shape[:2]) < least:
            raise PictureError(f"{size}, and at least {least} px are needed")
    return first, second


def _tensor(pixels: Sequence[ndarray]) -> torch.Tensor:
    stack = torch.stack([torch.from_numpy(each.copy()) for each in pixels])
    return stack.permute(0, 3, 1, 2).float() / 255


def _store(
    plan: Plan, results: Results, task: Task, pairs: list[Pair], done: Mapping[PairKey, Compared]
) -> list[str]:
    """Puts a distance among the scores unless it is there as it is; returns its lines for the user."""
    rows: list[tuple[str, str, int, int | None, float]] = []
    without: list[str] = []
    reasons: Counter[str] = Counter()
    texts = {prompt.prompt_key: prompt.text for prompt in plan.prompts}
    for pair in pairs:
        name, seed, compared = pair.work_unit.model.name, pair.work_unit.seed, done[task.key(pair)]
        rows += [(name, key, seed, None, value) for key, value in compared.values.items()]
        rows += [
            (name, key, seed, step, value)
            for key, steps in compared.steps.items()
            for step, value in sorted(steps.items())
        ]
        missing = compared.without
        reasons.update(missing.values())
        without += [f"{name}, {texts.get(k, k)[:60]!r}, seed {seed}: {why}" for k, why in missing.items()]  # fmt: skip
    if rows:
        _add(ScoreFiles(results), task, rows)
    what = "frames" if task.spec.steps else "images"
    lines = [
        f"{task.spec.name}: {len(rows):,} {what} compared with those of {task.spec.reference!r}"
    ]
    if without:
        lone = reasons[NO_PARTNER]
        lines.append(
            f"{task.spec.name}: {len(without):,} images have no distance, {lone:,} of them without a partner: {'; '.join(without[:NAMED])}"
        )
    return lines


def _add(files: ScoreFiles, task: Task, rows: list[tuple[str, str, int, int | None, float]]) -> None:  # fmt: skip
    """Stores a score, unless the same is stored."""
    table = pa.table([pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), SCHEMA.types, strict=True)], schema=SCHEMA)  # fmt: skip
    spec, facts = task.spec, task.facts
    title = f"{NAMES[spec.kind] if spec.name == spec.kind else spec.name} to {spec.reference}"
    metric = Metric(
        spec.name, title[:60], facts.lower_is_closer, facts.low, facts.high, task.source, task.preprocessing,
        "step" if spec.steps else "image", len(rows), "0" * 64, now(),
    )  # fmt: skip
    before = next((each for each in files.metrics() if each.name == spec.name), None)
    if before is not None:
        same = msgspec.structs.replace(metric, sha256=before.sha256, added_at=before.added_at)
        if before == same and files.table(before).equals(table):
            return
    files.add(metric, table)
