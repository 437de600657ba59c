"""Where shards lie: a folder, or a place in an object store that every machine of a cluster can reach.

Both keep one promise: a shard is there whole or not at all. A folder gets it from a rename; an object
store from its own rule that an object appears when all of it has arrived.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline.errors import StoreError

ENDING = ".parquet"
# Schemes whose objects appear whole, and the package that speaks each.
SCHEMES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
}


class Found(NamedTuple):
    """A shard as its place lists it. (A tuple: a resumed run makes a million of them.)"""

    size: int  # bytes
    changed_ns: int  # time of change, nanoseconds since 1970


class ShardStore(Protocol):
    """A place for shards, by the id of their work unit."""

    place: str

    def create(self) -> None:
        """Makes the place. Raises StoreError where that cannot be done."""

    def write(self, unit_id: str, data: Any) -> Found:
        """Writes a shard whole or not at all. Raises StoreError with what the system said."""

    def read(self, unit_id: str) -> bytes:
        """All bytes of a shard. Raises StoreError where it is missing or cannot be read."""

    def find(self, unit_id: str) -> Found | None:
        """Size and time of change; None where it is missing."""

    def names(self) -> Iterator[tuple[str, Found]]:
        """Every shard in the place."""

    def remove(self, unit_id: str) -> None:
        """Removes a shard, if it is there."""


class FolderStore:
    """Shards in a folder, of this machine or one that several share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)

    def path(self, unit_id: str) -> Path:
        """The file of a unit."""
        return self.folder / f"{unit_id}{ENDING}"

    def create(self) -> None:
        """Makes the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(explain_os_error(self.folder, error)) from error

    def write(self, unit_id: str, data: Any) -> Found:
        """Writes a shard: temp file, fsync, rename, fsync of the folder."""
        path = self.path(unit_id)
        write_whole(path, data)
        return _found(path.stat())

    def read(self, unit_id: str) -> bytes:
        """All bytes of a shard."""
        path = self.path(unit_id)
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be read ({error.strerror}). Run the study again."
            ) from None

    def find(self, unit_id: str) -> Found | None:
        """Size and time of change; None where it is missing."""
        try:
            return _found(os.stat(f"{self.place}/{unit_id}{ENDING}"))  # noqa: PTH116 - 3x of Path.stat
        except OSError:
            return None

    def names(self) -> Iterator[tuple[str, Found]]:
        """Every shard in the folder."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(ENDING) and not entry.name.startswith("."):
                    yield entry.name.removesuffix(ENDING), _found(entry.stat())

    def remove(self, unit_id: str) -> None:
        """Removes a shard, if it is there."""
        try:
            self.path(unit_id).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(explain_os_error(self.path(unit_id), error)) from error


def _found(status: os.stat_result) -> Found:
    return Found(status.st_size, status.st_mtime_ns)


class BucketStore:
    """Shards in an object store, spoken to by fsspec: s3, gs, abfs.

    Sizes and times come from one listing, made when the first is asked for, so that a million finished
    units cost a thousand requests and not a million.
    """

    def __init__(self, url: str) -> None:
        self.place = url.rstrip("/")
        self._scheme = url.partition("://")[0]

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place, "_scheme": self._scheme}  # a connection stays in its process

    @cached_property
    def _files(self) -> Any:
        import fsspec

        try:
            return fsspec.filesystem(self._scheme)
        except ImportError:
            package = SCHEMES[self._scheme]
            raise StoreError(
                f"{self.place}: needs the package {package}. Install it: pip install {package}"
            ) from None

    @cached_property
    def _listed(self) -> dict[str, Found]:
        prefix = self.place.partition("://")[2]
        try:
            self._files.invalidate_cache()
            listed = self._files.find(prefix, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._failed("listed", error) from error
        return {
            name.rpartition("/")[2].removesuffix(ENDING): _object(info)
            for name, info in listed.items()
            if name.endswith(ENDING)
        }

    def _path(self, unit_id: str) -> str:
        return f"{self.place}/{unit_id}{ENDING}"

    def _failed(self, what: str, error: Exception) -> StoreError:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return StoreError(
            f"{self.place}: cannot be {what} ({type(error).__name__}: {reason}). Check the address and your "
            "credentials for it; then run again: finished work is kept."
        )

    def create(self) -> None:
        """Makes the bucket where it is missing; a prefix needs no making."""
        bucket = self.place.partition("://")[2].partition("/")[0]
        try:
            if not self._files.exists(bucket):
                self._files.mkdir(bucket)
        except StoreError:
            raise
        except Exception as error:
            raise self._failed("made", error) from error

    def write(self, unit_id: str, data: Any) -> Found:
        """Puts a shard in one request; it appears when all of it is there."""
        try:
            self._files.pipe_file(self._path(unit_id), bytes(data))
            self._files.invalidate_cache()
            found = _object(self._files.info(self._path(unit_id)))
        except StoreError:
            raise
        except Exception as error:
            raise self._failed("written", error) from error
        if "_listed" in self.__dict__:
            self._listed[unit_id] = found
        return found

    def read(self, unit_id: str) -> bytes:
        """All bytes of a shard."""
        try:
            return bytes(self._files.cat_file(self._path(unit_id)))
        except FileNotFoundError:
            raise StoreError(f"{self._path(unit_id)}: missing. Run the study again.") from None
        except StoreError:
            raise
        except Exception as error:
            raise self._failed("read", error) from error

    def find(self, unit_id: str) -> Found | None:
        """Size and time of change from the listing; None where it is missing."""
        return self._listed.get(unit_id)

    def names(self) -> Iterator[tuple[str, Found]]:
        """Every shard under the prefix."""
        yield from self._listed.items()

    def remove(self, unit_id: str) -> None:
        """Removes an object, if it is there."""
        try:
            with suppress(FileNotFoundError):
                self._files.rm_file(self._path(unit_id))
        except Exception as error:
            raise self._failed("removed", error) from error
        self._listed.pop(unit_id, None)


def _object(info: dict[str, Any]) -> Found:
    changed = info.get("LastModified") or info.get("last_modified") or info.get("updated")
    stamp = getattr(changed, "timestamp", None)
    return Found(int(info["size"]), int(stamp() * 1e9) if stamp is not None else 0)


def open_store(place: str) -> ShardStore:
    """The store of an address: a folder, or s3://, gs:// or abfs:// with a bucket.

    Raises:
        StoreError: another scheme, or no bucket.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return FolderStore(Path(place))
    if scheme == "file":
        return FolderStore(Path(rest))
    if scheme not in SCHEMES:
        raise StoreError(
            f"--shards {place}: {scheme!r} is not an object store known here. Allowed: a folder, "
            f"{', '.join(f'{name}://' for name in SCHEMES)}."
        )
    if not rest.strip("/"):
        raise StoreError(f"--shards {place}: no bucket. Write {scheme}://BUCKET/FOLDER.")
    return BucketStore(place)


def holds(store: ShardStore, unit_id: str, size: int, changed_ns: int, sha256: str) -> bool:
    """Whether a shard is there and is still what was written.

    Size and time of change tell it cheaply; where the time differs, the sha256 decides.
    """
    found = store.find(unit_id)
    if found is None or found.size != size:
        return False
    if found.changed_ns == changed_ns:
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
    # Several machines may write to a shared folder: a process id alone would not tell them apart.
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temp.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
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
