"""Which samples of two results folders differ, and by how much.

A sample is known by model name, prompt and seed, so folders of other batch sizes, work unit sizes, engines and
machines can be compared. Equal content hashes need no look at the values.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.record import load_plan
from pipeline.results.rows import CONTENT, ROW_HASH
from pipeline.results.shards import parse_shard
from pipeline.study.definitions import limits_of
from pipeline.study.plan import Plan, WorkUnit
from pipeline.tables import terminal_table

LEVEL = 1 / 255  # an image is stored in these steps: rounding alone can move a pixel by one
OTHER = math.inf  # the distance of what cannot be subtracted: another text, another number of steps
CACHED_UNITS = 8


@dataclass(frozen=True)
class Key:
    """A sample's name in any folder."""

    model: str
    prompt_key: str
    seed: int


@dataclass(frozen=True)
class Difference:
    """A sample that differs: its largest difference per column, `math.inf` where values have no distance."""

    key: Key
    prompt: str
    columns: Mapping[str, float]

    @property
    def largest(self) -> float:
        """The largest of its columns' differences."""
        return max(self.columns.values(), default=0.0)


@dataclass
class Comparison:
    """What two folders have in common."""

    identical: int = 0
    within: int = 0
    differing: list[Difference] = field(default_factory=list)
    only_a: list[Key] = field(default_factory=list)
    only_b: list[Key] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    redefined: list[str] = field(
        default_factory=list
    )  # measures that the folders define differently
    largest: dict[str, float] = field(default_factory=dict)  # per column, over all samples

    @property
    def same(self) -> bool:
        """Whether nothing differs beyond the tolerance and nothing is missing on one side."""
        return not (self.differing or self.only_a or self.only_b or self.unreadable)


def compare(folder_a: Path, folder_b: Path, tolerance: float = 0.0) -> Comparison:
    """Compares every sample of two results folders.

    Args:
        folder_a: a results folder.
        folder_b: another.
        tolerance: numbers a and b count as equal up to tolerance * max(1, |a|, |b|); a pixel of the final
            image, and the mean pixel of a frame (lossy: one pixel's rounding moves its whole block), up to one
            level of 255 more. 0 = equal to the bit.

    Raises:
        StoreError: a folder holds no study.
    """
    a, b = _Side(folder_a), _Side(folder_b)
    comparison, seen = Comparison(redefined=_redefined(a.plan, b.plan)), set()
    for work_unit in a.plan:
        other = b.work_units.get(work_unit.unit_id)
        if other is not None and _same_content(a.entry(work_unit), b.entry(other)):
            comparison.identical += len(work_unit)
            seen.add(work_unit.unit_id)
            continue
        _compare_work_unit(work_unit, a, b, tolerance, comparison)
    for work_unit in b.plan:
        if work_unit.unit_id not in seen:
            comparison.only_b += [
                key for key in _present(b, work_unit, comparison) if not a.has(key, comparison)
            ]
    return comparison


def _redefined(a: Plan, b: Plan) -> list[str]:
    """The measures of both whose numbers cannot be compared, because they are defined differently."""
    both = limits_of(a.study.measures).keys() & limits_of(b.study.measures).keys()
    versions = {name: (a.definitions.get(name, 1), b.definitions.get(name, 1)) for name in both}
    return [
        f"{name} has definition {first} in the first folder and {second} in the second"
        for name, (first, second) in sorted(versions.items())
        if first != second
    ]


def _same_content(a: LedgerEntry | None, b: LedgerEntry | None) -> bool:
    return (
        a is not None
        and b is not None
        and a.has_shard
        and b.has_shard
        and a.content_sha256 == b.content_sha256
    )


class _Side:
    """One folder, asked by sample."""

    def __init__(self, folder: Path) -> None:
        self.results = Results(folder)
        self.results.require_store()
        self.plan: Plan = load_plan(self.results)
        self.entries = self.results.read_ledger().entries
        self.work_units = {work_unit.unit_id: work_unit for work_unit in self.plan}
        self.by_key = {
            (work_unit.model.name, prompt.prompt_key, work_unit.seed): work_unit
            for work_unit in self.plan
            for prompt in work_unit.prompts
        }
        self.texts = {prompt.prompt_key: prompt.text for prompt in self.plan.prompts}
        self.rows = lru_cache(CACHED_UNITS)(self._rows)

    def entry(self, work_unit: WorkUnit) -> LedgerEntry | None:
        return self.entries.get(work_unit.unit_id)

    def _rows(self, unit_id: str) -> dict[str, dict[str, Any]]:
        """The rows of a work unit by prompt; none where it has no shard."""
        entry = self.entries.get(unit_id)
        if entry is None or not entry.has_shard:
            return {}
        table = parse_shard(self.results.store.read(unit_id), unit_id)
        return {row["prompt_key"]: row for row in table.to_pylist()}

    def row(self, key: Key, comparison: Comparison) -> dict[str, Any] | None:
        work_unit = self.by_key.get((key.model, key.prompt_key, key.seed))
        return (
            None if work_unit is None else _rows_of(self, work_unit, comparison).get(key.prompt_key)
        )

    def has(self, key: Key, comparison: Comparison) -> bool:
        return self.row(key, comparison) is not None


def _rows_of(side: _Side, work_unit: WorkUnit, comparison: Comparison) -> dict[str, dict[str, Any]]:
    try:
        return side.rows(work_unit.unit_id)
    except StoreError as error:
        line = f"{side.results.folder}: {error}"
        if line not in comparison.unreadable:
            comparison.unreadable.append(line)
        return {}


