"""The wheel's code is the clone's, under another name; its pins and the lock are the requirements files'."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import wheel

ROOT = Path(__file__).resolve().parents[1]
CODE = [path for tree in ("app", "pipeline", "stepscope") for path in (ROOT / tree).rglob("*.py")]


@pytest.mark.parametrize(
    ("code", "packaged"),
    [
        ("from app.ui import queries\n", "from stepscope.app.ui import queries\n"),
        ("from app import hosts\n", "from stepscope.app import hosts\n"),
        ("import app as dashboard\n", "import stepscope.app as dashboard\n"),
        ("import os, pipeline.cli.main as c\n", "import os, stepscope.pipeline.cli.main as c\n"),
        (
            "def f():\n    x = 'é'; from pipeline.errors import (\n        A,\n        B)\n",
            "def f():\n    x = 'é'; from stepscope.pipeline.errors import (\n        A,\n        B)\n",
        ),
        ('s = "`python -m pipeline publish D`"\n', 's = "`stepscope publish D`"\n'),
        ("s = f'python -m pipeline publish {x!r} é'\n", "s = f'stepscope publish {x!r} é'\n"),
        ('s = """a\npython -m app.figures.site X\n"""\n', 's = """a\nstepscope site X\n"""\n'),
        ("s = ('make demo', 'é', 'make app')\n", "s = ('stepscope run data/studies/demo.toml', 'é', 'stepscope app')\n"),
        ("s = 'streamlit run app/main.py -- D'\n", "s = 'stepscope app D'\n"),
        ("s = 'python -m app.database.importing D'\n", "s = 'stepscope import D'\n"),
        ("s = 'python -m pipeline.bench.tools'\n", "s = 'python -m stepscope.pipeline.bench.tools'\n"),
    ],
)  # fmt: skip
def test_imports_and_commands_are_those_of_the_wheel(code: str, packaged: str) -> None:
    assert wheel.repackage(code) == packaged


@pytest.mark.parametrize(
    "code",
    [
        "# from app.ui import queries: python -m pipeline\n",
        "s = 'from app.ui import queries'\n",
        "from apparatus import app\nfrom .app import x\nimport appdirs, pipelines\n",
        "app.pipeline = pipeline.app\n",
        "s = 'make figures of it', 'python -m pipelines'\n",
    ],
)
def test_all_else_stays(code: str) -> None:
    assert wheel.repackage(code) == code


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("\nimport app.hosts\n", "m.py:2: .*import app.hosts as NAME"),
        ("c = ['-m', 'pipeline.bench.tools']\n", "m.py:1: 'pipeline.bench.tools' .*__package__"),
        ("from \\\n  app import x\n", "m.py:1: .*on one line"),
    ],
)
def test_what_would_break_in_the_wheel_is_refused(code: str, advice: str) -> None:
    with pytest.raises(wheel.WheelError, match=advice):
        wheel.repackage(code, "m.py")


class Renamed(ast.NodeTransformer):
    """The same on the syntax tree: what the text of the wheel's code must parse to."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if not node.level and str(node.module).split(".")[0] in ("app", "pipeline"):
            node.module = f"stepscope.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            if alias.name.split(".")[0] in ("app", "pipeline"):
                alias.name = f"stepscope.{alias.name}"
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):  # one in quotes is a command as a whole
            node.value = wheel.installed(f"'{node.value}'")[1:-1]
        return node


@pytest.mark.long
def test_every_module_is_the_same_but_for_its_names() -> None:
    for path in CODE:
        code = path.read_text("utf-8")
        packaged = ast.parse(wheel.repackage(code, str(path)))
        assert ast.dump(packaged) == ast.dump(Renamed().visit(ast.parse(code))), path


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel") / "stepscope"
    wheel.assemble(ROOT, folder)
    return folder


