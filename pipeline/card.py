"""The model card: which measure works on which class, filled from the tests of every family: `python -m pipeline.card`.

Each cell is noted by a test in tests/test_families.py once it has come to its end; a cell that no test has noted says so.
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

ROOT = Path(__file__).resolve().parent.parent
TESTS = "tests/test_families.py"
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

Written by `python -m pipeline.card --out docs/model-card.md` from the tests of every family; no cell is filled by hand. Each class was built
from its configuration with random weights, saved, and loaded back as a user's folder. ✓ = shown by a test; refused = named before the run."""

MARK = "<!-- model card -->"

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
    lines = [
        "| " + " | ".join(["class", "tested as", *columns]) + " |",
        "|" + "---|" * (2 + len(columns)),
    ]
    for name, kind in classes.items():
        row = [_cell(cells.get(name, {}).get(column), notes) for column in columns]
        lines.append("| " + " | ".join([kind, name, *row]) + " |")
    return "\n".join(lines)


def _cell(noted: str | None, notes: list[str]) -> str:
    if noted is None:
        return "**not shown**"
    if not noted.startswith("no: "):
        return MARKS[noted]
    reason = noted.removeprefix("no: ")
    if reason not in notes:
        notes.append(reason)
    return f"no ({notes.index(reason) + 1})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the card; exits 1 if a cell is not shown by its test."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.card", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write it there, as Markdown")
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help="also put class x measure there, between its marks",
    )
    options = parser.parse_args(arguments)
    card = show(*fill())
    print(card)
    if options.out is not None:
        options.out.write_text(f"{HEAD}\n\n{card}\n", encoding="utf-8")
    if options.readme is not None:
        text = options.readme.read_text(encoding="utf-8")
        options.readme.write_text(in_readme(text, card), encoding="utf-8")
    return 1 if "**not shown**" in card else 0


def in_readme(text: str, card: str) -> str:
    """A text with the card's first table, class x measure, and the notes, between its two marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, _, rest = text.partition(MARK)
    _, second, after = rest.partition(MARK)
    if not second:
        raise ValueError(f"two lines {MARK!r} are needed, for the model card to stand between")
    measures, *_, notes = card.split("\n\n")
    told = [note for note in notes.splitlines() if f"({note.partition('.')[0]})" in measures]
    return "\n\n".join([f"{before}{MARK}", measures, "\n".join(told), f"{MARK}{after}"])


if __name__ == "__main__":
    sys.exit(main())