def _present(side: _Side, work_unit: WorkUnit, comparison: Comparison) -> Iterator[Key]:
    for prompt_key in _rows_of(side, work_unit, comparison):
        yield Key(work_unit.model.name, prompt_key, work_unit.seed)


def _compare_work_unit(
    work_unit: WorkUnit, a: _Side, b: _Side, tolerance: float, comparison: Comparison
) -> None:
    for prompt_key, row in _rows_of(a, work_unit, comparison).items():
        key = Key(work_unit.model.name, prompt_key, work_unit.seed)
        other = b.row(key, comparison)
        if other is None:
            comparison.only_a.append(key)
        elif row[ROW_HASH] == other[ROW_HASH]:
            comparison.identical += 1
        else:
            _compare_rows(key, a.texts[prompt_key], row, other, tolerance, comparison)


def _compare_rows(
    key: Key,
    text: str,
    row: Mapping[str, Any],
    other: Mapping[str, Any],
    tolerance: float,
    comparison: Comparison,
) -> None:
    amounts = {name: distance(row[name], other[name], name) for name in CONTENT}
    amounts = {name: amount for name, amount in amounts.items() if amount}
    for name, amount in amounts.items():
        comparison.largest[name] = max(comparison.largest.get(name, 0.0), amount)
    room = {"image": LEVEL, "frames": LEVEL} if tolerance else {}
    if all(amount <= tolerance + room.get(name, 0.0) for name, amount in amounts.items()):
        comparison.within += 1
    else:
        comparison.differing.append(Difference(key, text, amounts))


def distance(a: Any, b: Any, name: str = "") -> float:
    """The largest difference between two values of a column, relative to those above 1; 0 = equal.

    Returns: `math.inf` where they cannot be subtracted: other texts, lengths, or a value on one side only.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        return max((distance(a[k], b[k], f"{name}.{k}") for k in a), default=0.0)
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return OTHER
        if a and isinstance(a[0], float | int) and isinstance(b[0], float | int):
            return _numbers(np.asarray(a, np.float64), np.asarray(b, np.float64))
        return max((distance(x, y, name) for x, y in zip(a, b, strict=True)), default=0.0)
    if isinstance(a, bytes) and isinstance(b, bytes):
        return _bytes(a, b, name)
    if isinstance(a, float | int) and isinstance(b, float | int):
        return _numbers(np.float64(a), np.float64(b))
    return 0.0 if a == b else OTHER


def _numbers(a: Any, b: Any) -> float:
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        gaps = np.abs(a - b) / np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
    gaps = np.where(equal, 0.0, np.where(np.isnan(gaps), OTHER, gaps))
    return float(gaps.max()) if gaps.size else 0.0


def _bytes(a: bytes, b: bytes, name: str) -> float:
    """Pixels of images, 0..1; values of maps; anything else is equal or not."""
    if a == b:
        return 0.0
    try:
        if name.endswith("image"):
            gaps = np.abs(_pixels(a) - _pixels(b))
            return float(gaps.mean() if name.startswith("frames") else gaps.max())
        if name.endswith("map"):
            return _numbers(*(np.frombuffer(x, np.float16).astype(np.float64) for x in (a, b)))
    except (ValueError, OSError, UnidentifiedImageError):
        return OTHER
    return OTHER


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.float64) / 255


def show(comparison: Comparison, tolerance: float, limit: int = 20) -> str:
    """The comparison as text: counts, the largest difference per column, the samples that differ most."""
    lines = [
        f"{comparison.identical:,} samples identical, {comparison.within:,} within {tolerance:g}, "
        f"{len(comparison.differing):,} different, {len(comparison.only_a):,} only in the first folder, "
        f"{len(comparison.only_b):,} only in the second"
    ]
    lines += [f"unreadable: {line}" for line in comparison.unreadable]
    lines += [f"other definition: {line}" for line in comparison.redefined]
    if comparison.largest:
        lines.append("largest difference per column:")
        rows = [(name, _amount(value)) for name, value in sorted(comparison.largest.items())]
        lines.append(textwrap.indent(terminal_table(("", ""), rows), "  "))
    worst = sorted(comparison.differing, key=lambda d: -d.largest)
    for difference in worst[:limit]:
        key = difference.key
        columns = ", ".join(f"{n} {_amount(v)}" for n, v in difference.columns.items())
        lines.append(f"{key.model}, seed {key.seed}, {difference.prompt[:60]!r}: {columns}")
    if len(worst) > limit:
        lines.append(f"... and {len(worst) - limit:,} more")
    for name, keys in (("first", comparison.only_a), ("second", comparison.only_b)):
        lines += [f"only in the {name}: {k.model}, seed {k.seed}, {k.prompt_key}" for k in keys[:5]]
    return "\n".join(lines)


def _amount(value: float) -> str:
    return "other" if value == OTHER else f"{value:.3g}"


def as_record(comparison: Comparison, tolerance: float) -> dict[str, Any]:
    """The comparison as plain values, for scripts; "other" stands for what has no distance."""

    def plain(columns: Mapping[str, float]) -> dict[str, Any]:
        return {name: "other" if v == OTHER else v for name, v in columns.items()}

    return {
        "same": comparison.same,
        "tolerance": tolerance,
        "identical": comparison.identical,
        "within": comparison.within,
        "largest": plain(comparison.largest),
        "unreadable": comparison.unreadable,
        "redefined": comparison.redefined,
        "different": [{**vars(d.key), "columns": plain(d.columns)} for d in comparison.differing],
        "only_a": [vars(key) for key in comparison.only_a],
        "only_b": [vars(key) for key in comparison.only_b],
    }
