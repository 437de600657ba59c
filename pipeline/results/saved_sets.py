"""Measures of sets of images (Vendi, KID, CMMD, FID, coverage) that `scores sets --save` keeps beside the shards: scores/sets.json.

The file is replaced whole. A row names the entries, the extractor and the images that it was computed of by a hash, so that one
whose images have changed since is told apart.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.scores import ScoreFiles, read_list
from pipeline.results.storage import write_whole
from pipeline.study.plan import Plan
from pipeline.study.settings import show

MOST_SETS = 2_000
LONGEST = {"model": 250, "reference": 250, "extractor": 200, "method": 200, "computed_at": 40}
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Name = Literal["vendi", "kid", "cmmd", "fid", "coverage"]
LOWER_IS_BETTER: Mapping[Name, bool] = {
    "vendi": False,
    "kid": True,
    "cmmd": True,
    "fid": True,
    "coverage": False,
}


class SavedSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measure of a model's images as the file holds it.

    Attributes:
        model: name of the entry.
        measure: vendi, kid, cmmd, fid or coverage; its direction is in `LOWER_IS_BETTER`.
        value, low, high: with its 95 % interval over prompts; None limits for fewer than 6 prompts.
        images: how many. prompts: of how many prompts.
        reference: name of the entry that the images were held against; '' = none.
        reference_images: how many that has; 0 where there is none.
        extractor: of what vectors.
        method: how the interval was made.
        content: sha256 over the content of the images of both entries, as `contents` gives it.
        computed_at: UTC, ISO 8601.
    """

    model: str
    measure: Name
    value: float
    low: float | None
    high: float | None
    images: Count
    prompts: Count
    reference: str
    reference_images: Count
    extractor: str
    method: str
    content: str
    computed_at: str

    @property
    def question(self) -> tuple[str, str, str]:
        """What the row answers for a model; a later row of the same question replaces it."""
        return self.measure, self.reference, self.extractor


class SetFile:
    """The saved measures of sets of a results folder."""

    def __init__(self, results: Results) -> None:
        self._files = ScoreFiles(results)
        self.path = self._files.folder / "sets.json"

    def rows(self) -> tuple[SavedSet, ...]:
        """What was saved, in order; nothing where there is no file.

        Raises:
            StoreError: the file is damaged, or something else lies in its place.
        """
        return read_list(
            self.path, SavedSet, _check_rows, "Remove it and run `scores sets --save` again."
        )

    def save(self, rows: Sequence[SavedSet]) -> None:
        """Adds rows in place of those that answered the same questions; on the disk afterwards.

        Raises:
            StoreError: they cannot be written, are too many, or one is not finite.
        """
        try:
            for row in rows:
                _check(row)
        except ValueError as error:
            raise StoreError(f"--save: {error}.") from None
        asked = {row.question for row in rows}
        with self._files.locked():
            after = [row for row in self.rows() if row.question not in asked] + list(rows)
            if len(after) > MOST_SETS:
                raise StoreError(f"{self.path}: at most {MOST_SETS} measures are kept. Use `scores sets --clear` first.")  # fmt: skip
            write_whole(self.path, msgspec.json.format(msgspec.json.encode(after), indent=1))

    def clear(self) -> int:
        """Removes all. Returns: how many there were. Raises StoreError where the file cannot be removed."""
        with self._files.locked():
            count = len(self.rows())
            write_whole(self.path, b"[]")
        return count


def _check(row: SavedSet) -> None:
    """Raises ValueError where a row is not one that `scores sets --save` writes."""
    for field, most in LONGEST.items():
        text = getattr(row, field)
        if len(text) > most or not text.isprintable():
            raise ValueError(f"{field} = {show(text)}: at most {most} printable characters")
    numbers = [row.value, *(x for x in (row.low, row.high) if x is not None)]
    if not all(map(math.isfinite, numbers)) or len(numbers) == 2:
        raise ValueError(f"value, low, high = {row.value}, {row.low}, {row.high}")


def _check_rows(rows: Sequence[SavedSet]) -> None:
    if len(rows) > MOST_SETS:
        raise ValueError(f"{len(rows)} measures, at most {MOST_SETS}")
    for row in rows:
        _check(row)


def contents(plan: Plan, entries: Mapping[str, LedgerEntry]) -> dict[str, str]:
    """Of each entry of a study the sha256 over the content of its finished work units, in the plan's order."""
    hashes: dict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
    for work_unit in plan:
        entry = entries.get(work_unit.unit_id)
        if entry is not None and entry.has_shard:
            hashes[work_unit.model.name].update(f"{entry.content_sha256}\n".encode())
    return {name: hash_.hexdigest() for name, hash_ in hashes.items()}


def content_of(hashes: Mapping[str, str], model: str, reference: str) -> str:
    """The hash of the images of a model and of its reference, '' = none."""
    both = f"{hashes.get(model, '')}\n{hashes.get(reference, '') if reference else ''}"
    return hashlib.sha256(both.encode()).hexdigest()


def check_sets(folder: Path) -> list[str]:
    """What is wrong with the saved measures of a results folder, one line each; empty when all is well."""
    try:
        SetFile(Results(folder)).rows()
    except StoreError as error:
        return [str(error)]
    return []
