"""Runs a notebook in a kernel of this environment: `python -m tests.support.notebooks NOTEBOOK OUT [STUDY]`.

A process of its own, for what Jupyter's client warns of is none of the tests'. The cell tagged `parameters` is given the
study in place of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


def run(notebook: Path, out: Path, study: str | None = None) -> None:
    """Run every cell from the project's folder; a cell that raises ends it. The notebook with its outputs goes to `out`."""
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if study and "parameters" in cell.metadata.get("tags", []):
            cell.source = f"source = {study!r}"
    client = NotebookClient(content, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})  # fmt: skip
    client.execute()
    nbformat.write(content, out)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
