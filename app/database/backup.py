"""A copy of a study's reviews that is whole although they are being written: `python -m app.database.backup DIR --out FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.database import notebook


def main(arguments: Sequence[str]) -> int:
    """Copies the reviews; 2 where there are none or they cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m app.database.backup", description="Copies a study's reviews while they are written."
    )  # fmt: skip
    parser.add_argument("study", type=Path, help="results folder or DuckDB file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        size = notebook.backup(notebook.store_of(options.study), options.out)
    except notebook.ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out} ({size:,} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
