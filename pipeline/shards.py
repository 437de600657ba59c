"""The truth on disk: one Parquet shard per work unit, a ledger of what was finished, and a lock.

A shard appears whole or not at all: temp file, fsync, rename, fsync of the folder, and only then
its ledger entry. A unit counts as done when the ledger says so and the file is still that file.
"""

import errno
import fcntl
import gc
import hashlib
import json
import os
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StoreError
from pipeline.plan import WorkUnit
from pipeline.prompts import Prompt
from pipeline.storage import (
    FolderStore,
    ShardStore,
    explain_os_error,
    fsync_folder,
    holds,
    open_store,
    write_whole,
)
from pipeline.unpacking import refuse_bomb

__all__ = ["explain_os_error", "fsync_folder", "write_whole"]  # also known by these names here

MAX_TRIES = 3  # a unit with failures is run this often, then set aside
MAX_ROWS = 2**16  # of a shard: as many prompts as a unit may have
_F32, _F64, _I32 = pa.float32(), pa.float64(), pa.int32()
_CURVE = pa.list_(_F32)


def _records(**columns: pa.DataType) -> pa.DataType:
    return pa.list_(pa.struct(list(columns.items())))


SCHEMA = pa.schema(
    {
        "unit_id": pa.string(),
        "model": pa.string(),
        "prompt_key": pa.string(),
        "prompt_position": _I32,
        "seed": pa.int64(),
        "status": pa.string(),  # done | failed
        "error": pa.string(),
        "notice": pa.string(),
        "stage": pa.string(),
        "seconds": _F64,
        "width": _I32,
        "height": _I32,
        "clip_score": _F32,
        "image": pa.binary(),
        "steps": _records(
            step=_I32, timestep=_F64, alpha=_F64, sigma=_F64, log_snr=_F64, call=_I32
        ),
        "prompt_similarity": _CURVE,
        "trajectories": _records(concept=pa.string(), similarity=_CURVE),
        "frames": _records(step=_I32, image=pa.binary()),
        "words": _records(
            word_index=_I32,
            word=pa.string(),
            role=pa.string(),
            source=pa.string(),
            layer_group=pa.string(),
            steps=pa.list_(_I32),
            mass=_CURVE,
            scaled=_CURVE,
            entropy=_CURVE,
        ),
        "explanations": _records(
            step=_I32,
            method=pa.string(),
            word=pa.string(),
            height=_I32,
            width=_I32,
            low=_F32,
            high=_F32,
            map=pa.binary(),
        ),
        "faithfulness": _records(
            step=_I32,
            method=pa.string(),
            game=pa.string(),
            score=pa.string(),
            curve=_CURVE,
            auc=_F32,
            auc_scaled=_F32,
            auc_random=_F32,
            auc_inverse=_F32,
        ),
        "agreement": _records(
            step=_I32, method_a=pa.string(), method_b=pa.string(), spearman=_F32, iou=_F32
        ),
        "spectrum": _records(band=_I32, low=_F64, high=_F64, power=_CURVE),
        "embedding": pa.list_(_CURVE),
        "further_scorers": _records(  # one per scorer after the first, in the study's order
            clip_score=_F32,
            prompt_similarity=_CURVE,
            trajectories=_records(concept=pa.string(), similarity=_CURVE),
        ),
    }
)
ROW_HASH = "content_sha256"
STORED = SCHEMA.append(pa.field(ROW_HASH, pa.string()))
# Not content: where and how long it ran, the place of the prompt, texts that may hold addresses.
NOT_CONTENT = ("unit_id", "prompt_position", "seconds", "error")
CONTENT = tuple(name for name in SCHEMA.names if name not in NOT_CONTENT)
LATER = ("further_scorers",)  # columns that count as content only in rows that fill them


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What is known of a unit after a try. The last entry of a unit counts."""

    unit_id: str
    status: str  # done | failed (some items) | error (no shard) | damaged (found by verify)
    rows: int = 0
    failed: int = 0
    bytes: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    content_sha256: str = ""
    tries: int = 1
    stage: str = ""
    error: str = ""
    finished_at: str = ""

    @property
    def has_shard(self) -> bool:
        """Whether this try left a shard."""
        return self.status in ("done", "failed")


@dataclass(frozen=True)
class Ledger:
    """The last entry of every unit, and lines that could not be read."""

    entries: Mapping[str, LedgerEntry] = field(default_factory=dict)
    damaged_lines: int = 0


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as an Arrow table of `STORED`, each with the hash of its content.

    Raises:
        StoreError: a column is missing, unknown, or holds something of another type.
    """
    for row in rows:
        if row.keys() != set(SCHEMA.names):
            wrong = sorted(row.keys() ^ set(SCHEMA.names))
            raise StoreError(f"a row of a shard has wrong or missing columns: {', '.join(wrong)}")
    try:
        table = pa.table(
            {f.name: pa.array([row[f.name] for row in rows], f.type) for f in SCHEMA}, SCHEMA
        )
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise StoreError(f"a row of a shard does not fit its columns: {error}") from error
    return table.append_column(ROW_HASH, pa.array(row_hashes(table), pa.string()))


