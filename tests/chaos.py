"""Kills runs and publishers at random moments and prints what was lost: `make chaos`.

Every round starts a real run or publisher in a process of its own, waits for a moment (a shard being written, the
ledger, the swap, ...), and SIGKILLs it, or one of its workers, a random time later. At the end each folder is run
once more and its content hash must be that of a folder that nothing happened to.

Then every fault of tests/support/faults.py and stops.py is done some times: of disks, files, clocks, a second driver, memory,
the model, and of processes that are stopped (SIGSTOP).
"""

from __future__ import annotations

import argparse
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import duckdb
from tqdm import tqdm

from pipeline.database import (
    publish,
)
from pipeline.engine import run as engine
from pipeline.results import folder as folder_
from pipeline.results import storage
from pipeline.results.folder import Results
from pipeline.results.verify import verify
from tests.support import faults, slurm, stops
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

# A server without threads forks the victims: a fork of this process could inherit a lock that a thread of DuckDB or
# Arrow holds, and wait for it for ever.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(
    [
        "tests.support.synthetic",
        "tests.support.fake_worker",
        "pipeline.engine.run",
        "pipeline.database.publish",
    ]
)
PATIENCE = 60  # seconds for a moment to come; a victim that takes longer is killed and its round counted as hung
# Moment -> (what is killed, longest wait after it began in seconds).
MOMENTS = {
    "sampling": ("driver", 0.03),
    "shard": ("driver", 0.01),
    "ledger": ("driver", 0.004),
    "worker": ("worker", 0.05),
    "publish": ("publisher", 0.3),
    "swap": ("publisher", 0.004),
}


def study():
    return small_study(models=2, prompts=12, seeds=2, steps=4)


class Slow(FakeWorker):
    """A worker that says when a unit begins, and takes a while."""

    def run(self, work_unit, on_step=None):
        tell("sampling")
        time.sleep(0.01)
        return super().run(work_unit, on_step)


PIPE = -1


def tell(moment):
    with contextlib.suppress(OSError):
        os.write(PIPE, f"{moment}\n".encode())


def marked(moment, function):
    def call(*arguments, **named):
        tell(moment)
        return function(*arguments, **named)

    return call


def victim(folder, moment, pipe):
    """The process that will be killed: a run, or a publisher."""
    global PIPE
    PIPE = pipe.fileno()
    os.setsid()
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    storage.write_whole = marked("shard", storage.write_whole)
    folder_.Results.append = marked("ledger", folder_.Results.append)
    publish.insert_shards = marked("publish", publish.insert_shards)
    publish.point_to = marked("swap", publish.point_to)
    if moment in ("publish", "swap"):
        publish.publish(folder)
    elif moment == "worker":
        engine.run(plan_of(study()), folder, "cpu", FakeWorker, engine=engine.Engine(workers=2))
    else:
        engine.run(plan_of(study()), folder, "cpu", Slow)


def round_(folder, moment, rng):
    """Starts a victim, kills it at a moment. Returns whether the kill struck a living process."""
    target, longest = MOMENTS[moment]
    read, write = FORK.Pipe(duplex=False)
    process = FORK.Process(target=victim, args=(folder, moment, write))
    process.start()
    write.close()
    try:
        if target == "worker":
            return kill_worker(process.pid, rng, longest)
        skip = rng.randrange(6) if moment in ("sampling", "shard", "ledger") else 0
        await_moment(read, moment, skip)
        time.sleep(rng.uniform(0, longest))
        if not process.is_alive():
            return False
        with contextlib.suppress(ProcessLookupError):  # it ended just now
            os.kill(process.pid, signal.SIGKILL)
            return True
        return False
    finally:
        read.close()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
            raise RuntimeError(f"a {target} hung at {moment}, in {folder}")


def await_moment(pipe, moment, skip):
    """Returns when the victim has said a moment `skip` + 1 times, or has ended."""
    deadline, text = time.time() + PATIENCE, b""
    while text.count(f"{moment}\n".encode()) <= skip and time.time() < deadline:
        if pipe.poll(0.1):
            data = os.read(pipe.fileno(), 4096)
            if not data:
                return
            text += data


def kill_worker(driver, rng, longest):
    """Kills one of the driver's processes, once it has some."""
    deadline = time.time() + PATIENCE
    while time.time() < deadline:
        try:
            pids = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
            children = [
                int(pid)
                for pid in pids
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
        except (FileNotFoundError, ProcessLookupError):
            return False  # the run had ended before
        if len(children) == 2:
            time.sleep(rng.uniform(0, 1 + longest))
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(children), signal.SIGKILL)
                return True
            return False
        time.sleep(0.02)
    return False


def content(folder):
    with duckdb.connect(folder, read_only=True) as con:
        return con.execute("SELECT content_hash, done_samples FROM study").fetchone()


