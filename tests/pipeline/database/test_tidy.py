"""gc: what nothing needs goes, after a yes; what a reader has open and what counts stays."""

import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline.__main__ import main
from pipeline.database.gc import find_rubbish, remove
from pipeline.database.publish import publish
from pipeline.engine import run
from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.verify import verify
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import build_results, plan_of, small_study

READER = """
import duckdb, sys
con = duckdb.connect(sys.argv[1], read_only=True)
print(con.execute("SELECT count(*) FROM sample").fetchone()[0], flush=True)
sys.stdin.readline()
print(con.execute("SELECT count(*) FROM trajectory").fetchone()[0], flush=True)
"""


@pytest.fixture
def used(tmp_path):
    """A folder with two seeds run, then one of them: half of its shards are superseded; three snapshots."""
    build_results(tmp_path, models=1, prompts=8, seeds=2, steps=4)
    publish(tmp_path)
    run.run(plan_of(small_study(1, 8, 1, 4)), tmp_path, "cpu", FakeWorker)
    publish(tmp_path)
    return tmp_path


def shards(folder):
    return {path.stem for path in (folder / "shards").iterdir()}


def test_superseded_shards_and_snapshots_go_after_a_yes(used, monkeypatch, capsys):
    assert len(shards(used)) == 4
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert main(["gc", str(used)]) == 0
    out = capsys.readouterr().out
    assert "2 superseded shards, 2 old snapshots" in out and "removed" in out
    assert shards(used) == {work_unit.unit_id for work_unit in plan_of(small_study(1, 8, 1, 4))}
    assert len(list((used / "snapshots").iterdir())) == 1
    assert len((used / "ledger.jsonl").read_text().splitlines()) == 2
    assert verify(used) == [] and not find_rubbish(used)
    assert run.run(plan_of(small_study(1, 8, 1, 4)), used, "cpu", FakeWorker).stored_before == 2


@pytest.mark.parametrize("answer", ["n", "", None])
def test_nothing_goes_without_a_yes(used, monkeypatch, answer):
    def reply(_):
        if answer is None:
            raise EOFError
        return answer

    before = shards(used)
    monkeypatch.setattr("builtins.input", reply)
    assert main(["gc", str(used)]) == 1
    assert main(["gc", str(used), "--dry-run"]) == 0
    assert shards(used) == before and len(list((used / "snapshots").iterdir())) == 3


def test_yes_does_not_ask(used, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked"))
    assert main(["gc", str(used), "--yes"]) == 0
    assert main(["gc", str(used), "--yes"]) == 0
    assert "0 superseded shards, 0 old snapshots" in capsys.readouterr().out


def test_what_a_reader_has_open_stays(used, capsys):
    oldest = sorted((used / "snapshots").glob("*.duckdb"))[0]
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(oldest)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline() == "16\n"
    assert main(["gc", str(used), "--yes"]) == 0
    assert "a reader has it open" in capsys.readouterr().out
    left = sorted(path.name for path in (used / "snapshots").glob("*.duckdb"))
    assert oldest.name in left and len(left) == 2
    out, _ = reader.communicate("\n")
    assert int(out) > 0 and reader.returncode == 0
    assert find_rubbish(used).snapshots == (oldest,)  # closed now


def test_a_folder_in_use_is_left_alone(used):
    before = shards(used)
    with Results(used).locked(), pytest.raises(StoreError, match="in use by a run"):
        remove(used, find_rubbish(used))
    assert shards(used) == before


def test_what_became_needed_since_the_question_stays(used):
    """A run with both seeds again, between the listing and the yes."""
    rubbish = find_rubbish(used)
    run.run(plan_of(small_study(1, 8, 2, 4)), used, "cpu", FakeWorker)
    remove(used, rubbish)
    assert len(shards(used)) == 4 and verify(used) == []


def test_a_limited_run_is_named_as_the_reason(used, capsys):
    study = small_study(1, 8, 1, 4)
    plan = plan_of(replace(study, prompts=replace(study.prompts, sample=4)))
    run.run(plan, used, "cpu", FakeWorker)
    main(["gc", str(used), "--dry-run"])
    assert "smaller --limit" in capsys.readouterr().out
