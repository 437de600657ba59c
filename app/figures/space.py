"""A study as a Hugging Face Space of kind Docker: the dashboard, one snapshot, and what builds and serves them.

The Space installs the wheel that is given, and its packages by the lock file inside that wheel. Every text of the
study is escaped where YAML or Markdown is read.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

from app.database import snapshots
from app.figures import pages
from app.figures.source import FigureStudy
from app.figures.whole_folder import BundleError, mark, write_whole

WHEEL = re.compile(r"stepscope-[0-9][0-9A-Za-z.+!_]*-py3-none-any\.whl")
LOCK = "requirements-app.lock"
PORT = 7860
LONGEST_TITLE = 100  # characters
LARGE_FILES = (
    "*.duckdb filter=lfs diff=lfs merge=lfs -text\n*.whl filter=lfs diff=lfs merge=lfs -text\n"
)


def write(study: FigureStudy, wheel: Path, out: Path) -> Path:
    """Write the Space; the folder appears whole or stays as it was.

    Args:
        study: the one to show; its snapshot is copied.
        wheel: of Stepscope, as `make wheel` makes it.
        out: the folder.

    Raises:
        BundleError: the folder holds something else, or the wheel is none of Stepscope.
    """
    lock = _lock_of(wheel)
    snapshot = Path(snapshots.locate(Path(study.path)).path)

    def fill(folder: Path) -> None:
        (folder / "studies").mkdir()
        shutil.copyfile(snapshot, folder / "studies" / f"{_file_name(study)}.duckdb")
        shutil.copyfile(wheel, folder / wheel.name)
        (folder / LOCK).write_bytes(lock)
        (folder / "README.md").write_text(readme(str(study.study["title"])), encoding="utf-8")
        (folder / "Dockerfile").write_text(pages.asset("space-dockerfile.txt"), encoding="utf-8")
        (folder / ".gitattributes").write_text(LARGE_FILES, encoding="utf-8")
        mark(study, folder)

    return write_whole(out, fill)


def readme(title: str) -> str:
    """The Space's card: settings as YAML, and a line for people.

    Args:
        title: of the study, which may hold anything.
    """
    shown = "".join(c for c in " ".join(title.split()) if c.isprintable())[:LONGEST_TITLE]
    settings = {
        "title": shown or "Stepscope",
        "emoji": "\U0001f52c",
        "colorFrom": "blue",
        "colorTo": "gray",
        "sdk": "docker",
        "app_port": PORT,
        "pinned": False,
    }
    # A JSON scalar without control characters is the same scalar of YAML.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
    escaped = re.sub(
        r"([!-/:-@\[-`{-~])", r"\\\1", shown
    )  # ASCII's punctuation, as CommonMark has it
    return "\n".join(["---", *lines, "---", "", f"# {escaped}", "", *_TEXT])


_TEXT = (
    "A study of text-to-image diffusion models, shown by Stepscope: every denoising step over a whole set of prompts.",
    "",
    "Open the direct address of this Space (https://OWNER-NAME.hf.space): the dashboard refuses to be shown in a frame.",
    "Reviews are lost at a restart unless the variable STEPSCOPE_REVIEWS names a folder of persistent storage, such as /data.",
    "",
)


def _file_name(study: FigureStudy) -> str:
    """The study's name, as far as a file may have it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", str(study.study["name"]))[:60].strip("-") or "study"


def _lock_of(wheel: Path) -> bytes:
    """The lock file of the dashboard's packages in a wheel."""
    if not WHEEL.fullmatch(wheel.name) or not wheel.is_file():
        raise BundleError(
            f"--space {wheel} is no wheel of Stepscope (stepscope-VERSION-py3-none-any.whl). Make one with `make wheel`."
        )
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(f"stepscope/{LOCK}")
    except (zipfile.BadZipFile, KeyError) as error:
        raise BundleError(
            f"--space {wheel} is damaged or holds no {LOCK}: {error}. Make a new one with `make wheel`."
        ) from error
