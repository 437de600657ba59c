"""Which samples of two results folders differ, and by how much.

A sample is known by model name, prompt and seed, so folders of other batch sizes, unit sizes, engines and
machines can be compared. Equal content hashes need no look at the values.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.errors import StoreError
from pipeline.plan import Plan, WorkUnit
from pipeline.results import load_plan
from pipeline.shards import CONTENT, ROW_HASH, LedgerEntry, Results, parse_shard

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
    found, seen = Comparison(), set()
    for unit in a.made:
        other = b.units.get(unit.unit_id)
        if other is not None and _same_content(a.entry(unit), b.entry(other)):
            found.identical += len(unit)
            seen.add(unit.unit_id)
            continue
        _compare_unit(unit, a, b, tolerance, found)
    for unit in b.made:
        if unit.unit_id not in seen:
            found.only_b += [key for key in _present(b, unit, found) if not a.has(key, found)]
    return found


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
        self.made: Plan = load_plan(self.results)
        self.entries = self.results.read_ledger().entries
        self.units = {unit.unit_id: unit for unit in self.made}
        self.places = {
            (unit.model.name, prompt.prompt_key, unit.seed): unit
            for unit in self.made
            for prompt in unit.prompts
        }
        self.texts = {prompt.prompt_key: prompt.text for prompt in self.made.prompts}
        self.rows = lru_cache(CACHED_UNITS)(self._rows)

    def entry(self, unit: WorkUnit) -> LedgerEntry | None:
        return self.entries.get(unit.unit_id)

    def _rows(self, unit_id: str) -> dict[str, dict[str, Any]]:
        """The rows of a unit by prompt; none where it has no shard."""
        entry = self.entries.get(unit_id)
        if entry is None or not entry.has_shard:
            return {}
        table = parse_shard(self.results.store.read(unit_id), unit_id)
        return {row["prompt_key"]: row for row in table.to_pylist()}

    def row(self, key: Key, found: Comparison) -> dict[str, Any] | None:
        unit = self.places.get((key.model, key.prompt_key, key.seed))
        return None if unit is None else _rows_of(self, unit, found).get(key.prompt_key)

    def has(self, key: Key, found: Comparison) -> bool:
        return self.row(key, found) is not None


def _rows_of(side: _Side, unit: WorkUnit, found: Comparison) -> dict[str, dict[str, Any]]:
    try:
        return side.rows(unit.unit_id)
    except StoreError as error:
        line = f"{side.results.folder}: {error}"
        if line not in found.unreadable:
            found.unreadable.append(line)
        return {}


def _present(side: _Side, unit: WorkUnit, found: Comparison) -> Iterator[Key]:
    for prompt_key in _rows_of(side, unit, found):
        yield Key(unit.model.name, prompt_key, unit.seed)


def _compare_unit(unit: WorkUnit, a: _Side, b: _Side, tolerance: float, found: Comparison) -> None:
    for prompt_key, row in _rows_of(a, unit, found).items():
        key = Key(unit.model.name, prompt_key, unit.seed)
        other = b.row(key, found)
        if other is None:
            found.only_a.append(key)
        elif row[ROW_HASH] == other[ROW_HASH]:
            found.identical += 1
        else:
            _compare_rows(key, a.texts[prompt_key], row, other, tolerance, found)


def _compare_rows(
    key: Key,
    text: str,
    row: Mapping[str, Any],
    other: Mapping[str, Any],
    tolerance: float,
    found: Comparison,
) -> None:
    amounts = {name: distance(row[name], other[name], name) for name in CONTENT}
    amounts = {name: amount for name, amount in amounts.items() if amount}
    for name, amount in amounts.items():
        found.largest[name] = max(found.largest.get(name, 0.0), amount)
    room = {"image": LEVEL, "frames": LEVEL} if tolerance else {}
    if all(amount <= tolerance + room.get(name, 0.0) for name, amount in amounts.items()):
        found.within += 1
    else:
        found.differing.append(Difference(key, text, amounts))


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


def show(found: Comparison, tolerance: float, limit: int = 20) -> str:
    """The comparison as text: counts, the largest difference per column, the samples that differ most."""
    lines = [
        f"{found.identical:,} samples identical, {found.within:,} within {tolerance:g}, "
        f"{len(found.differing):,} different, {len(found.only_a):,} only in the first folder, "
        f"{len(found.only_b):,} only in the second"
    ]
    lines += [f"unreadable: {line}" for line in found.unreadable]
    if found.largest:
        lines.append("largest difference per column:")
        lines += [f"  {name:20} {_amount(value)}" for name, value in sorted(found.largest.items())]
    worst = sorted(found.differing, key=lambda d: -d.largest)
    for difference in worst[:limit]:
        key = difference.key
        columns = ", ".join(f"{n} {_amount(v)}" for n, v in difference.columns.items())
        lines.append(f"{key.model}, seed {key.seed}, {difference.prompt[:60]!r}: {columns}")
    if len(worst) > limit:
        lines.append(f"... and {len(worst) - limit:,} more")
    for name, keys in (("first", found.only_a), ("second", found.only_b)):
        lines += [f"only in the {name}: {k.model}, seed {k.seed}, {k.prompt_key}" for k in keys[:5]]
    return "\n".join(lines)


def _amount(value: float) -> str:
    return "other" if value == OTHER else f"{value:.3g}"


def as_record(found: Comparison, tolerance: float) -> dict[str, Any]:
    """The comparison as plain values, for scripts; "other" stands for what has no distance."""

    def plain(columns: Mapping[str, float]) -> dict[str, Any]:
        return {name: "other" if v == OTHER else v for name, v in columns.items()}

    return {
        "same": found.same,
        "tolerance": tolerance,
        "identical": found.identical,
        "within": found.within,
        "largest": plain(found.largest),
        "unreadable": found.unreadable,
        "different": [{**vars(d.key), "columns": plain(d.columns)} for d in found.differing],
        "only_a": [vars(key) for key in found.only_a],
        "only_b": [vars(key) for key in found.only_b],
    }
