"""Slurm: what is submitted, what a hostile study cannot do, and runs under faults on stand-ins of Slurm's commands."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.engine import slurm
from pipeline.errors import StoreError, StudyError
from pipeline.results.folder import Results
from pipeline.results.split import Part
from pipeline.results.verify import verify
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study
from pipeline.study.spec import study_spec
from tests.support.fake_worker import FakeWorker
from tests.support.faults import content
from tests.support.slurm import SEEDS, STUDY, Cluster, expected_content, run_here

pytestmark = pytest.mark.long


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path / "cluster")


@pytest.fixture(scope="module")
def expected():
    return expected_content()


def test_preempted_killed_and_timed_out_parts_end_with_the_content_of_a_plain_run(tmp_path, cluster, expected, capsys):  # fmt: skip
    cluster.faults = {"killed": 1, "preempted": 1, "time limit": 1}
    folder = tmp_path / "r"
    assert run_here(cluster, folder, "--parts", "3") == 0
    assert "Submitted 3 of 3 parts as job 1000, and job 1001, which publishes" in capsys.readouterr().out  # fmt: skip
    cluster.work()
    assert sum(cluster.struck.values()) == 3
    assert content(folder) == expected and verify(folder) == []
    assert not [path for path in (folder / "parts").iterdir() if "ledger" in path.name]
    assert run_here(cluster, folder, "--parts", "3") == 0
    assert "Every work unit is done." in capsys.readouterr().out and len(cluster.submitted()) == 2


def test_what_is_submitted(tmp_path, cluster, monkeypatch):
    """One GPU each, requeue, a signal to the part before its limit; only parts with work left; the publisher after all."""
    plan, folder = plan_study(load_study(STUDY, seeds=SEEDS)), tmp_path / "a %A b"
    engine.run(plan, folder, "cpu", FakeWorker, part=Part(4, 2))
    monkeypatch.setenv("PATH", cluster.path)
    settings = {"parts": 4, "time": "4:00:00", "partition": "gpu", "account": "lab", "memory": "64G"}  # fmt: skip
    slurm.submit(plan, folder, ["python", "x"], settings, extra=["--nice=10"])
    array, after = (job["arguments"] for job in cluster.submitted())
    assert array[-4:] == [str(folder.resolve() / "slurm" / "part.sh"), "4", "python", "x"]
    assert {
        "--array=1,3-4", "--requeue", "--gres=gpu:1", "--signal=B:TERM@120", "--time=4:00:00", "--partition=gpu",
        "--account=lab", "--mem=64G", "--nice=10", f"--chdir={Path.cwd()}", "--job-name=stepscope-small",
        f"--output={folder.resolve()}/logs/slurm-%A_%a.out".replace("a %A b", "a %%A b"),
    } <= set(array)  # fmt: skip
    assert {"--dependency=afterany:1000", "--partition=gpu", "--account=lab"} <= set(after)
    assert not {"--gres=gpu:1", "--mem=64G", "--nice=10", "--time=4:00:00"} & set(after)
    assert after[-3:] == ["pipeline", "publish", str(folder.resolve())]
    record = json.loads((folder / "slurm.json").read_text())
    assert (record["job"], record["publish"], record["parts"]) == ("1000", "1001", 4)


def test_the_script_gives_its_arguments_on_as_they_are(tmp_path):
    (tmp_path / "part.sh").write_text(slurm.SCRIPT)
    hostile = ["$(touch x)", "`touch x`", "a b", "'\"", ";touch x", "*", "-n", "\\"]
    done = subprocess.run(
        ["sh", str(tmp_path / "part.sh"), "16", "printf", "%s\\n", *hostile],
        cwd=tmp_path, env={**os.environ, "SLURM_ARRAY_TASK_ID": "3"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [*hostile, "--part", "3/16"]
    assert not (tmp_path / "x").exists()


def study_with(tmp_path, **slurm_table):
    text = Path(STUDY).read_text()
    rows = "".join(f"{key} = {json.dumps(value)}\n" for key, value in slurm_table.items())
    path = tmp_path / "mine.toml"
    path.write_text(f"{text}\n[slurm]\n{rows}")
    return path


def test_a_studys_table_is_read_and_is_no_part_of_what_the_study_is(tmp_path):
    study = load_study(study_with(tmp_path, parts=7, time="1-12:00:00", constraint="a100|h100", cpus=8))  # fmt: skip
    assert study.slurm == {"parts": 7, "time": "1-12:00:00", "constraint": "a100|h100", "cpus": 8}
    assert study_spec(study) == study_spec(load_study(STUDY))


@pytest.mark.parametrize(
    ("key", "value"),
    [("partition", "gpu --wrap=x"), ("account", "$(id)"), ("time", "1h; rm"), ("qos", "--output=/x"), ("memory", "1G\n2"),
     ("wrap", "touch x"), ("output", "/x"), ("options", ["--export=ALL"]), ("parts", 0), ("cpus", "8"), ("time", "-1")],
)  # fmt: skip
def test_a_hostile_table_is_refused_in_one_line(tmp_path, key, value):
    with pytest.raises(StudyError, match=rf"mine.toml: slurm\.{key} ") as error:
        load_study(study_with(tmp_path, **{key: value}))
    assert "\n" not in str(error.value)


def test_mistakes_on_the_command_line(tmp_path, cluster, capsys, monkeypatch):
    assert run_here(cluster, tmp_path / "r", "--time", "4 hours") == 2
    assert "--time = '4 hours' is not a value for Slurm" in capsys.readouterr().err
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    assert run_here(cluster, tmp_path / "r") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: no sbatch on PATH.") and said.count("\n") == 1


def test_a_refusal_of_sbatch_is_one_line(tmp_path, cluster, capsys):
    (cluster.folder / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid\npartition' >&2; exit 1\n")  # fmt: skip
    assert run_here(cluster, tmp_path / "r") == 2
    assert capsys.readouterr().err == "error: sbatch refused the job: sbatch: error: invalid partition\n"  # fmt: skip
    assert not (tmp_path / "r" / "slurm.json").exists()


def test_status_shows_the_queue_the_parts_and_what_is_left(tmp_path, cluster, capsys, monkeypatch):
    folder = tmp_path / "r"
    run_here(cluster, folder, "--parts", "3")
    plan = plan_study(load_study(STUDY, seeds=SEEDS))
    engine.run(plan, folder, "cpu", FakeWorker, part=Part(3, 1))
    (cluster.folder / "queue.txt").write_text("1000_2|RUNNING|None|1:23\n1000_3|PENDING|Resources|0:00\n1001|PENDING|Dependency|0:00\n")  # fmt: skip
    monkeypatch.setenv("PATH", cluster.path)
    capsys.readouterr()
    assert main(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "parts: 1 of 3 done" in said and "part 1/3" not in said
    assert "  part 2/3: 4 of 4 work units left; RUNNING (None, 1:23)\n" in said
    assert "  part 3/3: 4 of 4 work units left; PENDING (Resources, 0:00)\n" in said
    assert "queue: 3 jobs of 1000 and 1001" in said
    assert run_here(cluster, folder, "--parts", "3") == 2
    assert "3 jobs of it are in the queue." in capsys.readouterr().err
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    main(["status", str(folder)])
    assert "queue: unknown, no squeue answers here" in capsys.readouterr().out


@pytest.mark.parametrize("job", ["1000; rm -rf /", "--help", "", 5.5, None])
def test_a_record_of_a_stranger_names_no_job(tmp_path, job):
    results = Results(tmp_path)
    results.slurm.write_text(json.dumps({"job": job, "publish": "2", "parts": 3}))
    assert slurm.submitted(results) is None


def test_a_part_that_finished_nothing_is_not_put_back(monkeypatch, cluster):
    monkeypatch.setenv("PATH", cluster.path)
    assert "Not a job of Slurm" in slurm.requeue(3)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert slurm.requeue(0) == "No work unit was finished, so job 77 is not put back into the queue. Raise --time."  # fmt: skip
    assert slurm.requeue(1) == "Job 77 is back in the queue." and (cluster.folder / "requeue-77").exists()  # fmt: skip


def test_numbers_of_an_array():
    assert slurm.ranges([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"


def test_counts_of_parts_out_of_range(tmp_path):
    plan = plan_study(load_study(STUDY))
    with pytest.raises(StoreError, match="--parts 20000: out of range. Allowed: 1 to 10,000."):
        slurm.left_of_parts(Results(tmp_path), plan, 20_000)


def test_publishing_a_part_alone_says_what_is_missing(tmp_path, capsys):
    engine.run(plan_study(load_study(STUDY)), tmp_path, "cpu", FakeWorker, part=Part(2, 1))
    assert publish(tmp_path).missing == 4
    assert main(["status", str(tmp_path)]) == 0
    assert "parts:" not in capsys.readouterr().out