def test_all_files_of_the_clone_are_in_it(package: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "app", "pipeline", "data", "stepscope"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    wanted = {
        name.removeprefix("stepscope/") for name in listed if not name.startswith("data/reference")
    }
    assert len(wanted) > 300
    packaged = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert not {name for name in wanted if (ROOT / name).exists()} - packaged
    settings = package / "app" / ".streamlit" / "config.toml"
    assert settings.read_bytes() == (ROOT / ".streamlit" / "config.toml").read_bytes()


def test_no_text_of_it_names_a_command_of_the_clone(package: Path) -> None:
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [each.value for each in parts if isinstance(each, ast.Constant)]
            text = "".join(each for each in texts if isinstance(each, str))
            assert not re.search(r"python -m (app|pipeline)|app/main\.py|^make [a-z]+$", text), path


def test_the_commit_is_recorded(package: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert (package / "commit.txt").read_text().rstrip("+") == head.stdout.strip()


def test_extras_are_the_requirements_files() -> None:
    extras = wheel.extras(ROOT)
    base = set(wheel.requirements(ROOT, "requirements-app.txt"))
    assert list(extras) == ["run", "ray", "dev"]
    assert "streamlit" in names(base) and "torch" not in names(base)
    assert {"torch", "diffusers"} <= names(extras["run"]) and not set(extras["run"]) & base
    assert names(extras["ray"]) - names(extras["run"]) == {"ray", "s3fs"}
    assert set(extras["dev"]) > set(extras["ray"])
    lines = {
        line
        for file in ("requirements", "requirements-app", "requirements-ray", "requirements-dev")
        for line in (ROOT / f"{file}.txt").read_text().splitlines()
        if line and line[0] not in "#-"
    }
    assert base | set(extras["dev"]) == lines


def names(pins: set[str] | list[str]) -> set[str]:
    return {canonicalize_name(Requirement(pin).name) for pin in pins}


@cache
def locked(file: str) -> dict[str, list[Requirement]]:
    """The entries of a lock file by package; one with several versions has a marker for each."""
    text = (ROOT / file).read_text()
    entries: dict[str, list[Requirement]] = {}
    for entry, hashes in re.findall(r"^([a-z].*?) \\\n((?:    --hash=.*\n)+)", text, re.MULTILINE):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}( \\)?\n", hashes), entry
        requirement = Requirement(entry)
        entries.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    assert sum(map(len, entries.values())) == len(re.findall(r"^[a-z].*==", text, re.MULTILINE))
    return entries


def version_here(file: str, name: str) -> str:
    """The version that a lock file gives a package in this environment."""
    (entry,) = (e for e in locked(file)[name] if not e.marker or e.marker.evaluate())
    (version,) = (each.version for each in entry.specifier)
    return version


def needed(pins: list[str]) -> Iterator[Requirement]:
    """What installed packages require, and what that requires."""
    seen: set[tuple[str, str]] = set()
    queue = [(Requirement(pin), "") for pin in pins]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield requirement
        name = canonicalize_name(requirement.name)
        for each in {"", *requirement.extras}:
            if (name, each) not in seen:
                seen.add((name, each))
                queue += [(Requirement(line), each) for line in metadata.requires(name) or ()]


@pytest.mark.parametrize(
    ("file", "lock"),
    [
        ("requirements-app.txt", "requirements-app.lock"),
        ("requirements.txt", "requirements.lock"),
        ("requirements.txt", "requirements-run.lock"),
        ("requirements-dev.txt", "requirements.lock"),
    ],
)
def test_the_lock_satisfies_the_requirements(file: str, lock: str) -> None:
    """`make lock` writes it anew."""
    pins = [*wheel.requirements(ROOT, "requirements-app.txt"), *wheel.requirements(ROOT, file)]
    for requirement in needed(pins):
        version = version_here(lock, canonicalize_name(requirement.name))
        assert requirement.specifier.contains(version, prereleases=True), requirement


@pytest.mark.parametrize("part", ["requirements-app.lock", "requirements-run.lock"])
def test_the_locks_agree(part: str) -> None:
    for name, entries in locked(part).items():
        assert {str(e.specifier) for e in entries} <= {
            str(e.specifier) for e in locked("requirements.lock")[name]
        }
    assert ("torch" in locked(part)) == (part == "requirements-run.lock")
    assert not {"pytest", "ray", "mypy"} & set(locked(part))
