"""Opens files below a folder that somebody else may have made: no link is followed, and every read has a limit."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path, PurePosixPath

from pipeline.errors import ModelError
from pipeline.study.settings import show

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
MAX_IMAGE = 2**26  # bytes of an encoded image
MAX_LIST = 2**30  # bytes of a list of images
MAX_FILES = 10_000_000
MAX_DEPTH = 16  # folders in each other

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def check_name(name: str, where: str) -> str:
    """A file's name as it may stand in a list: relative to the list's folder, and not above it.

    Raises:
        ModelError: it leads out of the folder, or is none.
    """
    parts = PurePosixPath(name).parts
    inside = parts and not name.startswith("/") and ".." not in parts and "\0" not in name
    if not inside or len(parts) > MAX_DEPTH or any(len(part.encode()) > 255 for part in parts):
        raise ModelError(
            f"{where}: {show(name)} is not a file in the folder of that list. Paths are relative to it, and do not lead out "
            "of it; put the list above the images."
        )
    return PurePosixPath(*parts).as_posix()


def open_below(root: Path, name: str, most: int) -> BufferedReader:
    """Opens a regular file below a folder. The folder itself may be reached through links: the user named it.

    Args:
        root: the folder.
        name: as `check_name` gives it.
        most: bytes that the file may have.

    Raises:
        OSError: it is missing, a link, reached through a link, a pipe, a device, or too big.
    """
    *folders, last = PurePosixPath(name).parts
    with _folder(root, folders) as folder:
        status = os.stat(last, dir_fd=folder, follow_symlinks=False)
        _refuse(status, most)
        handle = os.open(last, _FILE, dir_fd=folder)
    try:
        _refuse(os.fstat(handle), most)
        return BufferedReader(FileIO(handle, "rb"))
    except OSError:
        os.close(handle)
        raise


def read_below(root: Path, name: str, most: int) -> bytes:
    """All bytes of a file below a folder. Raises OSError as `open_below` does."""
    with open_below(root, name, most) as file:
        # A buffer of its size: one of the limit would be 64 MiB for each image. What grows meanwhile is cut.
        return file.read(min(os.fstat(file.fileno()).st_size, most))


def names_below(root: Path) -> list[str]:
    """The names of all files below a folder, links included and not followed, hidden ones left out; sorted.

    Raises:
        ModelError: there are too many, or folders too deep in each other.
        OSError: a folder cannot be read.
    """
    names: list[str] = []
    with _folder(root, []) as handle:
        for name in _walk(handle, "", 0):
            names.append(name)
            if len(names) > MAX_FILES:
                raise ModelError(f"{root}: over {MAX_FILES:,} files. Give a part of them.")
    return sorted(names)


def _walk(folder: int, above: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ModelError(f"{above}: over {MAX_DEPTH} folders in each other. Give the inner one.")
    with os.scandir(folder) as entries:
        listed = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]
    for name, is_folder in listed:
        if name.startswith("."):
            continue
        if not is_folder:
            yield above + name
            continue
        handle = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        try:
            yield from _walk(handle, f"{above}{name}/", depth + 1)
        finally:
            os.close(handle)


@contextmanager
def _folder(root: Path, parts: list[str]) -> Iterator[int]:
    """A folder below the root as a descriptor, reached without following links."""
    handle = os.open(root, _FOLDER)
    try:
        for part in parts:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def _refuse(status: os.stat_result, most: int) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError("is a link, and links are not followed")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("is no regular file")
    if status.st_size > most:
        raise OSError(f"has {status.st_size:,} bytes, at most {most:,} are read")


def describe(error: Exception) -> str:
    """What an error says, without a path of this machine."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split())[:200] or type(error).__name__
