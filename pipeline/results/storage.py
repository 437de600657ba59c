"""Where shards lie: a folder, or a place in an object store that every machine of a cluster can reach.

Both keep one promise: a shard is there whole or not at all. A folder gets it from a rename; an object
store from its own rule that an object appears when all of it has arrived.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline.errors import StoreError
from pipeline.results import safe_files

ENDING = ".parquet"
MAX_SHARD = 2**31  # bytes; a column of texts or pictures holds no more
MAX_RECORD = 2**16  # bytes of an owner's record
UNIT_ID = re.compile("[0-9a-f]{32}")
# Schemes whose objects appear whole, and the package that speaks each.
SCHEMES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
}


class ShardInfo(NamedTuple):
    """A shard as its place lists it. (A tuple: a resumed run makes a million of them.)"""

    size: int  # bytes
    changed_ns: int  # time of change, nanoseconds since 1970


class ShardStore(Protocol):
    """A place for shards, by the id of their work unit.

    A place that several results folders may share has an owner: the mark of the results folder that writes through
    this store. It is part of every name that is written, so that one folder neither overwrites nor removes what
    another has written; shards without a mark, which older versions wrote, are read and left alone.
    """

    address: str
    owner: str

    def create(self) -> None:
        """Makes the place. Raises StoreError where that cannot be done."""

    def write(self, unit_id: str, data: Any) -> ShardInfo:
        """Writes a shard whole or not at all. Raises StoreError with what the system said."""

    def read(self, unit_id: str) -> bytes:
        """All bytes of a shard. Raises StoreError where it is missing or cannot be read."""

    def find(self, unit_id: str) -> ShardInfo | None:
        """Size and time of change; None where it is missing."""

    def names(self) -> Iterator[tuple[str, ShardInfo]]:
        """Every shard in the place whose name says that the owner wrote it."""

    def others(self) -> int:
        """How many Parquet files of others are in the place."""

    def remove(self, unit_id: str) -> None:
        """Removes a shard of the owner, if it is there."""

    def record(self, facts: dict[str, str]) -> None:
        """Writes down, in the place, who the owner is."""

    def recorded(self) -> dict[str, Any]:
        """What the place says of the owner; empty where it does not know it."""


def _written(unit_id: str, owner: str) -> str:
    """The name under which an owner writes a shard."""
    return f"{unit_id}.{owner}{ENDING}" if owner else f"{unit_id}{ENDING}"


def _names(unit_id: str, owner: str) -> tuple[str, ...]:
    """The names under which a shard may lie: the owner's, then that which has no mark."""
    plain = _written(unit_id, "")
    return (_written(unit_id, owner), plain) if owner else (plain,)


def _unit_id_of(name: str, owner: str) -> str:
    """The work unit whose shard an owner has written under a name; "" where it is another's."""
    unit_id = name.removesuffix(_written("", owner))
    return unit_id if UNIT_ID.fullmatch(unit_id) and name == _written(unit_id, owner) else ""


