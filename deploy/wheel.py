"""The wheel: `app` and `pipeline` of the clone as `stepscope.app` and `stepscope.pipeline`. hatchling runs this file.

The clone stays as it is; what goes into the wheel is written anew: imports and module names get the prefix `stepscope.`,
and messages name the command that an installation has (`stepscope publish`, not `python -m pipeline publish`).
Both are found by Python's own parser, never by a search through the text of a file.
"""

from __future__ import annotations

import ast
import io
import os
import re
import shutil
import subprocess
import tempfile
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

PACKAGE = "stepscope"
INNER = ("app", "pipeline")
"""Packages of the clone that become packages of PACKAGE."""
CODE = frozenset({".py", ".sql", ".html", ".css", ".js", ".svg", ".ttf", ".woff2", ".webp", ".txt"})
"""Endings of what is copied from them; the rest is caches and editors' files."""
DATA = ("concepts", "models", "prompts", "scores", "sprites", "studies")
"""Folders of `data` that come along: the bundled models, the studies that use them, and a script that scores."""
FILES = {
    ".streamlit/config.toml": "app/.streamlit/config.toml",  # where Streamlit looks for the settings of a script
    "docs/methods.md": "docs/methods.md",  # the Measures page shows it
    "requirements.lock": "requirements.lock",
    "requirements-app.lock": "requirements-app.lock",  # of a Space
}
EXTRAS = {
    "run": "requirements.txt",
    "ray": "requirements-ray.txt",
    "dev": "requirements-dev.txt",
}
BASE = "requirements-app.txt"
COMMIT = "commit.txt"

COMMANDS: tuple[tuple[str, str], ...] = (
    (r"python -m app\.figures\.site\b", "stepscope site"),
    (r"python -m app\.figures\.gate\b", "stepscope gate"),
    (r"python -m app\.figures(?![\w.])", "stepscope figures"),
    (r"python -m app\.database\.backup\b", "stepscope backup"),
    (r"python -m app\.database\.importing\b", "stepscope import"),
    (r"python -m pipeline(?![\w.])", "stepscope"),
    (r"python -m (app|pipeline)\.", r"python -m stepscope.\1."),
    (r"streamlit run app/main\.py(?: --(?= ))?", "stepscope app"),
    (r"""(?<=["'`])make demo(?=["'`])""", "stepscope run data/studies/demo.toml"),
    (r"""(?<=["'`])make app(?=["'`])""", "stepscope app"),
    (r"""(?<=["'`])make figures(?=["'`])""", "stepscope figures"),
    (r"""(?<=["'`])git pull(?=["'`])""", "pip install --upgrade stepscope"),
)
"""A command of the clone, as texts name it, and the same of an installation."""


class WheelError(Exception):
    """Code that cannot be packaged as it is: the file, the line, and what to write instead."""


def repackage(code: str, name: str = "<code>") -> str:
    """A module of the clone as it stands in the wheel.

    Args:
        code: the module's text.
        name: of its file, for errors.

    Raises:
        WheelError: it imports or names a module in a way that has no equivalent under PACKAGE.
    """
    tree = ast.parse(code, name)
    lines = code.splitlines(keepends=True)
    places = [*_imports(tree, lines, name), *_texts(code)]
    for (row, start), (end_row, end), text in sorted(places, reverse=True):
        head, tail = lines[row - 1][:start], lines[end_row - 1][end:]
        lines[row - 1 : end_row] = [head + text + tail]
    repackaged = "".join(lines)
    _check(ast.parse(repackaged, name), name)
    return repackaged


Place = tuple[tuple[int, int], tuple[int, int], str]
"""From where to where (line from 1, column in characters), and what stands there in the wheel."""


def _inner(module: str) -> bool:
    return module.split(".")[0] in INNER