def readable(folder):
    """Whether the snapshot that the pointer names can be read, if there is one."""
    if not (folder / "current.json").exists():
        return True
    pointer = json.loads((folder / "current.json").read_text())
    return content(folder / pointer["snapshot"])[1] > 0


def quiet(action, *arguments, **named):
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        return action(*arguments, **named)


def expected_content():
    with tempfile.TemporaryDirectory() as folder_name:
        quiet(engine.run, plan_of(study()), Path(folder_name), "cpu", FakeWorker)
        return content(publish.publish(Path(folder_name)).path)


def chaos(kills, seed):
    """Rows of the table: moment, what was killed, kills, snapshots unreadable after one, restarts with other content."""
    rng, expected = random.Random(seed), expected_content()
    rows = []
    bar = tqdm(total=kills, desc="kills", mininterval=5)
    shares = {m: kills // 40 if m == "worker" else kills // (len(MOMENTS) - 1) for m in MOMENTS}
    for moment, (target, _) in MOMENTS.items():
        struck = unreadable = changed = restarts = 0
        for _ in range(10 * max(1, shares[moment])):
            if struck >= max(1, shares[moment]):
                break
            folder = Path(tempfile.mkdtemp(prefix="chaos-"))
            try:
                if moment in ("publish", "swap"):
                    quiet(engine.run, plan_of(study()), folder, "cpu", FakeWorker)
                    publish.publish(folder)
                for _ in range(8):  # kills in a row, each on what the last one left
                    if struck >= max(1, shares[moment]):
                        break
                    alive = round_(folder, moment, rng)
                    struck += alive
                    bar.update(alive)
                    unreadable += not readable(folder)
                quiet(engine.run, plan_of(study()), folder, "cpu", FakeWorker)
                restarts += 1
                whole = content(publish.publish(folder).path) == expected
                changed += not (whole and verify(folder) == [])
                assert not list(Results(folder).shards.glob(".*"))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        rows.append((moment, target, struck, restarts, unreadable, changed))
        bar.write(
            f"{target} at {moment}: {struck} kills, {restarts} restarts, {unreadable} unreadable, {changed} changed"
        )
    return rows


def table(rows):
    lines = [
        "| killed | at | SIGKILLs | restarts | unreadable snapshots | missing, doubled or changed |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {t} | {m} | {k} | {r} | {u} | {c} |" for m, t, k, r, u, c in rows]
    totals = [sum(row[i] for row in rows) for i in range(2, 6)]
    return "\n".join([*lines, "| **all** | | " + " | ".join(f"**{n}**" for n in totals) + " |"])


def other_faults(count, seed, only=""):
    """Rows of the second table: fault, tries, not reported, last good snapshot not served, missing, doubled or changed."""
    expected = faults.expected_content()
    names = [*faults.FAULTS, *(faults.MOUNTED if faults.can_mount() else ())]
    names = [name for name in names if only in name]
    return [(name, *faults.tries(name, count, seed, expected)) for name in names]


def fault_table(rows):
    lines = [
        "| fault | tries | not reported | last good snapshot not served | missing, doubled or changed after a restart |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    totals = [sum(row[i] for row in rows) for i in range(1, 5)]
    return "\n".join([*lines, "| **all** | " + " | ".join(f"**{n}**" for n in totals) + " |"])


def print_slurm_table(count, seed):
    """Faults of the parts of a study that stand-ins of Slurm's commands run here; a row as soon as it is known."""
    expected = slurm.expected_content()
    print("| part | faults | submissions | studies with damage | studies with other content |")
    print("|---|---|---|---|---|", flush=True)
    for fault in slurm.FAULTS:
        with contextlib.redirect_stdout(None):
            row = slurm.chaos(fault, count, seed, expected)
        print(f"| {fault} | {' | '.join(map(str, row))} |", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=220)
    parser.add_argument("--tries", type=int, default=10, help="of each other fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="the other faults whose name has this in it")
    parser.add_argument(
        "--slurm", type=int, default=0, help="faults of each kind of parts under Slurm"
    )
    options = parser.parse_args()
    if options.slurm:
        print_slurm_table(options.slurm, options.seed)
        return 0
    faults.FAULTS.update(stops.STOPS)
    started = time.time()
    rows = chaos(options.kills, options.seed) if options.kills else []
    others = other_faults(options.tries, options.seed, options.only) if options.tries else []
    print(f"seed {options.seed}, {time.time() - started:.0f} s\n")
    if rows:
        print(table(rows), end="\n\n")
    if others:
        print(fault_table(others))
        if not faults.can_mount():
            print(
                "\nNot tried, because nobody may mount a file system here: "
                + ", ".join(faults.MOUNTED)
            )
    lost = any(row[4] or row[5] for row in rows) or any(any(row[2:]) for row in others)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
