"""`stepscope gate`: the dashboard's verdict, and the pipeline's run where more prompts are asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from app.figures import gate
from app.figures.until import Runner, UntilError


def main(arguments: Sequence[str]) -> int:
    """Judges a gate; what follows `--` are options of `stepscope run`."""
    words = list(arguments)
    at = words.index("--") if "--" in words else len(words)
    options = words[at + 1 :]
    runner = Runner(total, lambda study, folder, prompts: run(study, folder, prompts, options))
    return gate.main(words[:at], runner)


def total(study: Path) -> int:
    """The number of prompts of a study file. Raises UntilError where it cannot be read."""
    from pipeline.errors import StepscopeError
    from pipeline.study.prompts import read_prompts
    from pipeline.study.reading import load_study

    try:
        return len(read_prompts(load_study(study).prompts))
    except StepscopeError as error:
        raise UntilError(str(error)) from error


def run(study: Path, folder: Path, prompts: int, options: Sequence[str]) -> int:
    """Runs the first prompts of a study and publishes them; what the run prints goes to standard error."""
    from pipeline.cli.main import main as pipeline

    with redirect_stdout(sys.stderr):
        return pipeline(["run", str(study), "--out", str(folder), "--limit", str(prompts), *options])  # fmt: skip
