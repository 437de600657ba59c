"""The command gate: the dashboard's verdict, in a process of its own, for the pipeline imports nothing of the dashboard."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec

from pipeline.errors import StoreError

NAME = "gate"
PARENT = (__package__ or "").rpartition("pipeline")[0]
"""What stands before `app` and `pipeline`: nothing in a clone, the package in an installation."""
COMMAND = (sys.executable, "-m", "stepscope", NAME)


def add_arguments(commands: argparse._SubParsersAction) -> None:
    """Adds the command for the help; `main` hands its arguments to `judge` unread."""
    gate = commands.add_parser(
        NAME,
        help="may a candidate replace the baseline? exit status 0 yes, 1 no, 3 undecided",
        description="Judges the criteria of a file by the rule of the page Review. It starts `stepscope gate` and passes on all "
        "options, the output and the exit status: 0 passed, 1 failed, 3 undecided, 2 a mistake in the input. docs/gate.md has "
        "the criteria file and the other options.",
    )
    gate.add_argument("folder", metavar="DIR", help="results folder or DuckDB file")
    gate.add_argument("--criteria", metavar="FILE", help="TOML; the page Review saves one")


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether nothing but help is asked for."""
    return list(words) in (["-h"], ["--help"])


def judge(words: Sequence[str]) -> int:
    """Runs the gate with these arguments. Returns: its exit status.

    Raises:
        StoreError: the dashboard is not there.
    """
    if not all(map(find_spec, (f"{PARENT}app", "stepscope"))):
        raise StoreError(
            "gate: the dashboard, which judges a gate, is not installed here. Install it: pip install stepscope"
        )
    with subprocess.Popen([*COMMAND, *words]) as process:
        while process.poll() is None:
            with suppress(KeyboardInterrupt):  # the gate has it too, and ends its run in order
                process.wait()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode
