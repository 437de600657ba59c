"""Opens, makes and removes the files of a results folder, which somebody else may have made.

One rule holds for every file: it is a regular file in a real folder. Links are not followed, pipes and devices are not
opened, what is read has a limit, new files are made exclusively under names that cannot be foreseen, and only what
has one of our names and is a regular file is removed. The folder above may be reached through links: the user named it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
IN_PLACE = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_JSON = 2**26  # bytes of a record; that of 20,000 concepts has 4 MB
DENSE = 2**26  # bytes from which a file that is nearly all holes is refused
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{1,32}\.tmp", re.DOTALL)


class UnsafeFileError(OSError):
    """What lies at a path is not a file that Stepscope would have written there."""

    def __init__(self, problem: str) -> None:
        super().__init__(errno.EPERM, problem)


def open_regular(path: Path, most: int | None = None) -> BufferedReader:
    """Opens a file to read.

    Args:
        path: the file; its folder must not be a link.
        most: bytes that it may have; None = any number, holes left out.

    Raises:
        UnsafeFileError: it is a link, a pipe, a device or a folder, too big, or nearly all holes.
        OSError: it is missing, or cannot be read.
    """
    with folder_handle(path.parent) as folder:
        handle = _open(path.name, READ, folder)
    try:
        _refuse_size(handle, most)
        return BufferedReader(FileIO(handle, "rb"))
    except OSError:
        os.close(handle)
        raise


def read_capped(path: Path, most: int = MAX_JSON) -> bytes:
    """All bytes of a file. Raises OSError as `open_regular` does."""
    with open_regular(path, most) as file:
        return file.read(most + 1)[:most]  # one that grows meanwhile is cut


def open_in_place(path: Path, make: bool = True) -> FileIO:
    """Opens a file to read and to write where it lies; an empty one is made if need be.

    Raises:
        UnsafeFileError: it is no regular file, has a second name elsewhere, or is another user's than the folder.
        OSError: it cannot be opened.
    """
    with folder_handle(path.parent) as folder:
        try:
            handle = _open(path.name, IN_PLACE, folder)
        except FileNotFoundError:
            if not make:
                raise
            try:
                handle = os.open(path.name, IN_PLACE | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
            except FileExistsError:  # another process has made it just now
                handle = _open(path.name, IN_PLACE, folder)
        owners = {os.geteuid(), os.fstat(folder).st_uid}
    status = os.fstat(handle)
    if status.st_nlink > 1 or status.st_uid not in owners:
        os.close(handle)
        raise UnsafeFileError(
            "has a second name (a hard link), or belongs to another user than its folder"
        )
    return FileIO(handle, "r+b")


def replace_whole(path: Path, data: Any) -> None:
    """Writes a file that appears whole or not at all, and is on the disk afterwards. What had its name is replaced.

    Raises:
        OSError: says what the system said; nothing is left behind.
    """
    with folder_handle(path.parent) as folder:
        # Several machines may write to a shared folder: a process id alone would not tell them apart.
        temp = f".{path.name}.{secrets.token_hex(8)}.tmp"
        handle = os.open(temp, NEW, 0o644, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temp, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp, dir_fd=folder)
            raise


def make_folder(path: Path) -> None:
    """Makes a folder in a folder, if it is not there.

    Raises:
        UnsafeFileError: something else has its name, such as a link.
        OSError: it cannot be made.
    """
    with folder_handle(path.parent) as above, suppress(FileExistsError):
        os.mkdir(path.name, dir_fd=above)
    with folder_handle(path):
        pass


def make_build_folder(above: Path) -> Path:
    """Makes a new folder that nobody else writes to, under a name that cannot be foreseen."""
    path = above / f".build.{secrets.token_hex(8)}.tmp"
    with folder_handle(above) as folder:
        os.mkdir(path.name, 0o700, dir_fd=folder)
    return path


def move(path: Path, target: Path) -> None:
    """Moves a file within one file system; what had the target's name is replaced. Durable afterwards."""
    with folder_handle(path.parent) as source, folder_handle(target.parent) as folder:
        os.rename(path.name, target.name, src_dir_fd=source, dst_dir_fd=folder)
        os.fsync(folder)


def regular_files(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, os.stat_result]]:
    """The regular files of a folder whose names are of a kind; none where the folder is missing.

    Raises:
        UnsafeFileError: the folder is a link or no folder.
    """
    try:
        with folder_handle(folder) as handle, os.scandir(handle) as entries:
            for entry in entries:
                if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield folder / entry.name, entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return


def is_regular(path: Path) -> bool:
    """Whether a regular file lies there, in a real folder."""
    try:
        with folder_handle(path.parent) as folder:
            status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
            return stat.S_ISREG(status.st_mode)
    except (OSError, ValueError):
        return False


def check_regular(path: Path) -> None:
    """Raises OSError as `open_regular` does; for files that another library opens by name."""
    open_regular(path).close()


def remove(path: Path) -> bool:
    """Removes a regular file. Returns whether it was there; anything else of that name stays.

    Raises:
        OSError: it cannot be removed.
    """
    if not is_regular(path):
        return False
    with folder_handle(path.parent) as folder, suppress(FileNotFoundError):
        os.unlink(path.name, dir_fd=folder)
    return True


def remove_folders(above: Path, pattern: re.Pattern[str]) -> None:
    """Removes the folders of a folder whose names are of a kind, with all in them; links in them are not followed."""
    with suppress(FileNotFoundError), folder_handle(above) as handle:
        with os.scandir(handle) as entries:
            names = [
                entry.name
                for entry in entries
                if pattern.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
        for name in names:
            shutil.rmtree(name, ignore_errors=True, dir_fd=handle)


@contextmanager
def folder_handle(path: Path) -> Iterator[int]:
    """A folder that is not itself a link, as a descriptor: names in it cannot lead elsewhere meanwhile.

    Raises:
        UnsafeFileError: it is a link, or no folder.
        OSError: it is missing, or closed to us.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            what = "a link" if path.is_symlink() else "not a folder"
            raise UnsafeFileError(f"{path.name} is {what}") from None
        raise
    try:
        yield handle
    finally:
        os.close(handle)


def _open(name: str, flags: int, folder: int) -> int:
    """Opens what is a regular file before and after: opening a device can already do something."""
    _refuse_special(os.stat(name, dir_fd=folder, follow_symlinks=False))
    handle = os.open(name, flags, dir_fd=folder)
    try:
        _refuse_special(os.fstat(handle))
    except OSError:
        os.close(handle)
        raise
    return handle


KINDS = {
    stat.S_IFLNK: "is a link, and links in a results folder are not followed",
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError(KINDS.get(stat.S_IFMT(status.st_mode), "is no regular file"))


def _refuse_size(handle: int, most: int | None) -> None:
    status = os.fstat(handle)
    if most is not None and status.st_size > most:
        raise UnsafeFileError(f"has {status.st_size:,} bytes, at most {most:,} are read")
    on_disk = 512 * status.st_blocks
    if (
        status.st_size > DENSE
        and on_disk < status.st_size // 64
        and _has_hole(handle, status.st_size)
    ):
        raise UnsafeFileError(f"has {status.st_size:,} bytes, of which {on_disk:,} are on the disk")


def _has_hole(handle: int, size: int) -> bool:
    """False on file systems that do not tell."""
    try:
        return os.lseek(handle, 0, os.SEEK_HOLE) < size
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
