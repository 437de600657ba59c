"""The gate, from the shell: may a candidate replace the baseline, by the criteria of a file.

    python -m app.figures.gate SNAPSHOT --criteria FILE [--markdown] [--json] [--junit FILE]

Exit status: 0 passed, 1 failed, 3 undecided, 2 a mistake in the input. `stepscope gate` is the same command, and can
also run more prompts until it is decided.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.analysis import criteria, gates, reviews, spending, uncertainty
from app.analysis.criteria import CriteriaError, Gate
from app.analysis.decisions import Frozen
from app.analysis.gates import Decision
from app.analysis.looks import MOST_LOOKS, Look
from app.analysis.reading import StudyView
from app.database.notebook import ReviewError
from app.database.snapshots import SnapshotError
from app.figures import frozen_gate, until, verdicts
from app.figures.export import write_files
from app.figures.source import Choice, FigureError, FigureStudy, open_study
from app.figures.until import Runner, Sequential, UntilError

MOST = 10**6


class GateError(Exception):
    """A gate that cannot be judged: the file, the key, its value, and what is allowed."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="stepscope gate",
        description="May the candidate replace the baseline? Judges the criteria of a file by the rule of the page Review.",
        epilog="Exit status: 0 passed, 1 failed, 3 undecided, 2 a mistake in the input.",
    )
    command.add_argument("snapshot", metavar="DIR", help="results folder or DuckDB file")
    command.add_argument("--criteria", type=Path, required=True, metavar="FILE", help="TOML; the page Review saves one")  # fmt: skip
    command.add_argument("--list", action="store_true", help="print the measures that a criterion may name")  # fmt: skip
    form = command.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print Markdown for a pull request")
    form.add_argument("--json", action="store_true", help="print JSON: every number and its source")
    command.add_argument("--junit", type=Path, metavar="FILE", help="also write JUnit XML")
    command.add_argument("--frozen", type=Path, metavar="FILE", help="a decision that --json printed: shown beside today's")  # fmt: skip
    _add_until(command)
    return command


def _add_until(command: argparse.ArgumentParser) -> None:
    more = command.add_argument_group(
        "more prompts", "options of `stepscope run` follow after --, as in: -- --device cuda"
    )
    more.add_argument("--until-decided", action="store_true", help="run more prompts of the study until it is decided; looks spend the error of 5 %% between them")  # fmt: skip
    more.add_argument("--budget", type=_positive, metavar="N", help="at most N more prompts")
    more.add_argument("--study", type=Path, metavar="STUDY.toml", help="the study file")
    more.add_argument("--looks", type=_few, default=until.LOOKS, metavar="N", help=f"looks after the first ({until.LOOKS})")  # fmt: skip
    more.add_argument("--spending", choices=list(spending.SHAPES), default="obrien-fleming", help="how the error is spent: obrien-fleming (little at first; default) or pocock")  # fmt: skip


def _positive(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 to {MOST:,}")
    return value


def _few(text: str) -> int:
    if _positive(text) >= MOST_LOOKS:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number below {MOST_LOOKS}")
    return int(text)


def main(arguments: Sequence[str], runner: Runner | None = None) -> int:
    """Judges a gate; returns its exit status.

    Args:
        arguments: the command line.
        runner: runs more prompts; None = --until-decided is refused.
    """
    options = parser().parse_args(arguments)
    try:
        gate = criteria.read(options.criteria)
        frozen = frozen_gate.read(options.frozen) if options.frozen else None
        study = opened(options.snapshot, gate, options.criteria.name)
        if options.list:
            print(listed(study, gate, options.criteria.name))
            return 0
        looks: list[Look] = []
        if options.until_decided:
            decision, looks = until_decided(options, gate, runner)
        else:
            decision = judged(study, gate, options.criteria.name)
        show(decision, options, looks, frozen)
    except SnapshotError as error:
        return complain(f"{error.title} {error.detail}")
    except (CriteriaError, GateError, UntilError, ReviewError) as error:
        return complain(str(error))
    except BrokenPipeError:  # who reads it has seen enough; the verdict is the exit status
        pass
    except OSError as error:
        return complain(f"--junit {options.junit}: {error.strerror or error}")
    return decision.exit_status


def complain(line: str) -> int:
    """Prints what is wrong. Returns: the exit status of a mistake in the input."""
    print(f"error: {line}", file=sys.stderr)
    return 2


def opened(path: str, gate: Gate, file: str) -> FigureStudy:
    """The study with the gate's filters.

    Raises:
        SnapshotError: it cannot be read.
        GateError: a filter names what the study does not have.
    """
    try:
        return open_study(path, Choice(**gate.filters))
    except FigureError as error:
        raise GateError(f"{file}: filters.{str(error).removeprefix('--')}") from error


def judged(study: StudyView, gate: Gate, file: str, alpha: float = uncertainty.ALPHA) -> Decision:
    """The decision at a look of this level. Raises GateError for a model or measure that the study lacks."""
    try:
        return gates.decide(study, gate, alpha)
    except CriteriaError as error:
        raise GateError(f"{file}: {error}") from error


def until_decided(
    options: argparse.Namespace, gate: Gate, runner: Runner | None
) -> tuple[Decision, list[Look]]:
    """The decision after as many prompts as it takes, within the budget, and the looks."""
    if runner is None:
        raise GateError("--until-decided runs the pipeline: use `stepscope gate`.")
    folder, file = Path(options.snapshot), options.criteria.name
    missing = [f"--{name}" for name in ("budget", "study") if getattr(options, name) is None]
    if missing or not folder.is_dir():
        raise GateError(f"--until-decided needs {' and '.join(missing) or 'a results folder, not a database file'}.")  # fmt: skip
    return Sequential(
        gate, folder, options, runner,
        lambda: opened(options.snapshot, gate, file),
        lambda study, alpha: judged(study, gate, file, alpha),
        lambda line: print(line, file=sys.stderr),
    ).until_decided()  # fmt: skip


def listed(study: FigureStudy, gate: Gate, file: str) -> str:
    """The measures that a criterion may name, with their directions. Raises GateError for a model that the study lacks."""
    try:
        pair = gates.pair_of(study, gate)
    except CriteriaError as error:
        raise GateError(f"{file}: {error}") from error
    measured = {
        **reviews.measures(study, pair),
        **({} if study.named_only else reviews.measures(study, pair, named=False)),
    }
    return "\n".join(f"{evidence.better:7} {name}" for name, evidence in measured.items())


def show(
    decision: Decision, options: argparse.Namespace, looks: Sequence[Look], frozen: Frozen | None
) -> None:
    """Prints the decision in the form that is asked for, beside a frozen one, and writes JUnit XML where a file is named."""
    if options.junit:
        write_files({options.junit.name: verdicts.to_junit(decision).encode()}, options.junit.parent)  # fmt: skip
    if options.json:
        more = {"frozen": frozen_gate.record(frozen)} if frozen else {}
        print(verdicts.to_json(decision, looks=[vars(each) for each in looks], **more), end="")
    elif options.markdown:
        print(verdicts.to_markdown(decision), end="")
        print(frozen_gate.to_markdown(frozen, decision) if frozen else "", end="")
    else:
        print(verdicts.text(decision))
        if frozen:
            print(frozen_gate.text(frozen, decision))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
