"""How many clicks and seconds the four jobs take: `make bench-jobs`.

The real app serves a study to headless Chromium at 1280 x 720; the scripts are those of tests/support/jobs.py, whose
answers tests/browser/test_clicks.py checks. Seconds are from the drawn overview to the answer, the scripts' waits for
pages to be drawn (0.6 s each) among them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tests.bench_app import machine, served
from tests.support import jobs
from tests.support.browser import Reader, chrome

HEAD = "| job | clicks | keys | at most | seconds | |\n|---|---|---|---|---|---|"


def scripts(folder: Path) -> dict[str, Callable[[Reader], jobs.Counter]]:
    """The jobs by their names in `jobs.LIMITS`; their files go below a folder."""

    def author(tool: str) -> Callable[[Reader], jobs.Counter]:
        (folder / tool).mkdir()
        return lambda reader: jobs.author(reader, tool, folder / tool)[0]

    return {
        "newcomer": lambda reader: jobs.newcomer(reader)[0],
        "reviewer": lambda reader: jobs.reviewer(reader)[0],
        "DF-RISE": author("DF-RISE"),
        "DF-CAM": author("DF-CAM"),
        "lead": lambda reader: jobs.lead(reader)[0],
    }


def study(folder: Path) -> Path:
    """The tests' study: 3 models, 24 prompts, 2 seeds, 12 steps."""
    from tests.support.synthetic import build_results

    build_results(folder / "demo", models=3, prompts=24, seeds=2, steps=12)
    return folder / "demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a job takes more than its limit."""
    parser = argparse.ArgumentParser(prog="python tests/bench_jobs.py", description=__doc__)
    parser.add_argument(
        "results",
        type=Path,
        nargs="?",
        help="a results folder with maps; by default the tests' study",
    )
    options = parser.parse_args(arguments)
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "reviews").mkdir()
        os.environ["STEPSCOPE_REVIEWS"] = str(folder / "reviews")  # nothing is written to the study
        results = options.results or study(folder)
        print(f"{machine()}\n\n{HEAD}")
        with served(results) as server:
            driver = chrome(1280, 863, dark=False, profile=folder / "profile")
            try:
                for job, script in scripts(folder).items():
                    counter, limit = script(Reader(driver, server.address)), jobs.LIMITS[job]
                    met = counter.acts <= limit.most
                    missed += not met
                    print(
                        f"| {limit.job} | {counter.clicks} | {counter.keys} | {limit.most} | {counter.seconds:.0f} | "
                        f"{'met' if met else 'NOT MET'} |",
                        flush=True,
                    )
            finally:
                driver.quit()
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