def _imports(tree: ast.Module, lines: list[str], name: str) -> Iterator[Place]:
    """The names of modules in the import statements."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and _inner(node.module or ""):
            row = node.lineno
            column = _column(lines[row - 1], node.col_offset) + len("from ")
            if not lines[row - 1].startswith(str(node.module), column):
                raise WheelError(f"{name}:{row}: write `from {node.module} import` on one line.")
            yield (row, column), (row, column), f"{PACKAGE}."
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if not _inner(alias.name):
                    continue
                if not alias.asname:
                    raise WheelError(
                        f"{name}:{alias.lineno}: `import {alias.name}` binds another name in the wheel. Write "
                        f"`from PACKAGE import MODULE`, or `import {alias.name} as NAME`."
                    )
                line = lines[alias.lineno - 1]
                place = (alias.lineno, _column(line, alias.col_offset))
                yield place, place, f"{PACKAGE}."


def _column(line: str, offset: int) -> int:
    """A column that ast counts in bytes of UTF-8, in characters."""
    return len(line.encode()[:offset].decode())


def _texts(code: str) -> Iterator[Place]:
    """The texts that name a command of the clone; a text over several lines is one place."""
    kinds = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type in kinds and (text := installed(token.string)) != token.string:
            yield (
                token.start,
                token.end,
                text,
            )  # Python's own columns: `repackage` parses the result


def installed(text: str) -> str:
    """A text with the commands that an installation has."""
    for pattern, command in COMMANDS:
        text = re.sub(pattern, command, text)
    return text


def _check(tree: ast.Module, name: str) -> None:
    """Refuses a module's name as text: nothing says whether it is to be imported."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if re.fullmatch(r"(app|pipeline)(\.[a-z_]+)+", text := node.value):
            raise WheelError(
                f"{name}:{node.lineno}: {text!r} names a module of the clone. Derive the name from __package__ or "
                "__name__, which are right in both."
            )


def assemble(root: Path, target: Path) -> None:
    """Writes the package PACKAGE into a folder.

    Args:
        root: of the clone, or of a source distribution.
        target: a new folder, which becomes PACKAGE.

    Raises:
        WheelError: as of `repackage`.
    """
    for tree in (PACKAGE, *INNER):
        for path in sorted((root / tree).rglob("*")):
            if path.is_file() and (path.suffix in CODE or path.name == "py.typed"):
                inside = path.relative_to(root / PACKAGE if tree == PACKAGE else root)
                _write(path, target / inside, str(path.relative_to(root)))
    for folder in DATA:
        shutil.copytree(root / "data" / folder, target / "data" / folder)
    for name, place in FILES.items():
        _write(root / name, target / place, name)
    (target / COMMIT).write_text(commit(root))


def _write(path: Path, target: Path, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".py":
        target.write_text(repackage(path.read_text("utf-8"), name), "utf-8")
    elif path.suffix in (".md", ".html"):
        target.write_text(installed(path.read_text("utf-8")), "utf-8")
    else:
        shutil.copyfile(path, target)


def commit(root: Path) -> str:
    """The commit that the wheel is built from, with "+" where files differ from it.

    Without git, in a container's build, the environment variable STEPSCOPE_COMMIT names it; "" where nothing does.
    """
    if not (root / ".git").exists():
        named = os.environ.get("STEPSCOPE_COMMIT", "")
        return named if re.fullmatch(r"[0-9a-f]{40,64}\+?", named) else ""
    try:
        return _git(root, "rev-parse", "HEAD") + (
            "+" if _git(root, "status", "--porcelain", "-uno") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


def requirements(root: Path, file: str) -> list[str]:
    """The pins of a requirements file and of those that it includes, each once.

    Those of BASE are left out of the others: every installation has them.
    """
    pins: dict[str, None] = {}
    for line in (root / file).read_text().splitlines():
        pin = line.partition("#")[0].strip()
        if pin.startswith("-r "):
            included = pin.removeprefix("-r ").strip()
            pins |= dict.fromkeys(requirements(root, included) if included != BASE else ())
        elif pin:
            pins[pin] = None
    return list(pins)


class Dependencies(MetadataHookInterface):
    """The wheel's dependencies, which are pinned in the requirements files and nowhere else."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with the table `project`."""
        root = Path(self.root)
        metadata["dependencies"] = requirements(root, BASE)
        metadata["optional-dependencies"] = extras(root)


def extras(root: Path) -> Mapping[str, list[str]]:
    """The dependencies of each extra; `ray` runs studies too."""
    pins = {name: requirements(root, file) for name, file in EXTRAS.items()}
    pins["ray"] = [*pins["run"], *pins["ray"]]
    return pins


class Wheel(BuildHookInterface):
    """Has hatchling pack what `assemble` writes."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is packed; an editable one is the clone itself."""
        if version == "editable":
            build_data["force_include_editable"] = {}
            return
        self.folder = tempfile.TemporaryDirectory()
        assemble(Path(self.root), Path(self.folder.name) / PACKAGE)
        build_data["force_include"][f"{self.folder.name}/{PACKAGE}"] = PACKAGE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when the wheel is packed."""
        if version != "editable":
            self.folder.cleanup()
