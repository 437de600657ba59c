"""The model card: which measure works on which class, filled from the tests of every family: `python -m pipeline.bench.card`.

Each cell is noted by a test in tests/pipeline/models/test_families.py once it has come to its end; a cell that no test has noted says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import diffusers
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING
from diffusers.pipelines.pipeline_utils import DeprecatedPipelineMixin

from pipeline.bench.tried import NEEDING, TRIED, WORKS
from pipeline.models.families import FAMILIES
from pipeline.preflight.models import class_problem
from pipeline.tables import markdown_table

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/pipeline/models/test_families.py"
MARKS = {"yes": "✓", "refused": "refused"}
MEASURES = (
    "sampling, x0",
    "concepts",
    "attention",
    "relevance",
    "df-cam",
    "df-rise",
    "lime",
    "faithfulness",
    "switch",
    "critical-windows",
    "concept-attention",
    "information",
)
FIDELITY = (
    "recording on = off, bits",
    "replay = output, bits",
    "batch = one by one",
    "weights sum to 1, explicit = built-in",
)
SETTINGS = (
    "not square",
    "long prompts",
    "negative prompts",
    "guidance off",
    "float16",
    "bfloat16",
    "offload",
    "vae_tiling",
    "vae_slicing",
)

HEAD = """# The model card

Written by `python -m pipeline.bench.card --out docs/model-card.md` from the tests of every family; no cell is filled by hand. Each class was built
from its configuration with random weights, saved, and loaded back as a user's folder. ✓ = shown by a test; refused = named before the run."""

Cells = Mapping[str, Mapping[str, str]]


def fill() -> tuple[Mapping[str, str], Cells]:
    """Runs the tests of the families. Returns: the class of each pipeline tested, and the cells that were noted."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "card.json"
        command = [sys.executable, "-m", "pytest", TESTS, "-q", "-W", "ignore"]
        environment = os.environ | {"STEPSCOPE_CARD": str(target)}
        subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)
        noted = json.loads(target.read_text())
    return noted["classes"], noted["cells"]


def show(classes: Mapping[str, str], cells: Cells) -> str:
    """The card as Markdown: measures, fidelity, settings; reasons as numbered notes below."""
    notes: list[str] = []
    tables = [_table(classes, cells, columns, notes) for columns in (MEASURES, FIDELITY, SETTINGS)]
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n\n".join([*tables, "\n".join(numbered)]).strip()


def _table(
    classes: Mapping[str, str], cells: Cells, columns: Sequence[str], notes: list[str]
) -> str:
    rows = [
        [kind, name, *(_cell(cells.get(name, {}).get(column), notes) for column in columns)]
        for name, kind in classes.items()
    ]
    return markdown_table(["class", "tested as", *columns], rows)


def _cell(noted: str | None, notes: list[str]) -> str:
    if noted is None:
        return "**not shown**"
    if not noted.startswith("no: "):
        return MARKS[noted]
    reason = noted.removeprefix("no: ")
    if reason not in notes:
        notes.append(reason)
    return f"no ({notes.index(reason) + 1})"


MAPPING_HEAD = f"""## Every class of diffusers' text-to-image mapping

Of diffusers {diffusers.__version__}, with the status that `tests/pipeline/diffusion/test_trial.py` established. *Entry*: in the table of families, with the measures above.
*Works*: without an entry; sampled and recorded with tiny random weights by what [the trial](methods.md#the-trial) learns: x₀, concepts, frames, spectra and switching. *Refused*: before a run, with the reason;
*refused when tried*: by the trial."""
NOT_TRIED = "not tried: new in this release of diffusers"
OTHERS_HEAD = "Further text-to-image classes, which the mapping does not list:"


def mapping_table() -> str:
    """What is known of each class of diffusers' mapping, and of others that were tried, with its heading."""
    # whether the mapping lists a class that needs a package depends on the machine
    listed = {kind.__name__ for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()} - set(NEEDING)
    others = {name for name in (*TRIED, *NEEDING) if name not in listed}
    tables = [
        markdown_table(("class", "status"), [(name, status(name)) for name in sorted(names)])
        for names in (listed, others)
    ]
    return f"{MAPPING_HEAD}\n\n{tables[0]}\n\n{OTHERS_HEAD}\n\n{tables[1]}"


def status(name: str) -> str:
    """What is known of a class of diffusers: an entry, works, refused, or not tried."""
    kind = getattr(diffusers, name)
    known = _status(name, kind)
    deprecated = issubclass(kind, DeprecatedPipelineMixin) and name not in FAMILIES
    return f"{known}; deprecated" if deprecated else known


def _status(name: str, kind: type) -> str:
    if name in FAMILIES:
        return f"entry; {NEEDING[name]}" if name in NEEDING else "entry"
    problem = class_problem(kind)
    if problem:
        return f"refused: {problem.removeprefix(name).strip()}"
    if name not in TRIED:
        return NOT_TRIED
    return "works" if TRIED[name] == WORKS else f"refused when tried: {TRIED[name]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the card; exits 1 if a cell is not shown by its test."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.card", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write it there, as Markdown")
    options = parser.parse_args(arguments)
    card = show(*fill())
    print(card)
    if options.out is not None:
        options.out.write_text(f"{HEAD}\n\n{card}\n\n{mapping_table()}\n", encoding="utf-8")
    return 1 if "**not shown**" in card else 0


if __name__ == "__main__":
    sys.exit(main())
