"""How long the server takes for a rerun, noted in the file that STEPSCOPE_TIMINGS names; for the benchmark.

Beside the time by the clock stands the processor's, of all threads: where other programs keep the machine busy, that is
the one to compare.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def noted(view: str) -> Iterator[None]:
    """Append a line with the seconds that the block took; without the variable, nothing is noted.

    Args:
        view: the name of the view drawn.
    """
    started, worked = time.perf_counter(), time.process_time()
    whole = False
    try:
        yield
        whole = True
    finally:
        if path := os.environ.get("STEPSCOPE_TIMINGS"):
            seconds, cpu = time.perf_counter() - started, time.process_time() - worked
            line = {"view": view, "seconds": seconds, "cpu": cpu, "whole": whole}
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
