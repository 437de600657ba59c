"""Which test modules take longest: processes that share the tests begin with them."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
LONGEST = (
    "pipeline/models/test_families.py",
    "browser/test_jobs.py",
    "app/figures/test_figures.py",
    "browser/test_browser.py",
    "app/views/test_faults.py",
    "pipeline/explain/test_games.py",
    "pipeline/bench/test_bench_waits.py",
    "pipeline/engine/test_watchdog.py",
    "app/views/test_views.py",
    "pipeline/explain/test_explain.py",
    "app/figures/test_bundle.py",
    "pipeline/study/test_hostile_files.py",
    "pipeline/demo/test_train.py",
    "pipeline/database/test_publish.py",
    "app/analysis/test_one_number.py",
)


def rank(path: Path) -> int:
    """The position of a test module in the order of distribution; the short ones share the last."""
    name = path.relative_to(TESTS).as_posix()
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
