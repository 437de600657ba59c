"""Distances of images that are done, beside the shards: a line for each pair of work units, appended when it is done.

A line names the two shards by their sha256, so that it counts for these images alone: a work unit that is run again is compared
again. A killed run loses the pair that it was at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.folder import Results
from pipeline.results.ledger_file import append_lines, cut_half_line
from pipeline.results.storage import explain_os_error, write_whole

MAX_BYTES = 2**34
MAX_LINE = 2**28  # bytes; a work unit of 65,536 prompts has 5 MB, and as much for each step


Reason = Annotated[str, msgspec.Meta(max_length=400, pattern="^[ -~]*$")]  # that a terminal shows


class PairKey(NamedTuple):
    """What was compared, by what."""

    distance: str  # a hash of the definition and the weights
    shard: str  # sha256
    reference: str  # sha256 of the reference entry's shard


class Compared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The distances of the images of one work unit to those of the reference entry."""

    key: PairKey
    values: dict[str, Annotated[float, msgspec.Meta(ge=-1)]]  # by prompt_key
    without: dict[str, Reason]  # prompt_key -> why there is none
    steps: dict[
        str, dict[int, Annotated[float, msgspec.Meta(ge=-1)]]
    ] = {}  # of frames: by prompt_key and step


class DistanceFile:
    """The lines of a results folder; only for the holder of its lock."""

    def __init__(self, results: Results) -> None:
        self.path = results.folder / "scores" / "distances.jsonl"

    def read(self) -> dict[PairKey, Compared]:
        """What is done. A cut or damaged line counts as not done.

        Raises:
            StoreError: it is no file, or cannot be read.
        """
        try:
            return {each.key: each for each in self._lines()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot be read ({error.strerror}). Remove it: the next run makes a new one."
            ) from None

    def _lines(self) -> Iterator[Compared]:
        with safe_files.open_regular(self.path, MAX_BYTES) as file:
            while line := file.readline(MAX_LINE):
                try:
                    yield msgspec.json.decode(line, type=Compared)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue

    def prepare(self) -> None:
        """Makes the folder, and cuts off a line that was not written to its end.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            safe_files.make_folder(self.path.parent)
            cut_half_line(self.path)
        except OSError as error:
            raise StoreError(explain_os_error(self.path, error)) from error

    def append(self, compared: Compared) -> None:
        """Adds a line; it is on the disk afterwards. Raises StoreError."""
        append_lines(self.path, msgspec.json.encode(compared) + b"\n")

    def keep(self, compared: list[Compared]) -> None:
        """Replaces all lines. Raises StoreError."""
        write_whole(self.path, b"".join(msgspec.json.encode(each) + b"\n" for each in compared))
