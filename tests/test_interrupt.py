"""Ctrl-C while a fleet works: all workers end, the user is told how to go on, any number of workers goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from fake_worker import FakeWorker

from pipeline import engine
from pipeline.concepts import read_concepts
from pipeline.database.publish import publish
from pipeline.plan import find_revisions, plan
from pipeline.prompts import read_prompts
from pipeline.shards import Results
from pipeline.study import load_study
from pipeline.verify import verify

STUDY = Path("data/studies/small.toml").resolve()
# The command line as it is, but for the worker; SIGINT as a shell in the foreground leaves it.
DRIVER = """
import signal, sys
sys.path[:0] = ["tests", "."]
from fake_worker import SlowWorker
from pipeline import engine
from pipeline.__main__ import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    engine._local_worker = SlowWorker
    sys.exit(main(["run", *sys.argv[1:]]))
"""


def made_plan():
    study = load_study(STUDY, seeds=range(4))
    return plan(study, find_revisions(study), read_prompts(study.prompts).prompts, read_concepts(study.concepts))  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    engine.run(made_plan(), folder, "cpu", FakeWorker)
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
    deadline = time.time() + 120
    while len(Results(tmp_path / "r").read_ledger().entries) < count:
        assert driver.poll() is None and time.time() < deadline, driver.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("whom", ["the group, as a terminal does", "the driver alone"])
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
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert "the same command goes on from there" in out and "Traceback" not in err
    deadline = time.time() + 10
    while any(map(alive, workers)) and time.time() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))
    made, folder = made_plan(), tmp_path / "r"
    before = len(Results(folder).read_ledger().entries)
    assert 0 < before < len(made)
    outcome = engine.run(
        made, folder, "cpu", FakeWorker, engine=engine.Engine(workers=3, threads=1)
    )
    assert outcome.kept >= before and not outcome.errors
    assert verify(folder) == [] and content(publish(folder).path) == expected
