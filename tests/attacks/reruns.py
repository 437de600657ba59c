"""Rerun pages many times in one process: memory, descriptors and threads at 10 %, 50 % and 100 %.

`python -m tests.attacks.reruns [--reruns 10000]`, or `make soak`. A visit to a page is 5 reruns, so that at 10 % of 1,000
reruns every page has been opened, and what a page's first visit loads is no growth.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import sys
import tempfile
import threading
from pathlib import Path

from streamlit.testing.v1 import AppTest

from tests.support.pages import MAIN, VIEWS
from tests.support.synthetic import build_results

RERUNS = 10_000
VISIT = 5  # reruns of a page before the next one is opened
STEPS = 6
GROWTH = 1.05  # the most memory at the end, of that at 10 %, by when every page has been opened


def now() -> tuple[float, int, int]:
    """MiB of resident memory, open descriptors, threads of this process."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident / 2**20, len(os.listdir("/proc/self/fd")), threading.active_count()


def opened(view: str) -> AppTest:
    """A reader at a view."""
    app = AppTest.from_file(str(MAIN), default_timeout=300).run()
    return app if view == "overview" else app.switch_page(f"views/{view}.py").run()


def soak(reruns: int, folder: Path) -> list[tuple[int, float, int, int]]:
    """Rerun every view in turn, as readers who come, move the step, and leave."""
    sys.argv = ["app/main.py", str(folder)]
    marks = {max(reruns // 10, 1), reruns // 2, reruns}
    sizes = []
    done = 0
    while done < reruns:
        app = opened(VIEWS[(done // VISIT) % len(VIEWS)])
        for _ in range(VISIT):
            app.session_state["step"] = done % STEPS
            app.run()
            assert not app.exception, app.exception[0].value
            done += 1
            if done in marks:
                sizes.append((done, *now()))
                print(f"{done:>7,} {sizes[-1][1]:>8.0f} MiB {sizes[-1][2]:>5} descriptors {sizes[-1][3]:>4} threads", file=sys.__stdout__, flush=True)  # fmt: skip
            if done >= reruns:
                break
    return sizes


def grown(sizes: list[tuple[int, float, int, int]]) -> list[str]:
    """What grew: descriptors or threads after half, memory by over 10 % after half, or by over 5 % after 10 %.

    Args:
        sizes: of `soak`; those at 10 % count only where every page had been opened by then.
    """
    first, half, last = sizes[0], sizes[-2], sizes[-1]
    warm = first[0] >= VISIT * len(VIEWS)
    return [
        *(["memory since 10 %"] if warm and last[1] > GROWTH * first[1] else []),
        *(["memory since half"] if last[1] > 1.1 * half[1] else []),
        *(["descriptors"] if last[2] > half[2] + 2 else []),
        *(["threads"] if last[3] > half[3] + 2 else []),
    ]


def main() -> int:
    """Print the table; 1 where memory, descriptors or threads grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reruns", type=int, default=RERUNS)
    parser.add_argument("--results", type=Path, help="a study in place of the tests' small one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder_name:
        folder = options.results or Path(folder_name) / "demo"
        if not options.results:
            build_results(folder, models=2, prompts=12, seeds=2, steps=6)
        with contextlib.redirect_stdout(io.StringIO()):
            sizes = soak(options.reruns, folder)
    growing = grown(sizes)
    print(f"grew: {', '.join(growing)}" if growing else "flat")
    return int(bool(growing))


if __name__ == "__main__":
    sys.exit(main())
