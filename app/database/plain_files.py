"""Files of a results folder, which a stranger may have made: regular files only, no links, no more than a limit."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

# O_NONBLOCK: opening a pipe that nobody writes to would wait for ever. Windows has neither flag.
FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_plain(path: Path) -> BufferedReader:
    """A regular file, opened for reading.

    Raises:
        OSError: it is missing, a link, or anything but a regular file; or its folder is a link.
    """
    if path.parent.is_symlink():
        raise OSError(f"{path.parent} is a link")
    descriptor = os.open(path, FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: as `open_plain`, or the file is longer than `most` bytes.
    """
    with open_plain(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(f"{path} has more than {most} bytes")
    return data


def is_plain(path: Path) -> bool:
    """Whether it is a regular file and neither it nor its folder is a link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode) and not path.parent.is_symlink()
    except OSError:
        return False