class FolderStore:
    """Shards in a folder, of this machine or one that several share."""

    def __init__(self, folder: Path, owner: str = "") -> None:
        self.folder, self.owner = folder, owner
        self.address = str(folder)

    def path(self, unit_id: str) -> Path:
        """The file that is written for a work unit."""
        return self.folder / _written(unit_id, self.owner)

    def create(self) -> None:
        """Makes the folder."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            safe_files.make_folder(self.folder)
        except OSError as error:
            raise StoreError(explain_os_error(self.folder, error)) from error

    def write(self, unit_id: str, data: Any) -> ShardInfo:
        """Writes a shard: temp file, fsync, rename, fsync of the folder."""
        path = self.path(unit_id)
        write_whole(path, data)
        return _info_of(path.lstat())

    def read(self, unit_id: str) -> bytes:
        """All bytes of a shard."""
        path = self.path(unit_id)
        for name in _names(unit_id, self.owner):
            try:
                return safe_files.read_capped(self.folder / name, MAX_SHARD)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(_unreadable(self.folder / name, error)) from None
        raise StoreError(f"{path}: missing. Run the study again.")

    def find(self, unit_id: str) -> ShardInfo | None:
        """Size and time of change; None where it is missing."""
        for name in _names(unit_id, self.owner):
            try:
                status = os.lstat(f"{self.address}/{name}")  # 3x as fast as Path.lstat
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                return _info_of(status)
        return None

    def names(self) -> Iterator[tuple[str, ShardInfo]]:
        """Every shard in the folder that the owner wrote."""
        for path, status in self._files():
            if unit_id := _unit_id_of(path.name, self.owner):
                yield unit_id, _info_of(status)

    def others(self) -> int:
        """How many Parquet files of others are in the folder."""
        return sum(not _unit_id_of(path.name, self.owner) for path, _ in self._files())

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        try:
            yield from safe_files.regular_files(self.folder, _PARQUET)
        except OSError as error:
            raise StoreError(_unreadable(self.folder, error)) from None

    def remove(self, unit_id: str) -> None:
        """Removes a shard, if it is there."""
        try:
            safe_files.remove(self.path(unit_id))
        except OSError as error:
            raise StoreError(explain_os_error(self.path(unit_id), error)) from error

    def record(self, facts: dict[str, str]) -> None:
        """Writes `owners/<owner>.json`."""
        path = self.folder / "owners" / f"{self.owner}.json"
        try:
            safe_files.make_folder(path.parent)
        except OSError as error:
            raise StoreError(explain_os_error(path.parent, error)) from error
        write_whole(path, json.dumps(facts).encode())

    def recorded(self) -> dict[str, Any]:
        """What `owners/<owner>.json` says."""
        try:
            path = self.folder / "owners" / f"{self.owner}.json"
            return _facts(safe_files.read_capped(path, MAX_RECORD))
        except OSError:
            return {}


_PARQUET = re.compile(r"[^.].*\.parquet", re.DOTALL)


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read ({error.strerror}). Run the study again."


def _facts(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _info_of(status: os.stat_result) -> ShardInfo:
    return ShardInfo(status.st_size, status.st_mtime_ns)


class BucketStore:
    """Shards in an object store, spoken to by fsspec: s3, gs, abfs.

    Sizes and times come from one listing, made when the first is asked for, so that a million finished
    work units cost a thousand requests and not a million.
    """

    def __init__(self, url: str, owner: str = "") -> None:
        self.address, self.owner = url.rstrip("/"), owner
        self._scheme = url.partition("://")[0]

    def __getstate__(self) -> dict[str, Any]:
        names = ("address", "owner", "_scheme")
        return {name: self.__dict__[name] for name in names}  # a connection stays in its process

    @cached_property
    def _files(self) -> Any:
        import fsspec

        try:
            return fsspec.filesystem(self._scheme)
        except ImportError:
            package = SCHEMES[self._scheme]
            raise StoreError(
                f"{self.address}: needs the package {package}. Install it: pip install {package}"
            ) from None

    @cached_property
    def _listed(self) -> dict[str, ShardInfo]:
        prefix = self.address.partition("://")[2]
        try:
            self._files.invalidate_cache()
            listed = self._files.find(prefix, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._failed("listed", error) from error
        return {
            name.rpartition("/")[2]: _object(info)
            for name, info in listed.items()
            if name.endswith(ENDING)
        }

    def _path(self, unit_id: str) -> str:
        return f"{self.address}/{_written(unit_id, self.owner)}"

    def _failed(self, what: str, error: Exception) -> StoreError:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return StoreError(
            f"{self.address}: cannot be {what} ({type(error).__name__}: {reason}). Check the address and your "
            "credentials for it; then run again: finished work is kept."
        )

    def create(self) -> None:
        """Makes the bucket where it is missing; a prefix needs no making."""
        bucket = self.address.partition("://")[2].partition("/")[0]
        try:
            if not self._files.exists(bucket):
                self._files.mkdir(bucket)
        except StoreError:
            raise
        except Exception as error:
            raise self._failed("made", error) from error

    def write(self, unit_id: str, data: Any) -> ShardInfo:
        """Puts a shard in one request; it appears when all of it is there."""
        try:
            self._files.pipe_file(self._path(unit_id), bytes(data))
            self._files.invalidate_cache()
            info = _object(self._files.info(self._path(unit_id)))
        except StoreError:
            raise
        except Exception as error:
            raise self._failed("written", error) from error
        if "_listed" in self.__dict__:
            self._listed[_written(unit_id, self.owner)] = info
        return info

    def read(self, unit_id: str) -> bytes:
        """All bytes of a shard."""
        for name in _names(unit_id, self.owner):
            try:
                return bytes(self._files.cat_file(f"{self.address}/{name}"))
            except FileNotFoundError:
                continue
            except StoreError:
                raise
            except Exception as error:
                raise self._failed("read", error) from error
        raise StoreError(f"{self._path(unit_id)}: missing. Run the study again.")

    def find(self, unit_id: str) -> ShardInfo | None:
        """Size and time of change from the listing; None where it is missing."""
        names = _names(unit_id, self.owner)
        return next((self._listed[name] for name in names if name in self._listed), None)

    def names(self) -> Iterator[tuple[str, ShardInfo]]:
        """Every shard under the prefix that the owner wrote."""
        for name, info in self._listed.items():
            if unit_id := _unit_id_of(name, self.owner):
                yield unit_id, info

    def others(self) -> int:
        """How many Parquet files of others are under the prefix."""
        return sum(not _unit_id_of(name, self.owner) for name in self._listed)

    def remove(self, unit_id: str) -> None:
        """Removes an object, if it is there."""
        try:
            with suppress(FileNotFoundError):
                self._files.rm_file(self._path(unit_id))
        except Exception as error:
            raise self._failed("removed", error) from error
        self._listed.pop(_written(unit_id, self.owner), None)

    def record(self, facts: dict[str, str]) -> None:
        """Puts `owners/<owner>.json`."""
        try:
            self._files.pipe_file(self._record, json.dumps(facts).encode())
        except StoreError:
            raise
        except Exception as error:
            raise self._failed("written", error) from error

    def recorded(self) -> dict[str, Any]:
        """What `owners/<owner>.json` says."""
        try:
            return _facts(bytes(self._files.cat_file(self._record)))
        except FileNotFoundError:
            return {}
        except StoreError:
            raise
        except Exception as error:
            raise self._failed("read", error) from error

    @property
    def _record(self) -> str:
        return f"{self.address}/owners/{self.owner}.json"


def _object(info: dict[str, Any]) -> ShardInfo:
    changed = info.get("LastModified") or info.get("last_modified") or info.get("updated")
    stamp = getattr(changed, "timestamp", None)
    return ShardInfo(int(info["size"]), int(stamp() * 1e9) if stamp is not None else 0)


def open_store(address: str, owner: str = "") -> ShardStore:
    """The store of an address: a folder, or s3://, gs:// or abfs:// with a bucket.

    Args:
        address: the address; a folder may be reached through links.
        owner: the mark of the results folder that writes; "" = names without one, as older versions wrote them.

    Raises:
        StoreError: another scheme, or no bucket.
    """
    scheme, separator, rest = address.partition("://")
    if not separator or scheme == "file":
        return FolderStore(Path(os.path.realpath(rest if separator else address)), owner)
    if scheme not in SCHEMES:
        raise StoreError(
            f"--shards {address}: {scheme!r} is not an object store known here. Allowed: a folder, "
            f"{', '.join(f'{name}://' for name in SCHEMES)}."
        )
    if not rest.strip("/"):
        raise StoreError(f"--shards {address}: no bucket. Write {scheme}://BUCKET/FOLDER.")
    return BucketStore(address, owner)


def holds(store: ShardStore, unit_id: str, size: int, changed_ns: int, sha256: str) -> bool:
    """Whether a shard is there and is still what was written.

    Size and time of change tell it cheaply; where the time differs, the sha256 decides.
    """
    info = store.find(unit_id)
    if info is None or info.size != size:
        return False
    if info.changed_ns == changed_ns:
        return True
    try:
        return hashlib.sha256(store.read(unit_id)).hexdigest() == sha256
    except StoreError:
        return False


def write_whole(path: Path, data: Any) -> None:
    """Writes a file that appears whole or not at all, and is on the disk afterwards.

    Raises:
        StoreError: says what the system said.
    """
    try:
        safe_files.replace_whole(path, data)
    except OSError as error:
        raise StoreError(explain_os_error(path, error)) from error


def fsync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explain_os_error(path: Path, error: OSError) -> str:
    """What an OSError on writing means for the user."""
    advice = {
        errno.ENOSPC: "The disk is full. Free some space",
        errno.EDQUOT: "Your quota is used up. Free some space",
        errno.EFBIG: "The file is too big for this file system or its limit. Raise it",
        errno.EROFS: "The file system is read-only. Choose another folder with --out",
        errno.EACCES: "No permission. Choose another folder with --out",
    }.get(error.errno or 0, "Check the folder")
    reason = error.strerror or str(error)
    return f"{path}: cannot be written ({reason}). {advice}; then run again: finished work is kept."
