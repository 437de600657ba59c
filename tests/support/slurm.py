"""Stand-ins of sbatch, squeue and scontrol on PATH, and a cluster that runs what was submitted here, with faults.

`sbatch` only notes a job; `Cluster.work` runs the jobs that are noted, two at a time, each task in a process of its own, as Slurm
would run the batch script: the arguments after the script are PARTS COMMAND... The worker is FakeWorker's slow kind.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.engine import run as engine
from pipeline.results.folder import Results
from tests.support.fake_worker import FakeWorker, SlowWorker

FORK = multiprocessing.get_context("forkserver")
# torch is imported once, not by every task.
FORK.set_forkserver_preload(
    ["tests.support.slurm", "tests.support.synthetic", "pipeline.cli.main", "pipeline.preflight.prepare",
     "pipeline.models.loading", "pipeline.models.scorer", "pipeline.preflight.models", "pipeline.database.publish"]
)  # fmt: skip
AT_ONCE = 2
PATIENCE = 300.0
COMMAND = """#!{python} -SE
import json, os, sys
folder, name, said = {folder!r}, {name!r}, sys.argv[1:]
if name == "sbatch":
    with open(os.path.join(folder, "jobs.jsonl"), "a+") as file:
        file.seek(0)
        job = 1000 + len(file.readlines())
        file.write(json.dumps({{"job": job, "arguments": said}}) + "\\n")
    print(job)
elif name == "scontrol":
    open(os.path.join(folder, "requeue-" + said[1]), "w").close()
else:
    print(open(os.path.join(folder, "queue.txt")).read(), end="")
