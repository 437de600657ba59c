"""Times planning or resuming of two checkouts by turns, so that a machine whose speed drifts is the same for both.

python -m tests.support.by_turns BEFORE plan --units 1000000 --turns 12

BEFORE is the older checkout, run by its own virtual environment if it has one in `.venv`. A process of each stays alive and is asked in turn, and its
first answer is not counted: a new process for every time differs from the last by a third.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("pipeline.bench.scale", "pipeline.bench_scale")
"""Where the benchmark is, and where it was."""


def _answer(what: str, work_units: str) -> None:
    """In a checkout: times it once for every line read; prints seconds of the processor."""
    bench = _module()
    arguments: list[Any] = [work_units]
    with tempfile.TemporaryDirectory() as folder:
        if what == "resume":
            bench.write_ledger(Path(folder), bench.million(int(work_units)))
            arguments.insert(0, folder)
        for _ in sys.stdin:
            act: Callable[[], Any] = getattr(bench, f"_{what}")(*arguments)
            begun = time.process_time()
            with contextlib.redirect_stdout(sys.stderr):
                act()
            print(time.process_time() - begun, flush=True)


def _module() -> Any:
    for name in MODULES:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    raise SystemExit(f"no {' or '.join(MODULES)} in {os.getcwd()}")


class Side:
    """A checkout that answers."""

    def __init__(self, folder: Path, what: str, work_units: int) -> None:
        python = folder / ".venv/bin/python"
        self.folder = folder
        run = str(python) if python.exists() else sys.executable
        self.command = [run, __file__, "--answer", what, str(work_units)]
        self.process = subprocess.Popen(
            self.command, cwd=folder, env={**os.environ, "PYTHONPATH": "."},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.seconds: list[float] = []
        self.ask()
        self.seconds.clear()

    def ask(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        if not (answer := self.process.stdout.readline()):
            raise SystemExit(
                f"{self.folder} ended without an answer. Run it there to see why: {shlex.join(self.command)}"
            )
        self.seconds.append(float(answer))

    def end(self) -> None:
        self.process.communicate()


def compared(before: Sequence[float], after: Sequence[float]) -> str:
    """Means, the ratio of the means, and the standard error of the turns' ratios.

    Args:
        before: seconds of at least two turns.
        after: of the same turns.
    """
    ratios = np.divide(after, before)
    error = ratios.std(ddof=1) / np.sqrt(len(ratios))
    return f"before {np.mean(before):.2f} s, after {np.mean(after):.2f} s, ratio {np.mean(after) / np.mean(before):.3f} (standard error {error:.3f}), {len(ratios)} turns"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.by_turns", description=__doc__)
    parser.add_argument("folder", type=Path, help="the older checkout")
    parser.add_argument("what", choices=("plan", "resume"))
    parser.add_argument("--units", dest="work_units", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=12)
    options = parser.parse_args(arguments)
    before, after = (Side(each, options.what, options.work_units) for each in (options.folder.resolve(), ROOT))  # fmt: skip
    for turn in range(options.turns):
        for side in (before, after) if turn % 2 else (after, before):
            side.ask()
    print(compared(before.seconds, after.seconds))
    before.end()
    after.end()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        _answer(*sys.argv[2:])
    else:
        raise SystemExit(main())
