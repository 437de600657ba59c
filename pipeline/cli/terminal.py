"""What is printed: texts of study files, results folders and shards are a stranger's until they are made printable."""

from __future__ import annotations

import re
import sys
from typing import TextIO

# What a terminal obeys (C0 and C1 controls, DEL), what turns text round, other line ends, what cannot be encoded.
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""The text with everything that a terminal would obey spelled out, as `\x1b`; line feeds and tabs stay."""
    return OBEYED.sub(
        lambda match: match.group().encode("unicode_escape", "surrogatepass").decode(), text
    )


def say(text: object = "", file: TextIO | None = None) -> None:
    """Prints a text as `printable` makes it; to stdout unless told otherwise."""
    print(printable(str(text)), file=file or sys.stdout)


def complain(text: object) -> None:
    """Prints a text to stderr as `printable` makes it."""
    say(text, sys.stderr)
