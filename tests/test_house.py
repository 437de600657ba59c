"""The house: arrows point down, modules and functions stay small, private names private, requirements needed."""

import ast
import builtins
import re
import shutil
import subprocess
import symtable
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support import order, sizes

ROOT = Path(__file__).parents[1]
TREES = ("pipeline", "app", "stepscope")
MOST_LINES = {"module": 500, "function": 60}
LONG, MOST_LONG = 40, 10  # lines of a long function, and how many of them a tree may have
# Named by tools or loaded by other packages, not imported here.
NEEDED_BY_OTHERS = {
    "accelerate",  # diffusers and transformers: weights, offload
    "torchsde",  # schedulers of diffusers that a study may name
    "torchvision",  # open_clip
    "s3fs",  # fsspec: s3://
    "flask", "flask-cors", "moto",  # the S3 server of the tests, a process of its own
    "beartype", "hatchling", "import-linter", "ipykernel", "mypy", "pre-commit", "pytest-timeout", "pytest-xdist", "ruff",
}  # fmt: skip
# They say how something was come by, not what it is; the noun does. `unit` is one of measurement or of statistics.
HIDING_NOUNS = {
    "found",
    "given",
    "made",
    "own",
    "place",
    "places",
    "told",
    "unit",
    "units",
    "upkeep",
}
MORE_OF = {"app": set(), "stepscope": set(), "tests": set(), "pipeline": {"held", "kept", "whole"}}
NAMES_ALLOWED = {
    ("app/analysis/chance.py", "unit"),  # what n counts: prompts, scenes
    ("app/charts/tools.py", "unit"),  # the same
    ("pipeline/preflight/estimate.py", "unit"),  # of measurement: h, MB
    ("pipeline/database/export.py", "unit"),  # PyArrow's name for a timestamp's resolution
}
PEERS = {"daam", "attention_map_diffusers"}  # of `make bench-peers`, which installs them apart


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Runs the contracts of a tree, as `make check` does."""
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [linter, "--no-cache", "--no-logo"], cwd=root, capture_output=True, text=True, timeout=600
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of both trees and their contracts."""
    for tree in TREES:
        for path in (ROOT / tree).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(house):
    answer = lint(house)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("pipeline/study/spec.py", "import pipeline.engine.run", "pipeline: arrows point down"),
        ("pipeline/results/rows.py", "from pipeline.database import publish", "arrows point down"),
        ("app/analysis/slices.py", "from app.charts import curves", "app: arrows point down"),
        ("app/figures/maps.py", "from app.ui import cards", "app: arrows point down"),
        ("app/ui/text.py", "import pipeline.errors", "the database is all that it shares"),
        ("app/views/trust.py", "import torch", "the database is all that it shares"),
        ("pipeline/cli/demo.py", "import app.main", "pipeline: no dashboard"),
        ("pipeline/study/spec.py", "import pipeline.study.plan", "no cycle inside a package"),
        ("app/figures/maps.py", "import stepscope", "nothing below imports it"),
        ("stepscope/study.py", "import pipeline.errors", "reading a study needs no torch"),
    ],
)
def test_an_arrow_upwards_breaks_them(house, module, line, broken):
    """Also one inside a function: that an import is late does not make it point down."""
    path = house / module
    path.write_text(f"{path.read_text()}\n\ndef _upwards():\n    {line}\n")
    answer = lint(house)
    assert answer.returncode == 1, answer.stdout
    assert any(broken in row and "BROKEN" in row for row in answer.stdout.splitlines())


def test_a_package_outside_the_layers_breaks_them(house):
    (house / "pipeline" / "attic").mkdir()
    (house / "pipeline" / "attic" / "__init__.py").touch()
    answer = lint(house)
    assert answer.returncode == 1
    assert "pipeline.attic" in answer.stdout


@pytest.mark.parametrize("tree", [*TREES, "tests"])
def test_modules_stay_small(tree):
    assert not [size for size in sizes.modules(tree) if size[0] > MOST_LINES["module"]]


@pytest.mark.parametrize("tree", TREES)
def test_functions_stay_small(tree):
    assert not [size for size in sizes.functions(tree) if size[0] > MOST_LINES["function"]]
    long = [size for size in sizes.functions(tree) if size[0] > LONG]
    assert len(long) <= MOST_LONG, long


def undefined(code: str) -> set[str]:
    """Names that some code reads and nothing defines. Linters cannot tell them from the names in jaxtyping's shapes."""
    module = symtable.symtable(code, "module", "exec")
    tables, read, known = [module], set(), {*dir(builtins), "__file__", "__path__"}
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if (table is module and (symbol.is_assigned() or symbol.is_imported())) or (
                symbol.is_declared_global() and symbol.is_assigned()
            ):
                known.add(symbol.get_name())
            elif symbol.is_referenced() and (symbol.is_global() or table is module):
                read.add(symbol.get_name())
    return read - known


