"""Slurm: a study as an array of jobs, one for each part, and a job after them that publishes.

Nothing of a study gets into a shell script: the script is the same for every study, and all that is particular is an argument
of `sbatch` or of the script, given without a shell. A study's `[slurm]` table may name what is in `OPTIONS`, no other option.

Source: sbatch(1), squeue(1), scontrol(1), https://slurm.schedmd.com/sbatch.html.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.engine.progress import is_finished
from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.folder import Results
from pipeline.results.record import read_json, save_plan
from pipeline.results.shards import now
from pipeline.results.split import MAX_PARTS, deal
from pipeline.results.storage import explain_os_error, write_whole
from pipeline.study.plan import Plan

SCRIPT = """#!/bin/sh
# Runs the part of a study that has the number of this task of a job array. Usage: PARTS COMMAND...
parts=$1
shift
exec "$@" --part "$SLURM_ARRAY_TASK_ID/$parts"
"""
PUBLISH = """#!/bin/sh
# Runs after the parts of a study. Usage: COMMAND...
exec "$@"
"""
GRACE = 120  # seconds before the time limit at which a part is told to end
PARTS = 16  # unless told otherwise
ANSWER = 60.0  # seconds that a command of Slurm may take
# Keys of a study's [slurm], and the option of sbatch that each is; those of a queue are also the publishing job's.
OPTIONS = {"partition": "--partition", "account": "--account", "qos": "--qos", "reservation": "--reservation",
           "time": "--time", "constraint": "--constraint", "memory": "--mem", "cpus": "--cpus-per-task"}  # fmt: skip
OF_QUEUE = ("partition", "account", "qos", "reservation")
JOB = re.compile(r"\d{1,20}")
TASK = re.compile(r"\d{1,20}(_\d{1,10})?")


@dataclass(frozen=True)
class Task:
    """A job as `squeue` shows it; `part` is 0 where it is not of an array."""

    job: str
    part: int
    state: str
    reason: str
    time: str


def submit(
    plan: Plan,
    folder: Path,
    command: Sequence[str],
    settings: Mapping[str, str | int],
    *,
    gpu: bool = True,
    shards: str | None = None,
    extra: Sequence[str] = (),
) -> str:
    """Submits the parts that are not finished, and the job that publishes when they have ended.

    Args:
        plan: the study's.
        folder: which every node reaches under this path.
        command: what runs a part, to which `--part I/N` is added.
        settings: keys of `OPTIONS`, and `parts`; from the study, or the command line.
        gpu: whether each part asks for a GPU.
        shards: a place for the shards, as for a run.
        extra: further options of sbatch for the parts, as the user typed them.

    Returns: what was submitted, for the user.

    Raises:
        StoreError: there is no sbatch, it refuses, jobs of this folder are still in the queue, or the folder is in use.
    """
    sbatch, results = _tool("sbatch"), Results(folder.resolve())
    count = int(settings.get("parts", min(PARTS, len(plan))))
    left = _unfinished(results, plan, count, shards)
    if not left:
        return f"Every work unit is done. `python -m pipeline publish {results.folder}` publishes."
    job, publisher = _submit_both(
        sbatch,
        results,
        plan,
        count,
        left,
        command,
        settings,
        [*(["--gres=gpu:1"] if gpu else []), *extra],
    )
    record = {"job": job, "publish": publisher, "parts": count, "submitted": now()}
    write_whole(results.slurm, (json.dumps(record) + "\n").encode())
    return (
        f"Submitted {len(left)} of {count} parts as job {job}, and job {publisher}, which publishes when they have ended. "
        f"`python -m pipeline status {results.folder}` shows the queue; `scancel {job} {publisher}` stops it."
    )


def _unfinished(results: Results, plan: Plan, count: int, shards: str | None) -> list[int]:
    """The parts with work left, in a folder that is made ready for them."""
    _refuse_queued(results)
    results.create()
    with results.locked():
        results.remove_stale()
        if shards is not None:
            results.keep_shards_at(shards)
        results.refuse_foreign_place()
        save_plan(results, plan)
        return [number for number, todo in _left(results, plan, count).items() if todo]


def _submit_both(
    sbatch: str,
    results: Results,
    plan: Plan,
    count: int,
    left: Sequence[int],
    command: Sequence[str],
    settings: Mapping[str, str | int],
    extra: Sequence[str],
) -> tuple[str, str]:
    """Submits the array of the parts that are left, and the job after them; returns their numbers."""
    scripts = _write_scripts(results)
    common = [f"--job-name=stepscope-{plan.study.name}", f"--chdir={Path.cwd()}", "--parsable", "--requeue"]  # fmt: skip
    parts = [
        *common, *_options(settings, OPTIONS), *extra, f"--array={ranges(left)}", "--open-mode=append",
        f"--signal=B:TERM@{GRACE}", f"--output={_log(results, '%A_%a')}", str(scripts[0]), str(count), *command,
    ]  # fmt: skip
    job = _submitted([sbatch, *parts])
    after = [
        *common, *_options(settings, OF_QUEUE), f"--dependency=afterany:{job}", f"--output={_log(results, '%j')}",
        str(scripts[1]), sys.executable, "-m", "pipeline", *last_command(plan, results),
    ]  # fmt: skip
    return job, _submitted([sbatch, *after])


def last_command(plan: Plan, results: Results) -> list[str]:
    """What publishes; distances to reference entries need the images of all parts, and are computed before."""
    if plan.study.distances:
        return ["scores", "distance", str(results.folder), "--publish"]
    return ["publish", str(results.folder)]


def _left(results: Results, plan: Plan, count: int) -> dict[int, int]:
    """Work units of each part that need another try."""
    if not 1 <= count <= MAX_PARTS:
        raise StoreError(f"--parts {count}: out of range. Allowed: 1 to {MAX_PARTS:,}.")
    entries = results.read_ledger().entries
    todo = [not is_finished(results, entries.get(work_unit.unit_id)) for work_unit in plan]
    parts = enumerate(deal(plan, count), start=1)
    return {number: sum(todo[at] for at in positions) for number, positions in parts}


def left_of_parts(results: Results, plan: Plan, count: int) -> dict[int, tuple[int, int]]:
    """Part number -> (work units that need another try, all of its work units)."""
    sizes = [len(positions) for positions in deal(plan, count)]
    left = _left(results, plan, count)
    return {number: (todo, sizes[number - 1]) for number, todo in left.items()}


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order as `--array` takes them: 1-3,7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _options(
    settings: Mapping[str, str | int], names: Sequence[str] | Mapping[str, str]
) -> list[str]:
    return [f"{OPTIONS[name]}={settings[name]}" for name in names if name in settings]


def _log(results: Results, pattern: str) -> str:
    """Where a job's output goes. In the folder's path, % would be a pattern of Slurm."""
    return f"{results.logs}".replace("%", "%%") + f"/slurm-{pattern}.out"


def _write_scripts(results: Results) -> tuple[Path, Path]:
    folder = results.folder / "slurm"
    try:
        for path in (folder, results.logs):
            safe_files.make_folder(path)
    except OSError as error:
        raise StoreError(explain_os_error(folder, error)) from error
    scripts = folder / "part.sh", folder / "publish.sh"
    for path, text in zip(scripts, (SCRIPT, PUBLISH), strict=True):
        write_whole(path, text.encode())
    return scripts


def _refuse_queued(results: Results) -> None:
    record = submitted(results)
    if record is not None and (tasks := queue(record)):
        jobs = " ".join(dict.fromkeys(task.job for task in tasks))
        raise StoreError(
            f"{results.folder}: {len(tasks)} jobs of it are in the queue. Wait for them, or stop them: scancel {jobs}"
        )


def submitted(results: Results) -> dict[str, Any] | None:
    """What was submitted last for a results folder; None where nothing was, or the record is damaged."""
    if not safe_files.is_regular(results.slurm):
        return None
    record = read_json(results.slurm)
    jobs = [str(record.get(key)) for key in ("job", "publish")]
    parts = record.get("parts")
    well_formed = isinstance(parts, int) and 1 <= parts <= MAX_PARTS
    return record if well_formed and all(map(JOB.fullmatch, jobs)) else None


def queue(record: Mapping[str, Any]) -> list[Task] | None:
    """The jobs of a record that are in the queue or running; None where no squeue answers."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    jobs = f"--jobs={record['job']},{record['publish']}"
    try:
        done = _answer([squeue, "--noheader", "--array", jobs, "--format=%i|%T|%r|%M"])
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode:  # Slurm forgets jobs some time after they have ended
        return [] if "Invalid job id" in done.stderr else None
    rows = [line.strip().split("|") for line in done.stdout.splitlines()]
    return [_task(row) for row in rows if len(row) == 4]


