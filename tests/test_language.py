"""Plain technical English in every text that a person reads: strings, docstrings and documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What the guide replaces, and by what.
REPLACED = {
    r"\bcan't\b(?! allocate memory)": "cannot",  # torch's own words
    r"\bgoes on\b|\bgoing on\b|\bwent on\b": "resumes, continues, in progress",
    r"\bhangs on\b": "depends on",
    r"\bdear\b": "expensive",
    r"\bmend(s|ed)?\b": "fix",
    r"\bfor want of\b": "without",
    r"\bfrom here on\b": "from now on",
    r"turns? round\b|turned round\b": "is reversed",
    r"\bcan be had\b|\bto be had\b|\bcannot be had\b|\bcan't be had\b": "is available",
    r"\bmay come from anywhere\b": "untrusted",
    r"\bin vain\b": "without success",
    r"\bmade anew\b|\bmakes it anew\b": "made again",
    r"\bis left out, for\b": "is left out because",
    r"\bwish (is )?(not )?met\b|\bwished\b": "target",
    r"\bmore prompts would tell\b": "too few prompts to decide",
    r"\bplayed\b": "measured",
}
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "data/models/README.md"]
)


def texts(tree: str) -> Iterator[tuple[str, str]]:
    """(place, text) of every string of a package, docstrings and parts of f-strings included."""
    for file in sorted((ROOT / tree).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node.value


def quaint(text: str) -> list[str]:
    """What the guide would replace in a text, with what it proposes."""
    return [
        f"{m[0]!r} ({better})"
        for word, better in REPLACED.items()
        for m in re.finditer(word, text, re.I)
    ]


@pytest.mark.parametrize("tree", ["pipeline", "app", "stepscope"])
def test_strings_are_plain_english(tree: str) -> None:
    assert not [f"{where}: {phrase}" for where, text in texts(tree) for phrase in quaint(text)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_are_plain_english(document: Path) -> None:
    lines = document.read_text().splitlines()
    assert not [f"{n}: {phrase}" for n, line in enumerate(lines, 1) for phrase in quaint(line)]


def test_one_spelling() -> None:
    """British, as in 'colour' and 'randomised'; names of code are left alone."""
    american = re.compile(
        r"\b(color|colors|colored|randomize[ds]?|normalize[ds]?|behavior|center)\b", re.I
    )
    wrong = []
    for document in DOCUMENTS:
        prose = re.sub(r"```.*?```|`[^`]*`|\([^)]*\)", "", document.read_text(), flags=re.DOTALL)
        wrong += [f"{document.name}: {phrase[0]}" for phrase in american.finditer(prose)]
    assert not wrong
