"""The documents against the code: every key of a study, every command, every link."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect
import pytest

from pipeline.explain.lime import LimeOptions
from pipeline.explain.rise import RiseOptions
from pipeline.study import reading
from pipeline.study.settings import Table
from pipeline.study.tools import TOOL_SETTINGS
from tests.support import cli_reference

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "data/models/README.md"]
)
STEPS = '"all"'


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """{table of the study file: {key: (default, allowed)}} as docs/studies.md has it."""
    entries: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    table = ""
    for line in (ROOT / "docs" / "studies.md").read_text().splitlines():
        if line.startswith("#"):
            named = re.search(r"`\[+([\w.-]+)\]+`", line)
            table = named[1] if named else line.strip("# ").lower()
        elif row := re.match(r"\| `([\w-]+)` \| (.*) \|$", line):
            cells = [cell.strip() for cell in row[2].split(" | ")]
            entries[table][row[1]] = (cells[1], cells[2])
    shared = entries.pop("every tool")
    for tool in TOOL_SETTINGS:
        entries[f"measures.{tool}"].update(shared)
    return dict(entries)


class Asked:
    """What the reader asks of each table, and with which default and range."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: dict[str, set[str]] = defaultdict(set)
        self.rules: dict[tuple[str, str], tuple[str, tuple[Any, ...]]] = {}
        self._watch(monkeypatch)

    def _watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        has = Table.has

        def noted(table: Table, key: str) -> bool:
            self.keys[name_of(table)].add(key)
            return has(table, key)

        monkeypatch.setattr(Table, "has", noted)
        for name in ("take_choice", "take_flag", "take_whole", "take_number"):
            self._watch_taker(monkeypatch, name)

    def _watch_taker(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        take = getattr(Table, name)

        def noted(table: Table, key: str, *rule: Any) -> Any:
            self.rules.setdefault((name_of(table), key), (name, rule))
            return take(table, key, *rule)

        monkeypatch.setattr(Table, name, noted)


def name_of(table: Table) -> str:
    """The table as docs/studies.md heads it."""
    if table.name.startswith(("model[", "model '")):
        return "model"
    for name in ("scorer", "distance"):
        if table.name.startswith(name):
            return name
    return table.name or "the study"


EVERYTHING: dict[str, Any] = {
    "name": "all",
    "seeds": [0],
    "prompts": {"path": "p.csv", "columns": {}, "limit": 1, "sample": 1, "format": "karpathy", "split": "test",
                "benchmark": "coco-karpathy"},
    "scorer": {"source": "ViT-B-32"},
    "distance": [{"kind": "lpips", "weights": "alex.safetensors", "reference": "m"}],
    "concepts": {"path": "c.toml"},
    "run": {},
    "measures": {"frames": {}},
    "model": [
        {"name": "m", "source": "a/b", "schedule": "early", "gamma": 1.0, "height": 64, "width": 64,
         "offload": "model", "scheduler": "DDIMScheduler", "run": "r", "training_step": 1},
        {"name": "n", "images": "folder", "layout": "auto", "tiles": 4, "checkpoint": 1},
    ],
}  # fmt: skip
TOOLS: dict[str, dict[str, Any]] = {
    "attention": {"maps": True},
    "relevance": {"maps": True},
    "df-cam": {},
    "df-rise": {"masks": 9, "side": 2, "probability": 0.5,
                "similarity": "cosine", "per_pixel": False, "divide": True, "against_next": False, "chunk": 1, "seed": 0},
    "lime": {"perturbations": 9, "segmentation": "slic", "segments": 2, "similarity": "cosine", "chunk": 1, "seed": 0},
    "faithfulness": {"methods": ["df-rise"], "games": ["insertion"], "scores": ["clip"], "baselines": ["zero"], "seed": 0},
    "critical-windows": {"redraws": 8, "judge": "data/models/scenes-judge"},
    "concept-attention": {"maps": True, "among": "bank", "concepts": ["dog"]},
    "information": {"draws": 2, "words": ["cat"], "maps": True},
    "switch": {"directions": ["insert"], "judge": "data/models/scenes-judge", "size": 64},
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked(monkeypatch)
    measures = EVERYTHING["measures"] | {
        name: {"prompts": 1, "seeds": 1, "models": ["m"], **options}
        for name, options in TOOLS.items()
    }
    reading.parse_study(EVERYTHING | {"measures": measures}, Path("x.toml"), check_files=False)
    return asked


def test_every_key_of_a_study_is_documented_and_no_other(asked: Asked) -> None:
    keys = {table: set(rows) for table, rows in documented().items()}
    read = {table: known for table, known in asked.keys.items() if known}
    read["the study"] -= {
        "prompts",
        "scorer",
        "distance",
        "concepts",
        "run",
        "measures",
        "model",
        "slurm",
    }  # tables of their own
    assert keys == read


def test_defaults_and_ranges_are_those_of_the_reader(asked: Asked) -> None:
    rows = documented()
    wrong = []
    for (table, key), (taker, rule) in asked.rules.items():
        default, allowed = rows[table][key]
        if taker == "take_choice":
            wanted_default, options = (rule[1:] or (None,))[0], rule[0]
            if re.findall(r"`([^`]+)`", allowed) != list(options):
                wrong.append((table, key, allowed, options))
        elif taker == "take_flag":
            wanted_default = str(rule[0]).lower()
        else:
            wanted_default, low, high = rule
            if not allowed.startswith(f"{low:g} to " if taker == "take_number" else f"{low} to "):
                wrong.append((table, key, allowed, rule))
            written = f"{high:g}" if taker == "take_number" else str(high)
            if f" to {written}" not in allowed:
                wrong.append((table, key, allowed, rule))
        from_ending = (table, key) == ("prompts", "format")
        if (
            wanted_default is not None
            and not from_ending
            and default.strip("`") != str(wanted_default)
        ):
            wrong.append((table, key, default, wanted_default))
    assert not wrong


@pytest.mark.parametrize("tool", TOOL_SETTINGS)
def test_ranges_of_tools_are_those_of_their_records(tool: str) -> None:
    rows = documented()[f"measures.{tool}"]
    for field in msgspec.structs.fields(TOOL_SETTINGS[tool]):
        default, allowed = rows[field.name]
        match msgspec.inspect.type_info(field.type):
            case msgspec.inspect.IntType(ge=low, le=high) | msgspec.inspect.FloatType(ge=low, le=high):  # fmt: skip
                assert allowed.startswith(f"{low} to ") and f" to {high}" in allowed, field.name
            case msgspec.inspect.LiteralType(values=words):
                assert sorted(re.findall(r"`([^`]+)`", allowed)) == list(words), field.name
            case msgspec.inspect.BoolType() if field.name == "maps":
                assert default.strip("`") == "false"


@pytest.mark.parametrize(
    ("table", "options"), [("measures.df-rise", RiseOptions()), ("measures.lime", LimeOptions())]
)
def test_defaults_of_masking_tools_are_those_of_the_code(table: str, options: Any) -> None:
    for key, (default, _) in documented()[table].items():
        value = getattr(options, key, None)
        if value is not None:
            assert default.strip("`") == str(value).lower(), key


@pytest.mark.long
def test_the_command_line_is_documented_as_its_help_says() -> None:
    """`make docs` writes it anew."""
    assert (ROOT / "docs" / "cli.md").read_text() == cli_reference.document()


def anchors(document: Path) -> set[str]:
    """The anchors that a Markdown file's headings have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return set(plain)


def local_links() -> list[tuple[Path, str]]:
    """Every link of every document that is not to another host."""
    pattern = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
    entries = []
    for document in DOCUMENTS:
        text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        entries += [(document, link) for link in pattern.findall(text) if "://" not in link]
    return entries


def test_every_link_leads_somewhere() -> None:
    broken = []
    for document, link in local_links():
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            broken.append((document.relative_to(ROOT), link))
    assert not broken


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def shown_commands() -> set[str]:
    """The `python -m ...` and `make ...` commands that the documents show, without their arguments."""
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    modules = re.findall(r"python -m ((?:pipeline|app|tests)[\w.]*(?: [a-z]+)?)", text)
    return set(modules) | {f"make {target}" for target in re.findall(r"`make ([a-z-]+)", text)}


def test_every_command_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = {name.removeprefix("pipeline ") for name in cli_reference.helps()} - {"pipeline"}
    for command in shown_commands():
        module, _, name = command.partition(" ")
        if module == "make":
            assert name in targets, command
        elif module == "pipeline":
            assert not name or name in commands, command
        else:
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), command


def test_the_version_is_one() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert version and cited and version[1] == cited[1]
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_study_in_the_readme_is_read(tmp_path: Path) -> None:
    (study,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "mine.toml").write_text(study)
    (tmp_path / "prompts.csv").write_text("caption\na cat\n")
    assert reading.load_study(tmp_path / "mine.toml").prompts.path == tmp_path / "prompts.csv"


def test_the_architectures_picture_shows_the_contracts_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    text = (ROOT / "docs" / "architecture.md").read_text()
    for contract in contracts:
        if contract["type"] == "layers":
            (tree,) = contract["containers"]
            drawn = re.search(rf"subgraph {tree}\n\s+(.*)\n", text)
            assert drawn
            shown = [re.sub(r"\[.*\]|_$", "", name).rstrip("_") for name in drawn[1].split(" --> ")]
            assert shown == [layer for layer in contract["layers"] if layer != "__main__"]


def test_every_section_of_the_methods_that_code_cites_is_there():
    """A docstring that gives a source gives one that a reader finds."""
    titles = set(re.findall(r"^#+ (.+)$", (ROOT / "docs" / "methods.md").read_text(), re.MULTILINE))
    cited = {
        (path.name, title)
        for tree in ("app", "pipeline")
        for path in (ROOT / tree).rglob("*.py")
        for title in re.findall(r'docs/methods\.md, "([^"]+)"', path.read_text())
    }
    assert len(cited) > 5
    assert {title for _, title in cited} <= titles, sorted(cited)
    private = re.compile(r'METHODS, "[A-Z]|DESIGN in the README|Notation \(METHODS\)')
    for tree in ("app", "pipeline"):
        for path in (ROOT / tree).rglob("*.py"):
            assert not private.search(path.read_text()), path
