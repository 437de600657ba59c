"""Results folders that mean harm: every command gives a result or one line, in time, and touches nothing outside the folder.

A small folder is made once. Each case copies it, does one harm of `harmed_folders.py` to the copy and gives it to every
command. Beside it lies a canary: files that harmful links, paths and names lead to; neither a byte nor a time of them may
change.
"""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.cli.terminal import complain
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.errors import StepscopeError
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.study.spec import ConceptSource
from tests.attacks.harmed_folders import HARMS, Ground
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study, write_trust

SECONDS = 10  # a command that takes longer hangs
MEMORY = (
    6 * 2**30
)  # more address space than this process has at the start: more is a bomb that went off
NOT_PRINTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
BANK = '[[concept]]\nname = "cat"\nfamily = "object"\nphrasings = ["a cat"]\n'


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """The plan of the study whose folder is harmed: two units."""
    bank = tmp_path_factory.mktemp("bank") / "bank.toml"
    bank.write_text(BANK)
    study = small_study(models=1, prompts=4, seeds=1, steps=3, unit_prompts=2)
    return plan_of(replace(study, concepts=ConceptSource(bank)))


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory) -> Path:
    """The folder that is harmed: run, published, with everything that a folder can hold."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    engine.run(plan, folder, "cpu", FakeWorker)
    write_trust(folder, ["scenes-unet"], [0, 2])
    add_score(folder)
    publish(folder)
    return folder


def add_score(folder: Path) -> None:
    """A score of every prompt, as another program gives it."""
    file = folder.parent / "scores.csv"
    keys = [prompt.prompt_key for prompt in load_plan(Results(folder)).prompts]
    file.write_text(
        "model,prompt_key,value\n" + "".join(f"scenes-unet,{key},0.5\n" for key in keys)
    )
    assert main(["scores", "add", str(folder), str(file), "--metric", "m", "--source", "s"]) == 0


@pytest.fixture(scope="module")
def other_shards(tmp_path_factory) -> Path:
    """Another study's shards."""
    folder = tmp_path_factory.mktemp("other") / "r"
    engine.run(plan_of(small_study(models=1, prompts=2, seeds=1, steps=2)), folder, "cpu", FakeWorker)  # fmt: skip
    return folder / "shards"


def make_canary(canary: Path, other_shards: Path) -> None:
    canary.mkdir()
    (canary / "note.txt").write_text("do not touch\n")
    (canary / "data.duckdb").write_bytes(b"mine")
    (canary / ".x.tmp").write_text("mine too")
    shutil.copytree(other_shards, canary / "shards")


def state(canary: Path) -> dict[str, tuple]:
    """Every file and folder: kind, content, time of change, permissions."""
    entries = {}
    for path in [canary, *sorted(canary.rglob("*"))]:
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        entries[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_size, data)
    return entries


class Hang(BaseException):
    """A command took too long."""


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# Half a second each: not for every case, but for those that are about what they open, and a third of the others.
EXPENSIVE = ("export", "publish")
ABOUT_THEM = (
    "snapshots",
    "publish.lock",
    "shard column",
    "extra",
    "ledger.jsonl is",
    "shards.json",
    "prompts column",
    "scores",
)


def is_for(command: str, name: str) -> bool:
    """Whether a case goes through a command."""
    return (
        command not in EXPENSIVE or name.startswith(ABOUT_THEM) or list(HARMS).index(name) % 3 == 0
    )


def commands(ground: Ground, plan, out: Path) -> dict[str, Callable[[], object]]:
    """What is done to a folder, what only reads it first."""
    folder = str(ground.folder)
    return {
        "status": lambda: main(["status", folder]),
        "diff": lambda: main(["diff", folder, str(ground.whole)]),
        "merge": lambda: main(
            ["merge", str(ground.whole), folder, "--out", str(out / "m"), "--no-publish"]
        ),
        "export": lambda: main(["export", folder, "--out", str(out / "e")]),
        "verify": lambda: main(["verify", folder]),
        "migrate": lambda: main(["migrate", folder]),
        "gc": lambda: main(["gc", folder, "--yes"]),
        "scores": lambda: main(["scores", "list", folder]),
        "publish": lambda: main(["publish", folder]),
        "run": lambda: _run(plan, ground.folder),
        "scores remove": lambda: main(["scores", "remove", folder, "m"]),
    }


def _run(plan, folder: Path) -> int:
    """The command line's run, without looking at the weights of models."""
    try:
        engine.run(plan, folder, "cpu", FakeWorker)
    except StepscopeError as error:
        complain(f"error: {error}")
        return 2
    return 0


def test_the_corpus_is_as_large_as_is_promised():
    assert len(HARMS) >= 400


@pytest.mark.parametrize("name", HARMS)
def test_a_harmed_folder(
    name, tmp_path, whole, other_shards, plan, capsys, bounded_memory, monkeypatch
):
    ground = Ground(tmp_path / "r", tmp_path / "canary", whole)
    make_canary(ground.canary, other_shards)
    shutil.copytree(whole, ground.folder)
    HARMS[name](ground)
    before = state(ground.canary)
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)  # a path without a folder would be written here
    try:
        for command, act in commands(ground, plan, out).items():
            if not is_for(command, name):
                continue
            with in_time():
                status = act()
            said = capsys.readouterr()
            text = "\n".join(line for line in said.err.splitlines() if "it/s" not in line)
            assert status in (0, 1, 2), (command, status)
            assert not NOT_PRINTED.search(said.out + text), (command, said.out + text)
            assert "Traceback" not in text, (command, text)
            if status == 2:
                lines = [
                    line for line in (said.out + text).splitlines() if line.startswith("error: ")
                ]
                assert len(lines) == 1 and len(lines[0]) < 1500, (command, said)
            assert state(ground.canary) == before, command
            assert {path.name for path in out.iterdir()} <= {"m", "e"}, command
    finally:
        for path in tmp_path.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