def failed_row(unit: WorkUnit, prompt: Prompt, error: str, stage: str) -> dict[str, Any]:
    """The row of an item that could not be sampled."""
    lists: dict[str, Any] = {f.name: [] for f in SCHEMA if pa.types.is_list(f.type)}
    return lists | {
        "unit_id": unit.unit_id,
        "model": unit.model.name,
        "prompt_key": prompt.prompt_key,
        "prompt_position": prompt.position,
        "seed": unit.seed,
        "status": "failed",
        "error": error,
        "notice": "",
        "stage": stage,
        "seconds": 0.0,
        "width": 0,
        "height": 0,
        "clip_score": None,
        "image": None,
    }


def row_hashes(table: pa.Table, names: Sequence[str] = CONTENT) -> list[str]:
    """A sha256 per row over its content: independent of timing, place, compression and chunks."""
    columns = [table.column(name).combine_chunks() for name in names]
    hashes = []
    for index in range(len(table)):
        digest = hashlib.sha256()
        for name, column in zip(names, columns, strict=True):
            if name in LATER and not pc.sum(pc.list_value_length(column.slice(index, 1))).as_py():
                continue  # as the hash was before the column came, so that older shards keep theirs
            digest.update(name.encode() + b"\0")
            _feed(digest, column.slice(index, 1))
        hashes.append(digest.hexdigest())
    return hashes


def _feed(digest: Any, array: Any) -> None:
    """Feeds an array to a hash in one spelling: shape, then values without what nulls hide."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    digest.update(struct.pack("<qq", len(array), array.null_count))
    if array.null_count:
        digest.update(np.asarray(array.is_null()).tobytes())
        array = array.drop_null()
    kind = array.type
    if pa.types.is_list(kind):
        digest.update(_lengths(array).tobytes())
        _feed(digest, array.flatten())
    elif pa.types.is_struct(kind):
        for child in array.flatten():
            _feed(digest, child)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        digest.update(_lengths(array).tobytes())
        _feed_bytes(digest, array)
    else:
        digest.update(_numbers(array).tobytes())


def _lengths(array: pa.Array) -> np.ndarray:
    offsets = np.frombuffer(array.buffers()[1], np.int32) if len(array) else np.zeros(1, np.int32)
    return np.diff(offsets[array.offset : array.offset + len(array) + 1]).astype("<i4")


def _feed_bytes(digest: Any, array: pa.Array) -> None:
    if len(array):
        offsets = np.frombuffer(array.buffers()[1], np.int32)
        start, stop = int(offsets[array.offset]), int(offsets[array.offset + len(array)])
        if stop > start:
            digest.update(memoryview(array.buffers()[2])[start:stop])


def _numbers(array: pa.Array) -> np.ndarray:
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values) + 0.0
    return values.astype(values.dtype.newbyteorder("<"))


def unit_hash(hashes: Iterable[str]) -> str:
    """The content hash of a unit from those of its rows."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def write_shard(store: ShardStore, unit_id: str, rows: Sequence[Mapping[str, Any]]) -> LedgerEntry:
    """Writes a unit's shard, whole or not at all.

    Returns: the unit's ledger entry, not yet in the ledger.

    Raises:
        StoreError: rows that do not fit, a full disk, a folder that cannot be written.
    """
    table = table_of(rows)
    errors = [str(row["error"]) for row in rows if row["status"] != "done"]
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", version="2.6")
    data = buffer.getvalue()
    found = store.write(unit_id, data)
    return LedgerEntry(
        unit_id=unit_id,
        status="failed" if errors else "done",
        rows=len(rows),
        failed=len(errors),
        error=errors[0] if errors else "",
        bytes=len(data),
        mtime_ns=found.changed_ns,
        sha256=hashlib.sha256(data).hexdigest(),
        content_sha256=unit_hash(table.column(ROW_HASH).to_pylist()),
        finished_at=now(),
    )


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A shard's rows, or some of its columns.

    Raises:
        StoreError: the file is missing, damaged, or has other columns.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror}). Run the study again."
        ) from None
    return parse_shard(data, path, columns)


