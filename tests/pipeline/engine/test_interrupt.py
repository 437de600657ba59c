"""Ctrl-C while a fleet works: all workers end, the user is told how to resume, one worker resumes what two began."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from pipeline.database.publish import publish
from pipeline.engine import run
from pipeline.results.folder import Results
from pipeline.results.verify import verify
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study
from tests.support.fake_worker import FakeWorker

pytestmark = pytest.mark.long

STUDY = Path("data/studies/small.toml").resolve()
# The command line as it is, but for the worker; SIGINT as a shell in the foreground leaves it.
DRIVER = """
import signal, sys
sys.path[:0] = ["."]
from tests.support.fake_worker import SlowWorker
from pipeline.engine import run as engine
from pipeline.__main__ import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    engine.local_worker = SlowWorker
    sys.exit(main(["run", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run.run(plan_study(load_study(STUDY, seeds=range(4))), folder, "cpu", FakeWorker)
    return content(publish(folder).path)


def content(path):
    with duckdb.connect(path, read_only=True) as con:
        return con.execute("SELECT content_hash, done_samples FROM study").fetchone()


def children(pid):
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start(tmp_path, *options):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    command = [sys.executable, str(script), str(STUDY), "--out", str(tmp_path / "r"), "--seeds", "0", "1", "2", "3"]  # fmt: skip
    return subprocess.Popen(
        [*command, "--device", "cpu", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def await_finished(tmp_path, driver, count):
    """Waits until so many units are in the ledger: a shard that is not yet there is made again."""
    deadline = time.time() + 600
    while len(Results(tmp_path / "r").read_ledger().entries) < count:
        assert driver.poll() is None and time.time() < deadline, driver.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize(
    "whom",
    ["the group, as a terminal does", pytest.param("the driver alone", marks=pytest.mark.thorough)],
)
def test_ctrl_c_with_a_fleet(tmp_path, expected, whom):
    driver = start(tmp_path, "--workers", "2")
    await_finished(tmp_path, driver, 2)
    workers = children(driver.pid)
    assert (
        len([p for p in workers if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]) == 2
    )
    if whom == "the driver alone":
        driver.send_signal(signal.SIGINT)
    else:
        os.killpg(driver.pid, signal.SIGINT)
    out, err = driver.communicate(timeout=600)
    assert driver.returncode == 130, err
    assert "the same command resumes from there" in out and "Traceback" not in err
    deadline = time.time() + 300
    while any(map(alive, workers)) and time.time() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))
    plan, folder = plan_study(load_study(STUDY, seeds=range(4))), tmp_path / "r"
    before = len(Results(folder).read_ledger().entries)
    assert 0 < before < len(plan)
    outcome = run.run(plan, folder, "cpu", FakeWorker, engine=run.Engine(workers=1, threads=1))
    assert outcome.stored_before >= before and not outcome.errors
    assert verify(folder) == [] and content(publish(folder).path) == expected
