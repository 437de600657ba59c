"""A results folder as a run of one part of a study sees it: several parts write into the folder at once.

They share the folder's lock, which keeps whole runs, `gc` and `merge` out, and each holds the lock of its own part. Each
appends to a ledger of its own; the holder of the whole lock merges these into the one ledger (`Results.merge_parts`).
Shards need nothing more: their names are work unit ids, and each appears whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.folder import LEDGER, Results
from pipeline.results.ledger_file import cut_half_line
from pipeline.results.lock import describe_owner, hold, owner_of, write_owner
from pipeline.results.split import Part, part_of_file
from pipeline.results.storage import explain_os_error
from pipeline.study.plan import Plan

PATIENCE = 60.0  # seconds to wait for a command that holds the whole folder for a moment, such as `publish`
MOMENT = 2.0  # seconds to wait for `status`, which looks at the locks of parts


class PartResults(Results):
    """A results folder of which one part is run."""

    def __init__(self, folder: Path, part: Part) -> None:
        super().__init__(folder)
        self.part = part
        self.ledger = self.parts / f"{part.name}.{LEDGER}"
        self.workers = self.parts / f"{part.name}.workers.json"
        self._lock: FileIO | None = None

    def create(self) -> None:
        """Makes the folders. Raises StoreError as `Results.create` does."""
        super().create()
        try:
            safe_files.make_folder(self.parts)
        except OSError as error:
            raise StoreError(explain_os_error(self.parts, error)) from error

    @contextmanager
    def locked(self, name: str = "lock", doing: str = "a run") -> Iterator[None]:
        """Shares the folder's lock with other parts, and holds the part's own.

        Raises:
            StoreError: a whole run, or another run of this part, is at work; says which.
        """
        path = self.parts / f"{self.part.name}.lock"
        with ExitStack() as stack:
            if not hold(stack, self.folder, self.folder / name, exclusive=False, patience=PATIENCE):
                raise StoreError(self._refusal(self.folder / name, doing))
            self._lock = hold(stack, None, path, exclusive=True, patience=MOMENT)
            if self._lock is None:
                raise StoreError(
                    f"--part {self.part}: this part is running already ({describe_owner(owner_of(path))}). Wait for it, "
                    "or stop it."
                )
            write_owner(self._lock)
            yield

    @contextmanager
    def starting(self, plan: Plan) -> Iterator[None]:
        """While a part starts, which writes what all parts share: one part at a time.

        Raises:
            StoreError: parts of another plan, or of another split, are running in this folder.
        """
        with ExitStack() as stack:
            path = self.parts / "starting.lock"
            if not hold(stack, None, path, exclusive=True, patience=PATIENCE):
                raise StoreError(f"{path}: held by {describe_owner(owner_of(path))}. Try again.")
            digest = plan_digest(plan)
            self._refuse_other_runs(digest)
            assert self._lock is not None, "locked() comes first"
            write_owner(self._lock, plan=digest)
            yield

    def _refuse_other_runs(self, digest: str) -> None:
        for path in self.running_parts():
            other, owner = part_of_file(path.name), owner_of(path)
            if other in (None, self.part) or "plan" not in owner:
                continue  # without a plan: it waits for its turn to start
            assert other is not None
            why = "of another plan (prompts, seeds, models or settings)"
            if owner["plan"] == digest:
                why = f"of a split into {other.of:,} parts"
            if owner["plan"] != digest or other.of != self.part.of:
                raise StoreError(
                    f"--part {self.part}: part {other} {why} is running in {self.folder} ({describe_owner(owner)}). Wait "
                    "for it, stop it, or choose another folder with --out."
                )

    def remove_stale(self) -> int:
        """Cuts a half line off the part's ledger. Temp files are left: other parts may be writing them. Returns: 0."""
        try:
            cut_half_line(self.ledger)
        except OSError as error:
            raise StoreError(explain_os_error(self.ledger, error)) from error
        return 0


def plan_digest(plan: Plan) -> str:
    """What tells plans apart: a hash of the ids of their work units, in order."""
    digest = hashlib.sha256()
    for work_unit in plan:
        digest.update(work_unit.unit_id.encode())
    return digest.hexdigest()
