"""In which order processes that share the tests begin with the modules: the longest first, and browsers not all at once."""

from __future__ import annotations

import zlib
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
LONGEST = (
    "pipeline/models/test_families.py",
    "browser/test_jobs.py",
    "app/views/test_faults.py",
    "app/figures/test_figures.py",
    "browser/test_bring.py",
    "pipeline/preflight/test_schedulers.py",
    "pipeline/engine/test_engines.py",
    "browser/test_top_bar.py",
    "pipeline/bench/test_bench_waits.py",
    "test_paper.py",
    "pipeline/study/test_hostile_files.py",
    "browser/test_steps.py",
    "app/ui/test_top_bar.py",
    "pipeline/database/test_publish.py",
    "app/figures/test_bundle.py",
    "browser/test_layout.py",
    "pipeline/engine/test_watchdog.py",
    "app/analysis/test_changes.py",
    "pipeline/cli/test_cli.py",
    "browser/test_browser.py",
)


def rank(path: Path) -> float:
    """The position of a test module in the order of distribution.

    The short ones come in the order of a hash: in that of their names, as many browsers as there are processes would draw at once,
    which takes two cores several times as long as one after the other.
    """
    name = path.relative_to(TESTS).as_posix()
    if name in LONGEST:
        return LONGEST.index(name)
    return len(LONGEST) + zlib.crc32(name.encode()) / 2**32
