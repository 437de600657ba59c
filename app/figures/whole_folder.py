"""A folder that is made whole or not at all: of a static site, of a Space."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.figures.source import FigureStudy

MARK = "stepscope-bundle.json"
"""What a folder that was written here holds; only such a folder is replaced."""


class BundleError(Exception):
    """A folder that cannot be written."""


def write_whole(out: Path, write: Callable[[Path], None]) -> Path:
    """Write a folder; it appears whole or stays as it was.

    Args:
        out: the folder; an earlier one is replaced.
        write: fills an empty folder, with `mark` among it.

    Raises:
        BundleError: the folder holds something else.
    """
    if out.exists() and not (out / MARK).exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"--out {out} is not empty and no bundle. Name a new folder.")
    if (out / ".git").exists():
        raise BundleError(f"--out {out} is a Git repository, which would be replaced. Name another folder.")  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        folder.chmod(0o755)
        write(folder)
        old = out.with_name(f".{out.name}-old")
        if out.exists():
            out.replace(old)
        folder.replace(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return out


def mark(study: FigureStudy, folder: Path) -> None:
    """Note in a folder which study it was made of."""
    made_of = {
        "study": str(study.study["name"]),
        "content_hash": str(study.study["content_hash"]),
    }
    (folder / MARK).write_text(json.dumps(made_of) + "\n", encoding="utf-8")
