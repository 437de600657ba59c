"""The longest modules and functions of the project: `python -m tests.support.sizes`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Sized = list[tuple[int, str]]


def modules(tree: str) -> Sized:
    """(lines, path) of every module of `pipeline` or `app`, longest first."""
    files = (ROOT / tree).rglob("*.py")
    sizes = [(len(f.read_text().splitlines()), str(f.relative_to(ROOT))) for f in files]
    return sorted(sizes, reverse=True)


def functions(tree: str) -> Sized:
    """(lines, path:name) of every function, without its decorators, longest first."""
    sizes: Sized = []
    for file in (ROOT / tree).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                sizes.append((lines, f"{file.relative_to(ROOT)}:{node.name}"))
    return sorted(sizes, reverse=True)


def main() -> None:
    """Print the ten longest modules and functions of both trees, and how many functions exceed 40 lines."""
    for tree in ("pipeline", "app"):
        for title, sizes in (("modules", modules(tree)), ("functions", functions(tree))):
            print(f"{tree}: longest {title}")
            for lines, name in sizes[:10]:
                print(f"  {lines:5} {name}")
        print(f"{tree}: {sum(n > 40 for n, _ in functions(tree))} functions over 40 lines\n")


if __name__ == "__main__":
    main()
