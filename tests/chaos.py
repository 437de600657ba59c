"""Kills runs and publishers at random moments and prints what was lost: `make chaos`.

Every round starts a real run or publisher in a process of its own, waits for a moment (a shard being written, the
ledger, the swap, ...), and SIGKILLs it, or one of its workers, a random time later. At the end each folder is run
once more and its content hash must be that of a folder that nothing happened to.

Then every fault of tests/faults.py is done some times: of disks, files, clocks, a second driver, memory, the model.
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
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import duckdb  # noqa: E402
import faults  # noqa: E402
from fake_worker import FakeWorker  # noqa: E402
from synthetic import plan_of, small_study  # noqa: E402

from pipeline import engine, shards, storage  # noqa: E402
from pipeline.database import publish as publishing  # noqa: E402
from pipeline.shards import Results  # noqa: E402
from pipeline.verify import verify  # noqa: E402

# A server without threads forks the victims: a fork of this process could inherit a lock that a thread of DuckDB or
# Arrow holds, and wait for it for ever.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(
    ["synthetic", "fake_worker", "pipeline.engine", "pipeline.database.publish"]
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

    def run(self, unit, on_step=None):
        tell("sampling")
        time.sleep(0.01)
        return super().run(unit, on_step)


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
    shards.Results.append = marked("ledger", shards.Results.append)
    publishing._insert_shards = marked("publish", publishing._insert_shards)
    publishing._point_to = marked("swap", publishing._point_to)
    if moment in ("publish", "swap"):
        publishing.publish(folder)
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
        alive = process.is_alive()
        if alive:
            os.kill(process.pid, signal.SIGKILL)
        return alive
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
    deadline = time.time() + 30
    while time.time() < deadline:
        try:
            found = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
            children = [
                int(pid)
                for pid in found
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
    with tempfile.TemporaryDirectory() as place:
        quiet(engine.run, plan_of(study()), Path(place), "cpu", FakeWorker)
        return content(publishing.publish(Path(place)).path)


def chaos(kills, seed):
    """Rows of the table: moment, what was killed, kills, snapshots unreadable after one, restarts with other content."""
    rng, expected = random.Random(seed), expected_content()
    rows = []
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
                    publishing.publish(folder)
                for _ in range(8):  # kills in a row, each on what the last one left
                    if struck >= max(1, shares[moment]):
                        break
                    struck += round_(folder, moment, rng)
                    unreadable += not readable(folder)
                quiet(engine.run, plan_of(study()), folder, "cpu", FakeWorker)
                restarts += 1
                whole = content(publishing.publish(folder).path) == expected
                changed += not (whole and verify(folder) == [])
                assert not list(Results(folder).shards.glob(".*"))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        rows.append((moment, target, struck, restarts, unreadable, changed))
    return rows


def table(rows):
    lines = [
        "| killed | at | SIGKILLs | restarts | unreadable snapshots | missing, doubled or changed |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {t} | {m} | {k} | {r} | {u} | {c} |" for m, t, k, r, u, c in rows]
    totals = [sum(row[i] for row in rows) for i in range(2, 6)]
    return "\n".join([*lines, "| **all** | | " + " | ".join(f"**{n}**" for n in totals) + " |"])


def other_faults(count, seed):
    """Rows of the second table: fault, tries, not reported, last good snapshot not served, missing, doubled or changed."""
    expected = faults.expected_content()
    names = [*faults.FAULTS, *(faults.MOUNTED if faults.can_mount() else ())]
    return [(name, *faults.tries(name, count, seed, expected)) for name in names]


def fault_table(rows):
    lines = [
        "| fault | tries | not reported | last good snapshot not served | missing, doubled or changed after a restart |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    totals = [sum(row[i] for row in rows) for i in range(1, 5)]
    return "\n".join([*lines, "| **all** | " + " | ".join(f"**{n}**" for n in totals) + " |"])


def main():
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=220)
    parser.add_argument("--tries", type=int, default=10, help="of each other fault")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.time()
    rows = chaos(given.kills, given.seed) if given.kills else []
    others = other_faults(given.tries, given.seed) if given.tries else []
    print(f"seed {given.seed}, {time.time() - started:.0f} s\n")
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
