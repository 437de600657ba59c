"""The ledger of finished work units: one line a work unit, appended after its shard."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

# Numbers that a line may hold: what the database's columns take.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Tries = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
MAX_TRIES = 3  # a work unit with failures is run this often, then set aside


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What is known of a work unit after a try. The last entry of a work unit counts."""

    unit_id: str
    status: str  # done | failed (some items) | error (no shard) | damaged (found by verify)
    rows: Count = 0
    failed: Count = 0
    bytes: Count = 0
    mtime_ns: Count = 0
    sha256: str = ""
    content_sha256: str = ""
    tries: Tries = 1
    stage: str = ""
    error: str = ""
    finished_at: str = ""

    @property
    def has_shard(self) -> bool:
        """Whether this try left a shard."""
        return self.status in ("done", "failed")


@dataclass(frozen=True)
class Ledger:
    """The last entry of every work unit, and lines that could not be read."""

    entries: Mapping[str, LedgerEntry] = field(default_factory=dict)
    damaged_lines: int = 0
    lines: int = 0  # of all


@contextmanager
def many_objects() -> Iterator[None]:
    """Without Python's search for cycles, which looks at all of a million entries again and again and finds none."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


_DECODER = msgspec.json.Decoder(LedgerEntry)  # a tenth of the time of json, and it checks types


def parse_entry(line: bytes) -> LedgerEntry | None:
    """The entry of a line of the ledger; None where it is damaged."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
