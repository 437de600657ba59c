"""Every public name of `stepscope` is documented, its examples run, and so do docs/python.md and the notebooks."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stepscope
from stepscope.pictures import Maps, Pictures
from stepscope.study import Study
from stepscope.watched import Watched

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
MODULES = sorted(path.stem for path in (ROOT / "stepscope").glob("*.py") if path.stem not in ("__main__", "__init__"))  # fmt: skip
RECORDS = (Study, Watched, Pictures, Maps)
QUIET = {
    "close",
    "arrow",
    "sheet",
    "picture",
    "add",
}  # raise nothing of their own, or as the method that they name


def public() -> Iterator[tuple[str, Any]]:
    """The names that docs/python.md lists: of the package, and the methods and properties of what it returns."""
    for name in stepscope.__all__:
        yield f"stepscope.{name}", getattr(stepscope, name)
    for kind in RECORDS:
        yield kind.__name__, kind
        for name, member in vars(kind).items():
            if (
                not name.startswith("_")
                and name != "add"
                and (callable(member) or isinstance(member, property))
            ):
                yield f"{kind.__name__}.{name}", member


@pytest.mark.parametrize(
    ("name", "member"), list(public()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_public_name_is_documented(name: str, member: Any) -> None:
    """What it returns, each argument, and what it raises."""
    text = inspect.getdoc(member) or ""
    assert len(text.split()) >= 4
    if not inspect.isfunction(member):
        return
    parameters = [p for p in inspect.signature(member).parameters.values() if p.name != "self"]
    if len(parameters) > 1 and "Arguments and errors as" not in text and "As `" not in text:
        for parameter in parameters:
            stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
            assert re.search(rf"^    {re.escape(stars + parameter.name)}: \S", text, re.MULTILINE), parameter.name  # fmt: skip
    short = name.split(".")[-1]
    assert short in QUIET or "Raises:\n    StudyError: " in text or "errors as" in text


def test_the_page_lists_every_public_name() -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    names = [name.split(".")[-1] for name, _ in public() if "." in name]
    assert not [name for name in names if not re.search(rf"[.`]{name}\b", page)]


def test_the_examples_in_docstrings_run(results: Path) -> None:
    attempted = 0
    with stepscope.open(results) as study:
        for name in MODULES:
            module = importlib.import_module(f"stepscope.{name}")
            for test in doctest.DocTestFinder().find(module, extraglobs={"study": study}):
                report = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
                assert not report.failed, test.name
                attempted += report.attempted
    assert attempted >= 9


def test_the_code_in_the_page_runs(results: Path, tmp_path: Path) -> None:
    """All blocks in order, in a folder that has the study as data/results/demo and the bundled models."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "results").symlink_to(results.parent)  # whose name is demo
    (tmp_path / "data" / "models").symlink_to(ROOT / "data" / "models")
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert len(blocks) >= 4
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, results: Path, tmp_path: Path) -> None:
    out = tmp_path / notebook.name
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.notebooks", str(notebook), str(out), str(results)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"output_type": "display_data"' in out.read_text() or "execute_result" in out.read_text()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(notebook: Path) -> None:
    text = notebook.read_text()
    assert '"outputs": []' in text and '"output_type"' not in text and '"execution_count": 1' not in text  # fmt: skip


def test_there_are_notebooks_for_both_uses() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["explore", "watch"]
