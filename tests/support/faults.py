"""Faults of disks, files, clocks, machines and models: each done to a real results folder, then looked at.

Every fault is a function that harms a folder (or a run in it) and returns what the program said of it. `tries` does one
to a fresh folder, asks whether the last good snapshot can still be read, runs the study again and compares the content
with that of a folder that nothing happened to.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from app.database import snapshots
from pipeline.database import gc
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.errors import StoreError
from pipeline.results import shards
from pipeline.results.folder import Results
from pipeline.results.verify import mark_damaged, verify
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

MEBI = 2**20
SAID = ("error", "damaged", "missing", "refused")


@dataclass(frozen=True)
class Outcome:
    """What a fault did.

    Attributes:
        said: what the program reported, "" = nothing.
        served: whether the app's own reader still read the last good snapshot.
        whole: whether, after a restart, nothing was missing, doubled or changed.
    """

    said: str
    served: bool
    whole: bool


def study():
    return small_study(models=2, prompts=8, seeds=2, steps=4)


def run(folder: Path, worker=FakeWorker, **options) -> engine.Outcome:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        return engine.run(plan_of(study()), folder, "cpu", worker, **options)


def said_by(act: Callable[[], object]) -> str:
    """The error that something ends with; "" where it ends well."""
    try:
        act()
    except StoreError as error:
        return str(error)
    return ""


def content(folder: Path) -> tuple:
    """Content hash and number of finished samples of the snapshot that the app would show."""
    snapshot = snapshots.locate(folder, older=True)
    with snapshots.connect(snapshot.path) as con:
        row = con.execute(
            "SELECT content_hash, done_samples, planned_samples FROM study"
        ).fetchone()
    assert row is not None
    return tuple(row)


def served(folder: Path) -> bool:
    """Whether what was published before can still be read; True where nothing was."""
    if not list((folder / "snapshots").glob("*.duckdb")):
        return True
    try:
        return content(folder)[1] > 0
    except snapshots.SnapshotError:
        return False


def restarted(folder: Path) -> tuple:
    """Runs what is missing, publishes, verifies. Returns the content."""
    mark_damaged(folder)
    run(folder)
    publish(folder)
    if any("damaged lines" in problem for problem in verify(folder)):
        gc.remove(folder, gc.find_rubbish(folder))
    assert verify(folder) == [], verify(folder)
    return content(folder)


def whole(folder: Path, expected: tuple) -> bool:
    """Whether a restart brings the content that was expected, and runs nothing a second time after that."""
    return restarted(folder) == expected and run(folder).work_units == 0


def finished(folder: Path) -> None:
    """A folder with everything in it, published: a copy of one that is made once."""
    shutil.copytree(_finished_once(), folder)


@cache
def _finished_once() -> Path:
    folder = _kept_folder("finished-")
    run(folder)
    publish(folder)
    return folder


def _kept_folder(prefix: str) -> Path:
    """Where a folder is made that others are copies of; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix=prefix)) / "r"
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    return folder


def half(folder: Path, rng: random.Random) -> None:
    """A folder that was stopped somewhere, and published: a copy of one that is made once."""
    shutil.copytree(_half_once(rng.randint(2, 6)), folder)


@cache
def _half_once(stop_at: int) -> Path:
    folder = _kept_folder("half-")

    class Stopped(FakeWorker):
        work_units = 0

        def run(self, work_unit, on_step=None):
            Stopped.work_units += 1
            if Stopped.work_units > stop_at:
                raise KeyboardInterrupt
            return super().run(work_unit, on_step)

    run(folder, Stopped)
    publish(folder)
    return folder


# Faults: each harms a folder and returns what was said.


def a_shard(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted((folder / "shards").glob("*.parquet")))


def reported(folder: Path) -> str:
    return "; ".join(verify(folder))


def truncated(folder: Path, rng: random.Random) -> str:
    finished(folder)
    shard = a_shard(folder, rng)
    data = shard.read_bytes()
    shard.write_bytes(data[: rng.randrange(len(data))])
    return reported(folder)


