"""How much input that means harm the tests hold, counted from the tests: `python -m tests.attacks.counts` (a table of docs/reliability.md)."""

from __future__ import annotations

from importlib import import_module

from tests.attacks import links, model_folders, reruns, statements

# Looked into, not shared: what they hold is what is counted.
test_links, test_readers_and_writers, test_results_folders, test_reviews_file = (
    import_module(f"tests.attacks.test_{name}")
    for name in ("links", "readers_and_writers", "results_folders", "reviews_file")
)

HEAD = "| what | tried | asked for | by |\n|---|---|---|---|"


def rows() -> list[tuple[str, int, int, str]]:
    """What, how many, how many are asked for, and where they are tried (a test, or a target of make)."""
    folders = test_results_folders.HARMS
    slow = [name for name in folders if test_results_folders.is_for("publish", name)]
    hostile = {*statements.REFUSED, *statements.HARMLESS, *statements.HEAVY}
    cells = len(test_reviews_file.CELLS) * len(test_reviews_file.HOSTILE)
    return [
        ("SQL statements", len(hostile), 400, "test_statements.py"),
        ("links, through the frame of every page", len(set(links.IN_FRAME)), 3_000, "test_links.py"),
        ("links, through whole pages", len(links.TO_PAGES), 0, "test_links.py"),
        ("numbers of links, through their parser", len(set(test_links.PAIRS)), 0, "test_links.py"),
        ("cells of a reviews' file", cells, 200, "test_reviews_file.py"),
        ("results folders, through nine commands", len(folders), 400, "test_results_folders.py"),
        ("of these also through `publish` and `export`", len(slow), 0, "test_results_folders.py"),
        ("model and scorer folders", len(model_folders.corpus()), 100, "test_model_folders.py"),
        ("readers of one reviews' file at once", test_readers_and_writers.READERS, 30, "test_readers_and_writers.py"),
        ("writers beside them", test_readers_and_writers.WRITERS, 20, "test_readers_and_writers.py"),
        ("reruns of pages in one process", reruns.RERUNS, 10_000, "make soak"),
    ]  # fmt: skip


def table() -> str:
    """The table as docs/reliability.md has it."""
    lines = [
        f"| {what} | {tried:,} | {f'{wanted:,}' if wanted else ''} | `{where}` |"
        for what, tried, wanted, where in rows()
    ]
    return "\n".join([HEAD, *lines])


if __name__ == "__main__":
    print(table())