def test_no_name_is_undefined():
    missing = {str(path): undefined(path.read_text()) for path in sources(*TREES)}
    assert not {path: names for path, names in missing.items() if names}


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f(plan):\n    return made.study", {"made"}),
        ("class A:\n    x: int = y", {"y"}),
        ("import a\ndef f(b):\n    c = a, b, len, __file__\n    return lambda d: (c, d)", set()),
        ('from j import F\ndef f(a: F["n c"]) -> F["n"]:\n    return [b for b in a]', set()),
    ],
)
def test_an_undefined_name_is_seen(code, names):
    assert undefined(code) == names


def private_uses(code: str) -> list[str]:
    """Private names of our other modules that some code imports, or reaches through a module."""
    tree, modules, uses = ast.parse(code), set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in TREES:
            modules |= {alias.asname or alias.name for alias in node.names}
            uses += [alias.name for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.split(".")[0] in TREES]
            modules |= {alias.asname or alias.name for alias in ours}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            uses += [f"{ast.unparse(node)}"] if ast.unparse(node.value) in modules else []
    return uses


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def sources(*trees: str) -> Iterator[Path]:
    return (path for tree in trees for path in sorted((ROOT / tree).rglob("*.py")))


def test_no_private_name_is_used_across_modules():
    uses = {str(path): private_uses(path.read_text()) for path in sources(*TREES)}
    assert not {path: names for path, names in uses.items() if names}


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ("from pipeline.study.spec import _present", ["_present"]),
        ("from pipeline.study import spec\nspec._present()", ["spec._present"]),
        ("import app.charts.study as s\ns._x", ["s._x"]),
        ("import app.charts.study\napp.charts.study._x", ["app.charts.study._x"]),
        ("from pipeline.study import spec\nspec.__doc__\nself._own", []),
        ("import argparse\nargparse._SubParsersAction", []),
    ],
)
def test_a_private_name_across_modules_is_seen(code, used):
    assert private_uses(code) == used


def test_tests_mirror_the_packages():
    """tests/app/charts holds the tests of app/charts; each package has some; shared code is no test."""
    modules = {p.relative_to(ROOT / "tests") for p in (ROOT / "tests").rglob("test_*.py")}
    inner = {path.parent for path in modules if path.parts[0] in TREES[:2]}
    packages = {
        path.parent.relative_to(ROOT)
        for path in sources(*TREES)
        if path.name == "__init__.py" and path.parent.parent != ROOT
    }
    assert inner == packages
    assert any(path.parent == Path("stepscope") for path in modules)  # a package without packages
    others = {path.parts[0] for path in modules if len(path.parts) > 1} - set(TREES)
    assert others == {"attacks", "browser", "install"}


def test_the_longest_modules_are_there():
    """A name that is none any more would leave its module to the end."""
    assert [name for name in order.LONGEST if not (order.TESTS / name).is_file()] == []


def test_no_test_module_or_conftest_is_imported():
    """What two test modules need is in tests/support."""
    for path in sources("tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            shared = [n for n in names if re.search(r"^tests\..*\b(test_|conftest)", n)]
            assert not shared, f"{path}: {shared}"


def pinned(name: str) -> set[str]:
    """The packages of a requirements file and of those that it includes."""
    packages: set[str] = set()
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            packages |= pinned(line[3:].strip())
        elif line and not line.startswith("#"):
            package, equals, version = line.partition("==")
            assert equals and version, f"{name}: {line} is not pinned"
            packages.add(plain(package))
    return packages


def plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package.split("[")[0]).lower()


@cache
def distributions() -> Mapping[str, list[str]]:
    """Which packages hold a module; reading them takes a second."""
    return packages_distributions()