def parse_shard(data: bytes, path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a shard's bytes; `path` is for messages.

    A column that an older version did not write yet has its empty value: that is the migration of
    shards, made whenever one is read.

    Raises:
        StoreError: the bytes are damaged, or are not a shard's.
    """
    names = list(columns or STORED.names)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        refuse_bomb(file, data, MAX_ROWS)
        stored = set(file.schema_arrow.names)  # made anew at each look, 0.2 ms
        there = [name for name in names if name in stored]
        if ROW_HASH in names and ROW_HASH not in there:
            raise ValueError(f"no column {ROW_HASH}")
        table = file.read(columns=there, use_threads=False)
        filled = {n: table[n] if n in there else _empty(n, len(table)) for n in names}
        return pa.table(filled).cast(pa.schema([STORED.field(name) for name in names]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise StoreError(f"{path}: damaged shard ({reason}). Run the study again.") from None


def _empty(name: str, rows: int) -> pa.Array:
    """The value that a column has where a version of the program did not know it yet."""
    kind = STORED.field(name).type
    value: Any = [] if pa.types.is_list(kind) else "" if pa.types.is_string(kind) else None
    return pa.array([value] * rows, kind)


def stored_hashes(data: bytes, path: Path | str) -> tuple[list[str], list[str]]:
    """The row hashes that a shard holds, and the same computed again over the columns that it has.

    Raises:
        StoreError: the bytes are damaged.
    """
    table = parse_shard(data, path)
    there = set(pq.read_schema(pa.BufferReader(data)).names)
    names = [name for name in CONTENT if name in there]
    return table.column(ROW_HASH).to_pylist(), row_hashes(table, names)


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Results:
    """A results folder: where its files are, its ledger, its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = folder / "shards"
        self.snapshots = folder / "snapshots"
        self.extra = folder / "extra"
        self.study = folder / "study.json"
        self.prompts = folder / "prompts.parquet"
        self.workers = folder / "workers.json"
        self.ledger = folder / "ledger.jsonl"
        self.current = folder / "current.json"
        self.logs = folder / "logs"
        self.place = folder / "shards.json"  # where the shards are, if not in `shards`

    @cached_property
    def store(self) -> ShardStore:
        """Where the shards are: the folder's own, or the place that the run was given.

        Raises:
            StoreError: the record of the place is damaged.
        """
        try:
            place = str(json.loads(self.place.read_text())["place"])
            if not place or re.search("[\x00-\x1f\ud800-\udfff]", place):
                raise ValueError(f"place = {place!r}")
        except FileNotFoundError:
            return FolderStore(self.shards)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"{self.place}: damaged ({error}). Run again with --shards.") from None
        return open_store(place)

    def keep_shards_at(self, place: str) -> None:
        """Writes down that the shards are elsewhere.

        Raises:
            StoreError: the folder's shards are in another place already.
        """
        store = open_store(place)
        before = (
            self.store.place if self.place.exists() or any(self.shards.glob("*.parquet")) else ""
        )
        if before and before != store.place:
            raise StoreError(
                f"--shards {place}: the shards of {self.folder} are in {before}. Go on there, or choose "
                "another folder with --out and merge the two."
            )
        store.create()
        write_whole(self.place, (json.dumps({"place": store.place}) + "\n").encode())
        self.__dict__.pop("store", None)

    def create(self) -> None:
        """Makes the folders.

        Raises:
            StoreError: they cannot be made.
        """
        for path in (self.folder, self.shards, self.snapshots):
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(explain_os_error(path, error)) from error

    def shard(self, unit_id: str) -> Path:
        """The file of a unit."""
        return self.shards / f"{unit_id}.parquet"

    @contextmanager
    def locked(self, name: str = "lock", doing: str = "a run") -> Iterator[None]:
        """Holds the folder's lock; the system frees it when the process ends, however it ends.

        Raises:
            StoreError: another process holds it; says which.
        """
        path = self.folder / name
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(explain_os_error(path, error)) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreError(self._refusal(path, doing)) from None
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(_owner()).encode(), 0)
            yield
        finally:
            os.close(handle)

    def _refusal(self, path: Path, doing: str) -> str:
        try:
            owner = json.loads(path.read_text())
            who = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            who = "another process"
        return (
            f"{self.folder}: in use by {doing} ({who}). Wait for it, stop it, or choose another "
            "folder with --out."
        )

    def remove_stale(self) -> int:
        """Removes temp files that a killed run left, and cuts a half line off the ledger.

        Only for the holder of the lock. Returns: how many files were removed.
        """
        stale = [path for folder in (self.shards, self.folder) for path in _temporary(folder)]
        for path in stale:
            path.unlink(missing_ok=True)
        self._repair_ledger()
        return len(stale)

    def _repair_ledger(self) -> None:
        if not self.ledger.exists():
            return
        with self.ledger.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - 2**20)
            file.seek(start)
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(start + tail.rfind(b"\n") + 1)
                os.fsync(file.fileno())

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Adds entries to the ledger; they are on the disk afterwards.

        Raises:
            StoreError: they could not be written; what was written of them is taken back.
        """
        data = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries).encode()
        try:
            with self.ledger.open("ab", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                try:
                    if file.write(data) != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(before)
                    raise
        except OSError as error:
            raise StoreError(explain_os_error(self.ledger, error)) from error

    def read_ledger(self) -> Ledger:
        """The last entry of every unit. A cut or damaged line is counted, never fatal."""
        entries: dict[str, LedgerEntry] = {}
        damaged = 0
        if self.ledger.exists():
            with self.ledger.open("rb") as file, _many_objects():
                for line in file:
                    entry = _parse_entry(line)
                    if entry is None:
                        damaged += 1
                    else:
                        entries[entry.unit_id] = entry
        return Ledger(entries, damaged)

    def holds(self, entry: LedgerEntry) -> bool:
        """Whether an entry's shard is there and is still the file that was written.

        Size and time of change tell it cheaply; where the time differs, the sha256 decides.
        """
        return entry.has_shard and holds(
            self.store, entry.unit_id, entry.bytes, entry.mtime_ns, entry.sha256
        )


def _temporary(folder: Path) -> list[Path]:
    """The temp files of a folder that may hold a million others."""
    with os.scandir(folder) as entries:
        return [
            Path(entry)
            for entry in entries
            if entry.name.startswith(".") and entry.name.endswith(".tmp") and entry.is_file()
        ]


@contextmanager
def _many_objects() -> Iterator[None]:
    """Without Python's search for cycles, which looks at all of a million entries again and again and finds none."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _owner() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}


_DECODER = msgspec.json.Decoder(LedgerEntry)  # a tenth of the time of json, and it checks types


def _parse_entry(line: bytes) -> LedgerEntry | None:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
