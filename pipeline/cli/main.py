"""The command line: python -m pipeline run | check | publish | status | verify | reproduce | diff | merge | gc | export | compact | migrate | scores | gate | demo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli import database, demo, gate, places, reproduce, results, scores, study
from pipeline.cli.terminal import complain
from pipeline.errors import StepscopeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 well, 1 something failed, 2 a user's mistake, 130 stopped by Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == [gate.NAME] and not gate.asks_for_help(words[1:]):
            return gate.judge(words[1:])
        options = parser().parse_args(words)
        places.allow(options)
        return int(options.handler(options) or 0)
    except StepscopeError as error:
        complain(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        complain("\nstopped")
        return 130
    except BrokenPipeError:
        return 1


def parser() -> argparse.ArgumentParser:
    """The parser of every command; each sets `handler`, a function of the parsed arguments."""
    command_line = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    commands = command_line.add_subparsers(required=True, metavar="COMMAND")
    for family in (study, database, results, reproduce, scores, gate):
        family.add_arguments(commands)
    bundled = commands.add_parser("demo", help="the bundled models: train, evaluate, ...")
    demo.add_arguments(bundled.add_subparsers(required=True, metavar="COMMAND"))
    return command_line