def _task(row: Sequence[str]) -> Task:
    job, _, part = row[0].partition("_")
    return Task(job, int(part) if part.isdecimal() else 0, row[1], row[2], row[3])


def requeue(work_units: int) -> str:
    """Puts the job that this process runs in back into the queue, unless it finished nothing. Returns what came of it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    if not TASK.fullmatch(job):
        return "Not a job of Slurm: nothing to put back into the queue."
    if not work_units:  # it would come back for ever
        return (
            f"No work unit was finished, so job {job} is not put back into the queue. Raise --time."
        )
    try:
        done = _answer([_tool("scontrol"), "requeue", job])
    except (OSError, subprocess.SubprocessError) as error:
        return f"Job {job} could not be put back into the queue: {error}"
    if done.returncode:
        return f"Job {job} could not be put back into the queue: {_line(done.stderr)}"
    return f"Job {job} is back in the queue."


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise StoreError(
            f"no {name} on PATH. Run this on a login node of a Slurm cluster, or use `run --part I/N` with another scheduler."
        )
    return path


def _answer(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)


def _submitted(command: Sequence[str]) -> str:
    """The number of a job that sbatch has taken. With --parsable it says JOB, or JOB;CLUSTER."""
    try:
        done = _answer(command)
    except (OSError, subprocess.SubprocessError) as error:
        raise StoreError(f"sbatch: {_line(str(error))}") from None
    job = done.stdout.strip().partition(";")[0]
    if done.returncode or not JOB.fullmatch(job):
        raise StoreError(f"sbatch refused the job: {_line(done.stderr or done.stdout)}")
    return job


def _line(text: str) -> str:
    return " ".join(text.split())[:300] or "it said nothing"
