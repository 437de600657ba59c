"""Dockerfiles without a container engine: read, and their COPY and RUN run in a folder that stands for the image."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

KEYWORDS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One FROM and its instructions.

    Attributes:
        name: after AS.
        base: an image, or the name of an earlier stage.
        instructions: (keyword, all that follows it), in their order.
    """

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, keyword: str) -> list[str]:
        return [text for word, text in self.instructions if word == keyword]

    def last(self, keyword: str) -> str:
        return self.all(keyword)[-1]

    def command(self, keyword: str) -> list[str]:
        """An ENTRYPOINT, CMD or HEALTHCHECK in exec form."""
        words = json.loads(self.last(keyword)[self.last(keyword).index("[") :])
        assert all(isinstance(word, str) for word in words)
        return list(words)

    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for text in self.all("ENV") for pair in shlex.split(text))

    def copies(self) -> list[tuple[str, list[str], str]]:
        """(stage or "", sources, target) of each COPY."""
        copied = []
        for text in self.all("COPY"):
            words = shlex.split(text)
            options = [word for word in words if word.startswith("--")]
            *sources, target = [word for word in words if not word.startswith("--")]
            (origin,) = [o.removeprefix("--from=") for o in options] or [""]
            copied.append((origin, sources, target))
        return copied


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, each on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    listed = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        keyword, _, rest = line.partition(" ")
        assert keyword in KEYWORDS, f"{keyword!r} is no instruction"
        listed.append((keyword, rest.strip()))
    return listed


def stages(text: str) -> dict[str, Stage]:
    """The stages of a Dockerfile by name, the last one last; ARGs before the first FROM are filled in."""
    defaults: dict[str, str] = {}
    blocks: list[tuple[str, str, list[tuple[str, str]]]] = []
    for keyword, rest in instructions(text):
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            base = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], base)
            blocks.append((name or f"stage{len(blocks)}", base, []))
        elif blocks:
            blocks[-1][2].append((keyword, rest))
        else:
            assert keyword == "ARG"
            name, _, value = rest.partition("=")
            defaults[name] = value
    return {name: Stage(name, base, tuple(block)) for name, base, block in blocks}


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore keeps a file out of the context: the last pattern that matches it or a folder of it decides."""
    ignored = False
    parts = PurePosixPath(path).parts
    heads = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    for pattern in patterns:
        bare = pattern.removeprefix("!").strip("/")
        deep = bare.startswith("**/")
        rule = bare.removeprefix("**/")
        names = parts if deep else [h for h in heads if h.count("/") == rule.count("/")]
        if any(fnmatch.fnmatchcase(name, rule) for name in names):
            ignored = not pattern.startswith("!")
    return ignored


def context(root: Path) -> list[str]:
    """The files of a clone that a build is given."""
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [n for n in listed if (root / n).is_file() and not is_ignored(n, patterns)]


def chosen(source: str, files: list[str]) -> list[tuple[str, str]]:
    """(file, name below the target) of the files that a COPY source names."""
    if source.endswith("/"):
        return [(f, f.removeprefix(source)) for f in files if f.startswith(source)]
    return [
        (f, PurePosixPath(f).name)
        for f in files
        if f.count("/") == source.count("/") and fnmatch.fnmatchcase(f, source)
    ]


def build(root: Path, stage: Stage, folder: Path) -> None:
    """Runs the COPY and RUN of a stage; `folder`/<its name> stands for its root.

    Args:
        root: of the clone, from whose build context COPY takes files.
        stage: whose paths all begin with /src, /dist or /opt/stepscope.
        folder: holds the stages that were built before.
    """
    image = folder / stage.name
    work = image / stage.last("WORKDIR").strip("/")
    work.mkdir(parents=True)
    copies = iter(stage.copies())
    for keyword, text in stage.instructions:
        if keyword == "COPY":
            _copy(root, next(copies), folder, image, work)
        elif keyword == "RUN":
            placed = re.sub(r"(?<![\w./*])/(?=(?:src|dist|opt/stepscope)\b)", f"{image}/", text)
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            subprocess.run(["sh", "-ec", placed], cwd=work, env=os.environ | {"PATH": path}, check=True)  # fmt: skip


def _copy(root: Path, copied: tuple[str, list[str], str], folder: Path, image: Path, work: Path) -> None:  # fmt: skip
    origin, sources, target = copied
    destination = image / target.strip("/") if target.startswith("/") else work / target
    for source in sources:
        if origin:
            shutil.copytree(folder / origin / source.strip("/"), destination, dirs_exist_ok=True)
            continue
        files = chosen(source, context(root))
        assert files, f"COPY {source}: no such file in the build context"
        for file, name in files:
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, destination / name)