def packages_of(code: str) -> set[str]:
    """The packages that some code imports, as registries spell them."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    names -= {*TREES, "stepscope", "deploy", "tests", *PEERS, *sys.stdlib_module_names}
    return {plain(distributions().get(name, [name])[0]) for name in names}


def imported(*trees: str) -> set[str]:
    """The packages that the code of some trees imports."""
    return {name for path in sources(*trees) for name in packages_of(path.read_text())}


# What only some commands import, each after saying what to install.
FOR_SOME = {
    "ray": "pipeline/engine/ray.py",
    "resvg-py": "pipeline/demo/sprites.py",  # draws the sprites of the bundled models anew
    "torchao": "pipeline/models/quantizing.py",  # for entries with quantization
}


@pytest.mark.parametrize(
    ("file", "trees", "unpinned"),
    [
        ("requirements-app.txt", ["app"], set()),
        ("requirements.txt", [*TREES], set(FOR_SOME)),
        ("requirements-dev.txt", [*TREES, "tests"], {"ray", "torchao", "sentencepiece"}),  # Kolors
    ],
)
def test_all_that_is_imported_is_pinned(file, trees, unpinned):
    assert imported(*trees) - pinned(file) <= unpinned


@pytest.mark.parametrize("package", FOR_SOME)
def test_what_only_some_commands_need_is_imported_by_them_alone(package):
    users = [path for path in sources(*TREES) if package in packages_of(path.read_text())]
    assert [str(path.relative_to(ROOT)) for path in users] == [FOR_SOME[package]]


def test_all_that_is_pinned_is_needed():
    needed = imported(*TREES, "tests") | NEEDED_BY_OTHERS
    assert pinned("requirements-dev.txt") <= needed
    assert pinned("requirements-ray.txt") <= needed
    assert pinned("requirements.txt") <= imported(*TREES) | NEEDED_BY_OTHERS
    assert pinned("requirements-app.txt") <= imported("app")


def test_what_only_development_needs_is_not_installed_to_run_a_study():
    assert not pinned("requirements.txt") & {
        "captum",
        "resvg-py",
        "statsmodels",
        "hypothesis",
        "pytest",
    }


@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("demo", "requirements.txt"),
        ("app", "requirements-app.txt"),
        ("test", "requirements-dev.txt"),
    ],
)
def test_a_target_installs_no_more_than_it_needs(target, file, tmp_path):
    """On a machine where nothing is installed yet."""
    command = ["make", "--dry-run", target, f"VENV={tmp_path / 'none'}"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"pip install .*--requirement (\S+)", printed) == [file]


def threaded_reads(code: str) -> list[str]:
    """Reads of Parquet in some code that Arrow may still be busy with when Python ends.

    They hold Python's bytes or file in a thread of Arrow, which then asks for the interpreter that is gone: "terminate called
    without an active exception" (https://github.com/apache/arrow/issues/34314), once in some hundred commands.
    """
    reads: list[str] = []
    for node in ast.walk(ast.parse(code)):
        match node:
            case (
                ast.Attribute(value=ast.Name(id="pq"), attr="read_table")
                | ast.Attribute(attr="read_parquet")
            ):
                reads.append(node.attr)
            case ast.Call(func=ast.Attribute(attr="iter_batches"), keywords=keywords):
                if "use_threads" not in {keyword.arg for keyword in keywords}:
                    reads.append("iter_batches")
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="file"), attr="read"), keywords=keywords
            ):
                if "columns" in {keyword.arg for keyword in keywords} and "use_threads" not in {
                    k.arg for k in keywords
                }:
                    reads.append("read")
    return reads


def test_parquet_is_read_by_the_thread_that_asks():
    reads = {str(path): threaded_reads(path.read_text()) for path in sources(*TREES)}
    assert not {path: names for path, names in reads.items() if names}


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("pq.read_table(pa.BufferReader(data))", ["read_table"]),
        ("pd.read_parquet(path)", ["read_parquet"]),
        ("file.read(columns=names)", ["read"]),
        ("file.iter_batches(4096)", ["iter_batches"]),
        (
            "file.read(columns=names, use_threads=False)\nfile.iter_batches(9, use_threads=False)\nfile.read()",
            [],
        ),
    ],
)
def test_a_read_in_another_thread_is_seen(code, reads):
    assert threaded_reads(code) == reads


def test_tables_are_laid_out_in_one_place():
    """By `pipeline.tables`: elsewhere, no rule of a Markdown table, no row of it, no column padded to a width."""
    by_hand = re.compile(r'---\||" \| "|\{[^{}]*:[<>^]?\d+,?\}')
    users = [path for path in sources("pipeline") if by_hand.search(path.read_text())]
    assert [path.name for path in users] == ["tables.py"]


def hiding_names(code: str, more: set[str] | frozenset[str] = frozenset()) -> set[str]:
    """Variables, parameters and attributes of some code, module-private ones included, whose names hide a noun."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.Attribute(attr=name):
                names.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                names.add(name)
    return {name for name in names if name.strip("_") in HIDING_NOUNS | more}


@pytest.mark.parametrize("tree", [*TREES, "tests"])
def test_names_are_nouns(tree):
    hiding = {
        (str(path.relative_to(ROOT)), name)
        for path in sources(tree)
        for name in hiding_names(path.read_text(), MORE_OF[tree])
    }
    allowed = {(path, name) for path, name in NAMES_ALLOWED if path.startswith(tree)}
    assert hiding == allowed, "use the noun (CONTRIBUTING.md, Style)"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("made = load_plan(results)", {"made"}),
        ("def f(*, place=None): ...", {"place"}),
        ("for unit in plan: ...", {"unit"}),
        ("self._given = {}", {"_given"}),
        ("[each for found in rows]", {"found"}),
        ("work_unit, unit_id, unit_prompts = 1, 2, 3", set()),
        ("def place(module): return tqdm(total=1, unit=' step')", set()),
    ],
)
def test_a_name_that_hides_its_noun_is_seen(code, names):
    assert hiding_names(code) == names
