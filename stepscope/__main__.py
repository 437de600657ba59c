"""The command of an installation: `stepscope app | figures | site | run | publish | ...`; in a clone `python -m stepscope`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path

import app as dashboard

Run = Callable[[list[str]], int]
LOCAL = ("localhost", "127.0.0.1", "::1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0 success, 1 something failed, 2 a mistake in the input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name == "--version":
        print(metadata.version("stepscope"))
        return 0
    try:
        commands = {name: run for name, _, run in _of_the_app()}
        if name not in commands:  # these need more packages than the app's
            commands |= {name: run for name, _, run in _of_the_pipeline()}
        if name not in commands:
            return complain(unknown(name, list(commands)))
        return commands[name](rest)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("app", "pipeline", "stepscope"):
            raise
        return complain(
            f"stepscope {name} needs the package {missing!r}, which is not installed here. Run studies with: "
            "pip install 'stepscope[run]'"
        )


def complain(line: str) -> int:
    """Prints what is wrong. Returns: the exit status of a mistake in the input."""
    print(f"error: {line}", file=sys.stderr)
    return 2


def unknown(name: str, known: Sequence[str]) -> str:
    """What to say of a command that does not exist."""
    close = get_close_matches(name, known, 1)
    advice = f"Did you mean {close[0]}?" if close else f"Commands: {', '.join(known)}."
    return f"there is no command {name!r}. {advice}"


def overview() -> str:
    """All commands, one a line."""
    commands = list(_of_the_app())
    with suppress(ModuleNotFoundError):  # without the extra [run]
        commands += _of_the_pipeline()
    lines = [f"  {name:12}{text}" for name, text, _ in commands]
    usage = "usage: stepscope COMMAND ... | stepscope COMMAND --help | stepscope --version"
    return "\n".join([usage, "", *lines])


def _of_the_app() -> Iterator[tuple[str, str, Run]]:
    """Name, help and function of each command that needs no pipeline."""
    yield "app", "open the dashboard on published studies", open_dashboard
    yield "figures", "figures for papers from a published study", _figures
    yield "site", "write a published study as a static site", _site
    yield (
        "gate",
        "may a candidate replace the baseline? exit status 0 yes, 1 no, 3 undecided",
        _gate,
    )
    yield "import", "read a published data set into a results folder", _import
    yield "backup", "copy a study's reviews while they are written", _backup


def _of_the_pipeline() -> Iterator[tuple[str, str, Run]]:
    """The same of the commands of `python -m pipeline`."""
    from pipeline.cli import main as pipeline

    def run_named(name: str) -> Run:
        return lambda rest: pipeline.main([name, *rest])

    ours = {name for name, _, _ in _of_the_app()}  # the pipeline's gate starts the app's
    for action in pipeline.parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in (each for each in action._choices_actions if each.dest not in ours):
                yield each.dest, each.help or "", run_named(each.dest)


def _figures(rest: list[str]) -> int:
    from app.figures import again

    return again.run(rest)


def _site(rest: list[str]) -> int:
    from app.figures import site

    return site.main(rest)


def _gate(rest: list[str]) -> int:
    from stepscope import gate

    return gate.main(rest)


def _import(rest: list[str]) -> int:
    from app.database import importing

    return importing.main(rest)


def _backup(rest: list[str]) -> int:
    from app.database import backup

    return backup.main(rest)


def open_dashboard(rest: list[str]) -> int:
    """Serves the dashboard until it is stopped."""
    from streamlit.web import cli

    cli.main([*streamlit_arguments(parse_dashboard(rest))], prog_name="stepscope app")
    return 0


def parse_dashboard(rest: Sequence[str]) -> argparse.Namespace:
    """The command line of `stepscope app`."""
    parser = argparse.ArgumentParser(
        prog="stepscope app",
        description="Opens the dashboard on published studies; by default on those in data/results.",
        epilog="Any other option of Streamlit is set in the environment: STREAMLIT_SERVER_MAX_MESSAGE_SIZE=500.",
    )
    parser.add_argument("path", nargs="*", help="results folders, folders of them, DuckDB files")
    parser.add_argument("--address", default="localhost", help="to listen on; localhost by default")
    parser.add_argument("--port", type=int, default=8501, help="8501 by default")
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name or address under which readers open it; others are refused",
    )
    parser.add_argument(
        "--base-path", default="", metavar="PATH", help="of its URL, behind a proxy: stepscope"
    )
    parser.add_argument("--no-sql", action="store_true", help="turn the SQL page off")
    return parser.parse_args(rest)


def streamlit_arguments(options: argparse.Namespace) -> list[str]:
    """The command line of Streamlit that serves the dashboard so."""
    script = Path(str(dashboard.__file__)).with_name("main.py")
    hosts = [f"--server.allowedHosts={name}" for name in (*LOCAL, *options.host) if options.host]
    base = [f"--server.baseUrlPath={options.base_path.strip('/')}"] if options.base_path else []
    return [
        "run",
        str(script),
        f"--server.address={options.address}",
        f"--server.port={options.port}",
        *hosts,
        *base,
        "--",
        *(["--no-sql"] if options.no_sql else []),
        *options.path,
    ]


if __name__ == "__main__":
    sys.exit(main())
