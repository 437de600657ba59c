"""docs/cli.md, made of what `--help` prints: `python -m tests.support.cli_reference` writes it (`make docs`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAD = """# The command line

Written by `make docs` from what `--help` prints; after `make`, `python` is `.venv/bin/python`. Exit status: 0 success, 1 something failed, 2 a mistake
in the input (one line says which), 130 stopped by Ctrl-C. A stopped or killed command resumes when it is run again.
"""
# Beside the commands of `python -m pipeline`.
MODULES = ("app.figures", "app.figures.site", "app.figures.gate", "app.database.importing", "pipeline.bench.tools", "pipeline.bench.masks", "pipeline.bench.scale", "pipeline.bench.peers", "pipeline.bench.card")  # fmt: skip


# As `python -m` runs each, but one after the other in one process: importing torch for each takes half a minute.
ASK = """
import contextlib, io, json, re, runpy, sys
answers = {}
def ask(*command):
    sys.argv = [command[0], *command[1:], "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    answers[" ".join(command)] = said.getvalue().strip()
ask("pipeline")
for name in re.findall(r"^    ([a-z-]+)(?:  |$)", answers["pipeline"], re.MULTILINE):
    ask("pipeline", name)
for module in MODULES:
    ask(module)
print(json.dumps(answers))
"""


@cache
def helps() -> dict[str, str]:
    """What `python -m COMMAND --help` prints, 100 columns wide, by command."""
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHON_COLORS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", f"MODULES = {MODULES}\n{ASK}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def document() -> str:
    """The whole of docs/cli.md."""
    sections = (f"\n## `python -m {name}`\n\n```\n{text}\n```\n" for name, text in helps().items())
    return "".join((HEAD, *sections))


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(document())