def flipped(folder: Path, rng: random.Random) -> str:
    finished(folder)
    shard = a_shard(folder, rng)
    data = bytearray(shard.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    shard.write_bytes(bytes(data))
    return reported(folder)


def deleted(folder: Path, rng: random.Random) -> str:
    finished(folder)
    a_shard(folder, rng).unlink()
    return reported(folder)


def duplicated(folder: Path, rng: random.Random) -> str:
    """A shard under another unit's name, and once more under a name of nobody's."""
    finished(folder)
    one, other = rng.sample(sorted((folder / "shards").glob("*.parquet")), 2)
    shutil.copyfile(one, other)
    shutil.copyfile(one, one.with_name(f"copy of {one.name}"))
    return reported(folder)


def cut_ledger(folder: Path, rng: random.Random) -> str:
    """The ledger ends within a line, as after a loss of power."""
    finished(folder)
    ledger = folder / "ledger.jsonl"
    data = ledger.read_bytes()
    ledger.write_bytes(data[: -rng.randrange(2, 150)])
    return reported(folder)


def damaged_ledger(folder: Path, rng: random.Random) -> str:
    """Lines that stand twice, and one of noise."""
    finished(folder)
    ledger = folder / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    twice = rng.choices(lines, k=5)
    ledger.write_bytes(b"".join([*lines, *twice, rng.randbytes(40).replace(b"\n", b"") + b"\n"]))
    return reported(folder)


def clock_set_back(folder: Path, rng: random.Random) -> str:
    """The first half is from the future, as after the clock was set back by years."""
    half(folder, rng)
    for path in folder.rglob("*"):
        os.utime(path, (4e9, 4e9))
    before = shards.now
    shards.now = lambda: "1999-12-31T23:59:59+00:00"
    try:
        outcome = run(folder)
        publish(folder)
    finally:
        shards.now = before
    return (
        f"{outcome.stored_before} units kept"
        if outcome.stored_before and not outcome.errors
        else ""
    )


def two_drivers(folder: Path, rng: random.Random) -> str:
    """A second run and a second publisher while the first holds the folder."""
    half(folder, rng)
    context = multiprocessing.get_context("forkserver")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(folder, ready, done))
    holder.start()
    try:
        assert ready.wait(600)
        return "; ".join(
            said_by(act) for act in (lambda: run(folder), lambda: publish(folder))
        ).strip("; ")
    finally:
        done.set()
        holder.join(300)


def _hold(folder: Path, ready, done) -> None:
    """A driver that has not finished, and a publisher."""
    results = Results(folder)
    with results.locked(), results.locked("publish.lock", "a publisher"):
        ready.set()
        done.wait(600)


def snapshot_deleted(folder: Path, rng: random.Random) -> str:
    """The current snapshot goes while the app has it open; the app's reader goes on, then falls back."""
    half(folder, rng)
    run(folder)
    publish(folder)
    current = snapshots.locate(folder)
    with snapshots.connect(current.path) as con:
        Path(current.path).unlink()
        assert con.execute("SELECT count(*) FROM sample").fetchone()[0] > 0
    try:
        snapshots.locate(folder)
    except snapshots.SnapshotError as error:
        return str(error)
    return ""


def out_of_memory(folder: Path, rng: random.Random) -> str:
    """A unit needs more than there is."""
    at = rng.randint(1, 8)

    class Short(FakeWorker):
        work_units = 0

        def run(self, work_unit, on_step=None):
            Short.work_units += 1
            if Short.work_units == at:
                return [bytearray(2**60) for _ in work_unit.prompts]
            return super().run(work_unit, on_step)

    outcome = run(folder, Short)
    publish(folder)
    return "; ".join(outcome.errors)


def no_numbers(folder: Path, rng: random.Random) -> str:
    """The model gives NaN or infinity at some step of some sample."""
    value, at = rng.choice([float("nan"), float("inf"), float("-inf")]), rng.randrange(4)

    class Broken(FakeWorker):
        def run(self, work_unit, on_step=None):
            rows = super().run(work_unit, on_step)
            row = rng.choice(rows)
            curves = [row["prompt_similarity"], *(t["similarity"] for t in row["trajectories"])]
            rng.choice(curves)[at] = value
            return rows

    outcome = run(folder, Broken)
    publish(folder)
    return f"{outcome.failed} samples failed" if outcome.failed else ""


def file_limit(folder: Path, rng: random.Random) -> str:
    """Files may not grow beyond some size, as with a quota: of a run, then of a publisher."""
    half(folder, rng)
    sizes = [path.stat().st_size for path in (folder / "shards").glob("*.parquet")]
    for limit, act in ((rng.randint(2_000, max(sizes)), "run"), (rng.randint(50_000, 400_000), "publish")):  # fmt: skip
        said = _limited(folder, limit, act)
        if act == "run" and not said:  # the limit was above what came: that is no fault
            said = _limited(folder, 1_000, act)
        if not said:
            return ""
    return said