"""


@dataclass
class Task:
    """A task of a job: of an array, or the whole job."""

    job: int
    number: int
    arguments: list[str]
    output: str
    restarts: int = 0
    fault: str = ""
    process: Any = None

    @property
    def name(self) -> str:
        return f"{self.job}_{self.number}" if self.number else str(self.job)


@dataclass
class Cluster:
    """A cluster in a folder, whose commands come first on PATH.

    Attributes:
        folder: the commands, and what they were asked.
        rng: of the faults.
        faults: kind -> how many are still to come: "killed", "preempted", "time limit".
    """

    folder: Path
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    faults: dict[str, int] = field(default_factory=dict)
    struck: dict[str, int] = field(default_factory=dict)
    ran: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "queue.txt").write_text("")
        for name in ("sbatch", "squeue", "scontrol"):
            path = self.folder / name
            path.write_text(
                COMMAND.format(python=sys.executable, folder=str(self.folder), name=name)
            )
            path.chmod(0o755)

    @property
    def path(self) -> str:
        """PATH with the stand-ins first."""
        return f"{self.folder}:{os.environ['PATH']}"

    def submitted(self) -> list[dict[str, Any]]:
        """Every job that sbatch was given."""
        path = self.folder / "jobs.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def work(self) -> None:
        """Runs what was submitted and has not run, in order: a job that depends on another is submitted after it."""
        for job in self.submitted()[self.ran :]:
            self.ran += 1
            self._run(_tasks(job))
        (self.folder / "queue.txt").write_text("")

    def _run(self, pending: list[Task]) -> None:
        running: list[Task] = []
        while pending or running:
            while pending and len(running) < AT_ONCE:
                running.append(self._start(pending.pop(0)))
            self._show(pending, running)
            for task in list(running):
                if self._ended(task):
                    running.remove(task)
                    if self._comes_back(task):
                        pending.append(task)
            time.sleep(0.02)

    def _show(self, pending: list[Task], running: list[Task]) -> None:
        rows = [f"{t.name}|RUNNING|None|0:01" for t in running]
        rows += [f"{t.name}|PENDING|Resources|0:00" for t in pending]
        (self.folder / "queue.txt").write_text("".join(f"{row}\n" for row in rows))

    def _start(self, task: Task) -> Task:
        environment = {"PATH": self.path, "SLURM_JOB_ID": str(task.job), "SLURM_RESTART_COUNT": str(task.restarts)}  # fmt: skip
        if task.number:
            environment |= {"SLURM_ARRAY_JOB_ID": str(task.job), "SLURM_ARRAY_TASK_ID": str(task.number)}  # fmt: skip
        task.process = FORK.Process(target=_batch, args=(task.arguments, environment, task.output))
        task.process.start()
        left = [kind for kind, count in self.faults.items() if count]
        task.fault = self.rng.choice(left) if left and task.number else ""
        if task.fault:
            self._strike(task)
        return task

    def _strike(self, task: Task) -> None:
        """Waits until the task has finished a work unit, and does what its fault is, where it is still running then."""
        ledger = self._ledger(task)
        before, end = _lines(ledger), time.monotonic() + PATIENCE
        while task.process.is_alive() and _lines(ledger) == before and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(self.rng.uniform(0, 0.2))
        if not task.process.is_alive():
            task.fault = ""
            return
        self.faults[task.fault] -= 1
        self.struck[task.fault] = self.struck.get(task.fault, 0) + 1
        if task.fault == "killed":
            os.kill(task.process.pid, signal.SIGKILL)
        else:
            os.kill(task.process.pid, signal.SIGTERM)
        if task.fault == "preempted":  # a grace time that may be too short
            task.process.join(self.rng.uniform(0, 0.3))
            with contextlib.suppress(ProcessLookupError):
                os.kill(task.process.pid, signal.SIGKILL)

    def _ledger(self, task: Task) -> Path:
        folder = Path(task.arguments[task.arguments.index("--out") + 1])
        part, of = task.arguments[-1].split("/")
        return folder / "parts" / f"{int(part):05d}-of-{int(of):05d}.ledger.jsonl"

    def _ended(self, task: Task) -> bool:
        if task.process.is_alive():
            return False
        task.process.join()
        return True

    def _comes_back(self, task: Task) -> bool:
        """Slurm itself puts back what it preempted or lost with a node (--requeue); else the job asked for it."""
        asked = self.folder / f"requeue-{task.name}"
        back = asked.exists() or task.fault in ("killed", "preempted")
        asked.unlink(missing_ok=True)
        task.restarts += back
        return back


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _tasks(job: dict[str, Any]) -> list[Task]:
    """The tasks of a job; the batch script is the first argument that is no option."""
    said = job["arguments"]
    at = next(i for i, text in enumerate(said) if not text.startswith("-"))
    options = dict(text.partition("=")[::2] for text in said[:at])
    script, arguments = Path(said[at]).name, said[at + 1 :]
    output = options["--output"].replace("%A", str(job["job"])).replace("%j", str(job["job"]))
    if script != "part.sh":
        return [Task(job["job"], 0, arguments, output)]
    parts, *command = arguments
    return [
        Task(job["job"], n, [*command, "--part", f"{n}/{parts}"], output.replace("%a", str(n)))
        for n in numbers(options["--array"])
    ]


def numbers(array: str) -> list[int]:
    """The numbers of an array, as 1-3,7."""
    ends = [part.split("-") for part in array.split(",")]
    return [n for first, *last in ends for n in range(int(first), int((last or [first])[0]) + 1)]


def _batch(arguments: list[str], environment: dict[str, str], output: str) -> None:
    """A batch script that has become `python -m pipeline ...`, with another worker."""
    from pipeline.cli.main import main

    os.environ.update(environment)
    engine.local_worker = SlowWorker
    assert arguments[1:3] == ["-m", "pipeline"], arguments
    with open(output, "a") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        sys.exit(main(arguments[3:]))


FAULTS = ("killed", "preempted", "time limit")
STUDY, SEEDS = "data/studies/small.toml", range(6)


def chaos(fault: str, count: int, seed: int, expected: object) -> tuple[int, int, int, int]:
    """Strikes parts of a study that Slurm runs, until there were so many faults.

    Returns: faults, submissions, results with damaged or missing shards, results with another content than a plain run's.
    """
    from tests.support.faults import content

    rng, struck, submissions, damaged, changed = random.Random(seed), 0, 0, 0, 0
    while struck < count:
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        try:
            cluster = Cluster(folder / "cluster", rng, {fault: min(3, count - struck)})
            for _ in range(5):
                run_here(cluster, folder / "r", "--parts", "3")
                submissions += 1
                cluster.work()
                if not any(_left(folder / "r")):
                    break
            struck += cluster.struck.get(fault, 0)
            damaged += bool(_problems(folder / "r"))
            changed += content(folder / "r") != expected
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return struck, submissions, damaged, changed


def expected_content() -> tuple[Any, ...]:
    """The content of a plain run of the study."""
    from pipeline.database.publish import publish
    from pipeline.study.plan import plan_study
    from pipeline.study.reading import load_study
    from tests.support.faults import content

    with tempfile.TemporaryDirectory() as folder:
        engine.run(plan_study(load_study(STUDY, seeds=SEEDS)), Path(folder), "cpu", FakeWorker)
        publish(Path(folder))
        return content(Path(folder))


def run_here(cluster: Cluster, folder: Path, *options: str) -> int:
    """Submits the small study with six seeds, as the command line does."""
    from pipeline.cli.main import main

    before = os.environ["PATH"]
    os.environ["PATH"] = cluster.path
    try:
        return main(["run", STUDY, "--seeds", *map(str, SEEDS), "--out", str(folder), "--device", "cpu", "--engine", "slurm", *options])  # fmt: skip
    finally:
        os.environ["PATH"] = before


def _left(folder: Path) -> list[int]:
    from pipeline.engine.slurm import left_of_parts
    from pipeline.results.record import load_plan

    results = Results(folder)
    return [todo for todo, _ in left_of_parts(results, load_plan(results), 3).values()]


def _problems(folder: Path) -> list[str]:
    from pipeline.results.verify import verify

    return verify(folder)
