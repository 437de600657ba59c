"""`run STUDY --follow`: looks for new checkpoints of training runs, samples them, publishes, and looks again until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pipeline.cli.terminal import complain, say
from pipeline.errors import StepscopeError
from pipeline.study.checkpoints import NoCheckpoint
from pipeline.study.reading import load_study

LOOK = 10.0  # seconds between two looks at the folders
STOPPED = 130  # exit status of a run that Ctrl-C has stopped

Checkpoints = frozenset[tuple[str, str]]


def follow(path: Path, run: Callable[[], int], pause: Callable[[float], object] = time.sleep) -> int:  # fmt: skip
    """Runs a study whenever it has a checkpoint that it had not at the last look, until Ctrl-C.

    A mistake in the study file ends it before the first run; later ones are said once and looked at again, for a folder that
    is being copied may be odd for a while.

    Args:
        path: the study file.
        run: runs and publishes it once; gives the exit status.
        pause: waits so many seconds.

    Returns: 130 after Ctrl-C.

    Raises:
        StepscopeError: the study cannot be read, or run the first time.
    """
    known: Checkpoints | None = None
    said = ""
    try:
        while True:
            try:
                present = look(path)
                if present is not None and (known is None or present - known):
                    if run() == STOPPED:
                        return STOPPED
                    known, said = present | (known or frozenset()), ""
                    say(f"Waiting for checkpoints after {len(known)}. Ctrl-C stops; the same command resumes.")  # fmt: skip
                elif present is None and not said:
                    said = "waiting"
                    say("Waiting for the first checkpoint. Ctrl-C stops.")
            except StepscopeError as error:
                if known is None:
                    raise
                if str(error) != said:
                    said = str(error)
                    complain(f"not yet: {said}")
            pause(LOOK)
    except KeyboardInterrupt:
        say("Stopped. Finished work is kept; the same command resumes from there.")
        return STOPPED


def look(path: Path) -> Checkpoints | None:
    """The checkpoints of a study's training runs that are whole now; None where a pattern has none yet."""
    try:
        study = load_study(path)
    except NoCheckpoint:
        return None
    return frozenset(
        (model.name, " + ".join((model.source, *(each.source for each in model.adapters or ()))))
        for model in study.models
        if model.run
    )