def _limited(folder: Path, size: int, act: str) -> str:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [sys.executable, __file__, "act", act, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, cwd=ROOT)
    return done.stdout.strip()


FAULTS: dict[str, Callable[[Path, random.Random], str]] = {
    "shard truncated": truncated,
    "shard with a flipped bit": flipped,
    "shard deleted": deleted,
    "shard duplicated": duplicated,
    "ledger line cut in half": cut_ledger,
    "ledger lines doubled, and noise": damaged_ledger,
    "clock set back": clock_set_back,
    "two drivers at once": two_drivers,
    "snapshot deleted under the app": snapshot_deleted,
    "out of memory in a unit": out_of_memory,
    "NaN or infinity from the model": no_numbers,
    "file size limit reached": file_limit,
}


def strike(name: str, seed: int, expected: tuple) -> Outcome:
    """Does a fault to a fresh folder and says what came of it."""
    if name in MOUNTED:
        return _in_namespace(name, seed, expected)
    with tempfile.TemporaryDirectory(prefix="fault-") as folder_name:
        folder = Path(folder_name) / "r"
        said = FAULTS[name](folder, random.Random(seed))
        still = served(folder)
        return Outcome(said, still, whole(folder, expected))


def expected_content() -> tuple:
    """The content of a folder that nothing happens to."""
    with tempfile.TemporaryDirectory() as folder_name:
        finished(Path(folder_name) / "r")
        return content(Path(folder_name) / "r")


# Faults of a file system of its own: in a mount namespace, which ends with its process.

MOUNTED = ("disk full during a run", "disk full during publish", "read-only file system")
UNSHARE = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-rm")


def can_mount() -> bool:
    """Whether this system lets us have a small file system of our own."""
    try:
        test = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(test, capture_output=True, timeout=300).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _in_namespace(name: str, seed: int, expected: tuple) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="fault-") as folder_name:
        command = [*UNSHARE, sys.executable, __file__, "mounted", name, str(seed), folder_name, json.dumps(expected)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def _mount(folder_name: str, *options: str) -> None:
    subprocess.run(["mount", *options, "tmpfs", folder_name], check=True, capture_output=True)


def _used(folder_name: str) -> int:
    status = os.statvfs(folder_name)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def _mounted(name: str, seed: int, folder_name: str, expected: tuple) -> Outcome:
    rng, folder = random.Random(seed), Path(folder_name) / "r"
    _mount(folder_name, "-t", "tmpfs", "-o", "size=256m")
    half(folder, rng)
    if name == "disk full during a run":
        _mount(folder_name, "-o", f"remount,size={_used(folder_name) + rng.randint(0, 100_000)}")
        said = said_by(lambda: run(folder))
    elif name == "disk full during publish":
        run(folder)
        _mount(folder_name, "-o", f"remount,size={_used(folder_name) + rng.randint(0, MEBI)}")
        said = said_by(lambda: publish(folder))
    else:
        _mount(folder_name, "-o", "remount,ro")
        said = "; ".join(said_by(act) for act in (lambda: run(folder), lambda: publish(folder)))
    still = served(folder)
    _mount(folder_name, "-o", "remount,rw,size=256m")
    return Outcome(said, still, whole(folder, expected))


def tries(name: str, count: int, seed: int, expected: tuple) -> tuple[int, int, int, int]:
    """Does a fault several times. Returns: tries, not reported, snapshot not served, content lost or changed."""
    outcomes = [strike(name, seed + number, expected) for number in range(count)]
    return (
        count,
        sum(not one.said for one in outcomes),
        sum(not one.served for one in outcomes),
        sum(not one.whole for one in outcomes),
    )


def main(arguments: list[str]) -> None:
    """For the processes that faults are done to."""
    if arguments[0] == "act":
        act = {"run": lambda: run(Path(arguments[2])), "publish": lambda: publish(Path(arguments[2]))}  # fmt: skip
        print(said_by(act[arguments[1]]))
    else:
        _, name, seed, folder_name, expected = arguments
        print(json.dumps(vars(_mounted(name, int(seed), folder_name, tuple(json.loads(expected))))))


if __name__ == "__main__":
    main(sys.argv[1:])
