"""A results folder and its places: shards, ledger, logs, snapshots."""

import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.results import allowed_stores, safe_files
from pipeline.results.ledger import Ledger, LedgerEntry
from pipeline.results.ledger_file import append_entries, cut_half_line, read_entries
from pipeline.results.lock import describe_owner, hold, is_held, owner_of, write_owner
from pipeline.results.shards import now
from pipeline.results.storage import (
    BucketStore,
    FolderStore,
    ShardStore,
    explain_os_error,
    holds,
    open_store,
    write_whole,
)

LEDGER = "ledger.jsonl"
BATCH = 2**14  # ledger entries written at once
OWNER = re.compile("[0-9a-f]{32}")


class Results:
    """A results folder: where its files are, its ledger, its lock."""

    def __init__(self, folder: Path) -> None:
        # The folder itself may be reached through links, for its user named it; nothing in it may.
        self.folder = folder = Path(os.path.realpath(folder)) if folder.is_symlink() else folder
        self.shards = folder / "shards"
        self.snapshots = folder / "snapshots"
        self.extra = folder / "extra"
        self.study = folder / "study.json"
        self.prompts = folder / "prompts.parquet"
        self.workers = folder / "workers.json"
        self.ledger = folder / LEDGER  # what is written to; `read_ledger` reads those of parts too
        self.slurm = folder / "slurm.json"  # the jobs that were submitted last
        self.parts = folder / "parts"  # ledgers, locks and workers of runs of a part
        self.current = folder / "current.json"
        self.logs = folder / "logs"
        self.shards_json = folder / "shards.json"  # where the shards are, if not in `shards`

    @cached_property
    def store(self) -> ShardStore:
        """Where the shards are: the folder's own, or the place that the run was given.

        Raises:
            StoreError: the record of the place is damaged, or names an object store that nobody has named on this machine.
        """
        named = self._named_place()
        if named is None:
            return FolderStore(self.shards)
        store = open_store(*named)
        if isinstance(store, BucketStore) and not allowed_stores.is_allowed(store.address):
            raise StoreError(
                f"{self.shards_json}: names {store.address} as the place of the shards, and nobody has named that place on this "
                f"machine. It was not contacted. If it is yours, say so once: add --shards {store.address}"
            )
        return store

    def require_store(self) -> None:
        """Raises StoreError where `store` does: before a command takes every shard for missing."""
        _ = self.store

    def _named_place(self) -> tuple[str, str] | None:
        """The place in shards.json, and this folder's mark as an owner of shards there ("" = none yet)."""
        try:
            record = json.loads(safe_files.read_capped(self.shards_json))
            address, owner = str(record["place"]), str(record.get("owner", ""))
            if not address or re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", address):
                raise ValueError(f"place = {address!r}")
            if owner and not OWNER.fullmatch(owner):
                raise ValueError(f"owner = {owner[:40]!r}")
            return address, owner
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{self.shards_json}: damaged ({error}). Run again with --shards."
            ) from None

    def keep_shards_at(self, address: str) -> None:
        """Writes down that the shards are elsewhere: here, and in that place who writes there.

        Raises:
            StoreError: the folder's shards are in another place already.
        """
        named = self._named_place()
        owner = (named[1] if named else "") or secrets.token_hex(16)
        store = open_store(address, owner)
        before = open_store(*named).address if named else self._own_address()
        if before and before != store.address:
            raise StoreError(
                f"--shards {address}: the shards of {self.folder} are in {before}. Go on there, or choose "
                "another folder with --out and merge the two."
            )
        if isinstance(store, BucketStore):
            allowed_stores.allow(store.address)
        store.create()
        store.record({"folder": self._address, "host": socket.gethostname(), "since": now()})
        write_whole(
            self.shards_json, (json.dumps({"place": store.address, "owner": owner}) + "\n").encode()
        )
        self.__dict__.pop("store", None)

    def _own_address(self) -> str:
        """The folder's own place, where it holds shards, else ""."""
        store = FolderStore(self.shards)
        return store.address if next(store.names(), None) is not None else ""

    @property
    def _address(self) -> str:
        return os.path.realpath(self.folder)

    def owns_place(self) -> bool:
        """Whether the shards are in this folder, or in a place that knows it as an owner of shards."""
        named = self._named_place()
        if named is None:
            return True
        return bool(named[1]) and self.store.recorded().get("folder") == self._address

    def refuse_foreign_place(self) -> None:
        """Raises StoreError where shards would be written to a place that does not know this folder.

        A folder from elsewhere may say that its shards are anywhere.
        """
        if not self.owns_place():
            raise StoreError(
                f"{self.shards_json}: names {self.store.address} as the place of the shards, and that place does not know this "
                f"folder. If it is yours, say so once: run with --shards {self.store.address}"
            )

    def create(self) -> None:
        """Makes the folders.

        Raises:
            StoreError: they cannot be made, or something else has their name.
        """
        path = self.folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in (self.shards, self.snapshots):
                safe_files.make_folder(path)
        except OSError as error:
            raise StoreError(explain_os_error(path, error)) from error

    def shard(self, unit_id: str) -> Path:
        """The file of a work unit."""
        return self.shards / f"{unit_id}.parquet"

    @contextmanager
    def locked(self, name: str = "lock", doing: str = "a run") -> Iterator[None]:
        """Holds the folder's lock; the system frees it when the process ends, however it ends.

        Raises:
            StoreError: another process holds it; says which.
        """
        path = self.folder / name
        # Only one who holds the folder's lock alone may merge what parts wrote.
        folder = self.snapshots if name == "publish.lock" else self.folder
        with ExitStack() as stack:
            file = hold(stack, folder, path, exclusive=True)
            if file is None:
                raise StoreError(self._refusal(path, doing))
            write_owner(file)
            if name == "lock":
                self.merge_parts()
            yield

    def _refusal(self, path: Path, doing: str) -> str:
        who, parts = describe_owner(owner_of(path)), self.running_parts()
        if parts and path.name == "lock":
            who = f"{len(parts)} parts of one; the first: {describe_owner(owner_of(parts[0]))}"
        return (
            f"{self.folder}: in use by {doing} ({who}). Wait for it, stop it, or choose another "
            "folder with --out."
        )

    def running_parts(self) -> list[Path]:
        """The locks of parts that are running now, as far as this machine can tell."""
        return [path for path in self.part_files("lock") if is_held(path)]

    def remove_stale(self) -> int:
        """Removes temp files that a killed run left, and cuts a half line off the ledger.

        Only for the holder of the lock. Returns: how many files were removed.

        Raises:
            StoreError: the folder or its ledger cannot be written, or is not what a run makes.
        """
        path = self.folder
        try:
            removed = 0
            for path in (self.shards, self.folder, self.parts):
                files = safe_files.regular_files(path, safe_files.TEMPORARY)
                removed += sum([safe_files.remove(stale) for stale, _ in files])
            path = self.ledger
            cut_half_line(path)
        except OSError as error:
            raise StoreError(explain_os_error(path, error)) from error
        return removed

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Adds entries to the ledger; they are on the disk afterwards.

        Raises:
            StoreError: they could not be written; what was written of them is taken back.
        """
        append_entries(self.ledger, entries)

    def read_ledger(self) -> Ledger:
        """The entry that counts of every work unit, from the ledger and those of parts that are not merged into it yet.

        A cut or damaged line is counted, never fatal.

        Raises:
            StoreError: a ledger is no file, or cannot be read.
        """
        ledger = read_entries(self.folder / LEDGER)
        for path in self.part_files(LEDGER):
            ledger = self._joined(ledger, read_entries(path))
        return ledger

    def _joined(self, ledger: Ledger, part: Ledger) -> Ledger:
        """Two ledgers as one. Where both have a work unit, the entry whose shard is there counts, else the later one."""
        entries = dict(ledger.entries)
        for unit_id, entry in part.entries.items():
            other = entries.get(unit_id)
            if other is None or other == entry or self._supersedes(entry, other):
                entries[unit_id] = entry
        return Ledger(entries, ledger.damaged_lines + part.damaged_lines, ledger.lines + part.lines)

    def _supersedes(self, entry: LedgerEntry, other: LedgerEntry) -> bool:
        stored = self.holds(entry), self.holds(other)
        return stored[0] if stored[0] != stored[1] else entry.finished_at >= other.finished_at

    def part_files(self, kind: str) -> list[Path]:
        """Files that parts of a run have written beside one another, such as their ledgers; in order of parts.

        Raises:
            StoreError: what has the folder's name is no folder.
        """
        try:
            files = safe_files.regular_files(self.parts, re.compile(rf"\d{{5}}-of-\d{{5}}\.{kind}"))
            return sorted(path for path, _ in files)
        except OSError as error:
            raise StoreError(f"{self.parts}: cannot be read ({error.strerror}).") from None

    def merge_parts(self) -> None:
        """Puts what the ledgers of parts say into the one ledger, then removes theirs. A kill in between loses nothing.

        Only for the holder of the lock.

        Raises:
            StoreError: a ledger cannot be read or written.
        """
        ledgers = self.part_files(LEDGER)
        if not ledgers:
            return
        try:
            cut_half_line(self.folder / LEDGER)
            known = read_entries(self.folder / LEDGER).entries
            entries = self.read_ledger().entries
            new = [entry for unit_id, entry in entries.items() if known.get(unit_id) != entry]
            for start in range(0, len(new), BATCH):
                append_entries(self.folder / LEDGER, new[start : start + BATCH])
            for path in ledgers:
                safe_files.remove(path)
        except OSError as error:
            raise StoreError(explain_os_error(self.folder, error)) from error

    def merge_idle_parts(self) -> bool:
        """Merges the ledgers of parts unless a run is at work. Returns whether none is left to be merged."""
        if not self.part_files(LEDGER):
            return True
        with ExitStack() as stack:
            if not hold(stack, self.folder, self.folder / "lock", exclusive=True):
                return False
            self.merge_parts()
            self.remove_stale()
        return True

    def holds(self, entry: LedgerEntry) -> bool:
        """Whether an entry's shard is there and is still the file that was written.

        Size and time of change tell it cheaply; where the time differs, the sha256 decides.
        """
        return entry.has_shard and holds(
            self.store, entry.unit_id, entry.bytes, entry.mtime_ns, entry.sha256
        )
