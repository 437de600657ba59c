"""Tables of text: with aligned columns for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def terminal_table(head: Sequence[str], rows: Iterable[Sequence[object]], text: str = "") -> str:
    """Columns side by side, two blanks apart, each as wide as its widest cell.

    Args:
        head: a name per column; "" for columns that need none, and no line at all where none has a name.
        rows: a cell per column; white space in a cell, line ends among it, becomes one blank.
        text: for each column, `<` where it holds text and starts at the left, `>` where it holds numbers and ends at the
            right; by default the first column is text and the others are numbers.

    Raises:
        ValueError: a row has more or fewer cells than `head`.
    """
    text = text or "<" + ">" * (len(head) - 1)
    lines = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    shown = [list(head), *lines] if any(head) else lines
    formats = [f"{side}{width}" for side, width in zip(text, widths, strict=True)]
    return "\n".join("  ".join(map(format, row, formats)).rstrip() for row in shown)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as GitHub shows it. Cells are Markdown; a `|` or a line end in one would cut it in two, so both are escaped.

    Raises:
        ValueError: a row has more or fewer cells than `head`.
    """
    lines = [markdown_row(head), "|" + "---|" * len(head)]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"{len(row)} cells in a table of {len(head)} columns: {row!r}")
        lines.append(markdown_row(row))
    return "\n".join(lines)


def markdown_row(cells: Sequence[object]) -> str:
    """A line of a Markdown table."""
    plain = (" ".join(str(cell).split()).replace("|", r"\|") for cell in cells)
    return "| " + " | ".join(plain) + " |"
