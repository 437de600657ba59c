"""Parts of a run: several drivers write into one folder, are killed, resume, and end with the content of one run."""

import contextlib
import json
import os
import shutil
import signal
import time
from dataclasses import replace

import duckdb
import pytest

from pipeline.cli.main import main
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.errors import StoreError
from pipeline.results import folder as folder_module
from pipeline.results import parts as parts_module
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.parts import PartResults
from pipeline.results.split import Part
from pipeline.results.verify import verify
from tests.support.fake_worker import FakeWorker, SlowWorker
from tests.support.slurm import FORK
from tests.support.synthetic import plan_of, small_study

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def plan():
    return plan_of(small_study(prompts=12))


@pytest.fixture(scope="module")
def expected(plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    engine.run(plan, folder, "cpu", FakeWorker)
    return content(folder)


def content(folder):
    with duckdb.connect(publish(folder).path, read_only=True) as con:
        return con.execute("SELECT content_hash, done_samples FROM study").fetchone()


def run_part(plan, folder, number, of=3, worker=FakeWorker):
    return engine.run(plan, folder, "cpu", worker, part=Part(of, number))


def names(folder):
    return sorted(path.name for path in (folder / "parts").iterdir())


def test_parts_one_after_the_other_give_the_content_of_one_run(tmp_path, plan, expected):
    outcomes = [run_part(plan, tmp_path, number) for number in (2, 3, 1)]
    assert [outcome.work_units for outcome in outcomes] == [4, 4, 4]
    assert not (tmp_path / "ledger.jsonl").exists()
    assert len(Results(tmp_path).read_ledger().entries) == len(plan)
    assert content(tmp_path) == expected and verify(tmp_path) == []
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == len(plan)
    assert not [name for name in names(tmp_path) if name.endswith("ledger.jsonl")]
    assert run_part(plan, tmp_path, 1).work_units == 0
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).work_units == 0


def drive(folder, number, of):
    """A driver of one part, in a process of its own."""
    os.setsid()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        engine.run(plan_of(small_study(prompts=12)), folder, "cpu", SlowWorker, part=Part(of, number))  # fmt: skip


def start(folder, number, of=3):
    process = FORK.Process(target=drive, args=(folder, number, of))
    process.start()
    return process


def await_shards(folder, count):
    deadline = time.monotonic() + 300
    while len(list(folder.glob("shards/*.parquet"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_parts_at_once_killed_and_resumed_give_the_content_of_one_run(tmp_path, plan, expected):
    for shards in (1, 5):
        drivers = [start(tmp_path, number) for number in (1, 2, 3)]
        await_shards(tmp_path, shards)
        for driver in drivers:
            driver.kill()  # no error where it has ended by itself
            driver.join()
        assert verify(tmp_path) == []
    drivers = [start(tmp_path, number) for number in (3, 1, 2)]
    for driver in drivers:
        driver.join()
        assert driver.exitcode == 0
    (tmp_path / "shards" / ".half.parquet.0a.tmp").write_text("what a killed part left")
    assert content(tmp_path) == expected and verify(tmp_path) == []
    assert not list((tmp_path / "shards").glob(".*"))


def test_a_snapshot_can_be_published_while_parts_run(tmp_path, plan, expected):
    """Their ledgers stay theirs until they have ended, and what is damaged is noted then."""
    run_part(plan, tmp_path, 1)
    results = PartResults(tmp_path, Part(3, 2))
    results.create()
    with results.locked():
        first = sorted(tmp_path.glob("shards/*.parquet"))[0]
        first.write_bytes(first.read_bytes()[:-7])
        published = publish(tmp_path)
        assert published.done == 12 and len(published.damaged) == 1
        assert "00001-of-00003.ledger.jsonl" in names(tmp_path)
        assert not (tmp_path / "ledger.jsonl").exists()
    for number in (1, 2, 3):
        run_part(plan, tmp_path, number)
    assert content(tmp_path) == expected


def test_a_sigterm_ends_a_part_and_the_same_command_resumes(tmp_path, plan, expected):
    driver = start(tmp_path, 1)
    await_shards(tmp_path, 1)
    os.kill(driver.pid, signal.SIGTERM)
    driver.join()
    assert driver.exitcode == 0
    (log,) = (tmp_path / "logs").iterdir()
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["interrupted"]) == ("end", True)
    outcome = run_part(plan, tmp_path, 1)
    assert outcome.stored_before >= 1 and outcome.stored_before + outcome.work_units == 4
    for number in (2, 3):
        run_part(plan, tmp_path, number)
    assert content(tmp_path) == expected


def test_who_is_at_work_keeps_others_out(tmp_path, plan, monkeypatch):
    monkeypatch.setattr(parts_module, "PATIENCE", 0.1)
    monkeypatch.setattr(parts_module, "MOMENT", 0.1)
    part = PartResults(tmp_path, Part(3, 1))
    part.create()
    with part.locked(), pytest.raises(StoreError, match=f"running already .process {os.getpid()}"):
        run_part(plan, tmp_path, 1)
    with part.locked():
        with part.starting(plan):
            pass
        with pytest.raises(StoreError, match="in use by a run .1 parts of one; the first: process"):
            engine.run(plan, tmp_path, "cpu", FakeWorker)
        with pytest.raises(StoreError, match="--part 2/4: part 1/3 of a split into 3 parts is run"):
            run_part(plan, tmp_path, 2, of=4)
        other = plan_of(small_study(prompts=8))
        with pytest.raises(StoreError, match="--part 2/3: part 1/3 of another plan .* is running"):
            run_part(other, tmp_path, 2)
        assert run_part(plan, tmp_path, 2).work_units == 4
    with Results(tmp_path).locked(), pytest.raises(StoreError, match="in use by a run .process"):
        run_part(plan, tmp_path, 2)
    assert run_part(other, tmp_path, 2, of=4).errors == ()


def test_a_kill_while_ledgers_are_merged_loses_and_doubles_nothing(tmp_path, plan, monkeypatch):
    for number in (1, 2, 3):
        run_part(plan, tmp_path, number)
    before = Results(tmp_path).read_ledger().entries
    monkeypatch.setattr(folder_module, "BATCH", 5)

    times = iter(range(9))

    def killed(path, entries):
        if next(times) == 1:
            raise KeyboardInterrupt
        append(path, entries)

    append = folder_module.append_entries
    monkeypatch.setattr(folder_module, "append_entries", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path)
    assert Results(tmp_path).read_ledger().entries == before
    (tmp_path / "ledger.jsonl").write_bytes((tmp_path / "ledger.jsonl").read_bytes()[:-9])
    publish(tmp_path)
    ledger = Results(tmp_path).read_ledger()
    assert ledger.entries == before and ledger.damaged_lines == 0 and ledger.lines == len(plan)


def test_where_two_splits_made_a_work_unit_the_shard_that_is_there_counts(tmp_path, plan):
    """The shard of the second try replaced that of the first; whichever ledger is read last."""
    run_part(plan, tmp_path, 1, of=1)
    good = tmp_path / "parts" / "00001-of-00001.ledger.jsonl"
    entries = [json.loads(line) for line in good.read_text().splitlines()]
    for name, when in (("00001-of-00009", "2000"), ("00009-of-00009", "2999")):
        stale = [{**entry, "sha256": "0" * 64, "mtime_ns": 1, "finished_at": when} for entry in entries]  # fmt: skip
        text = "".join(json.dumps(entry) + "\n" for entry in stale)
        good.with_name(f"{name}.ledger.jsonl").write_text(text)
    merged = Results(tmp_path).read_ledger().entries
    assert merged == {entry["unit_id"]: LedgerEntry(**entry) for entry in entries}
    assert run_part(plan, tmp_path, 1, of=1).work_units == 0


def test_a_folder_of_a_whole_run_is_resumed_by_parts_and_back(tmp_path, plan, expected):
    class Stops(FakeWorker):
        ran = 0

        def run(self, work_unit, on_step=None):
            Stops.ran += 1
            if Stops.ran % 4 == 0:
                raise KeyboardInterrupt
            return super().run(work_unit, on_step)

    assert engine.run(plan, tmp_path, "cpu", Stops).work_units == 3
    assert run_part(plan, tmp_path, 2, of=2, worker=Stops).interrupted
    outcome = engine.run(plan, tmp_path, "cpu", FakeWorker)
    assert outcome.stored_before == 6 and outcome.work_units == len(plan) - 6
    assert content(tmp_path) == expected


def test_tries_are_counted_over_parts_and_merges(tmp_path):
    study = small_study(models=1, seeds=1)
    plan = plan_of(study)
    bad = replace(plan.prompts[0], text="this one fails", prompt_key="bad")
    plan = type(plan)(study, plan.revisions, (bad, *plan.prompts[1:]), plan.bank)
    failed = []
    for _ in range(4):
        failed.append(sum(run_part(plan, tmp_path, number, of=2).failed for number in (1, 2)))
        publish(tmp_path)
    assert failed == [1, 1, 1, 0]


def test_what_workers_say_of_themselves_is_gathered_from_parts(tmp_path, plan):
    from pipeline.results.record import load_workers

    for number in (1, 2, 3):
        run_part(plan, tmp_path, number)
    (tmp_path / "parts" / "00002-of-00003.workers.json").write_text("{")
    workers = load_workers(Results(tmp_path))
    assert set(workers["models"]) == {model.name for model in plan.study.models}
    assert len(workers["environments"]) == 1 and workers["environment"]


def test_a_link_in_place_of_the_parts_folder_is_refused(tmp_path, plan):
    engine.run(plan, tmp_path / "r", "cpu", FakeWorker)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "r" / "parts").symlink_to(tmp_path / "elsewhere")
    for command in (lambda: publish(tmp_path / "r"), lambda: run_part(plan, tmp_path / "r", 1)):
        with pytest.raises(StoreError, match="parts"):
            command()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_part_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engine, "local_worker", FakeWorker)
    command = ["run", "data/studies/small.toml", "--device", "cpu", "--out", str(tmp_path / "r")]
    assert main([*command, "--part", "5/3"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: --part 5/3: no such part.") and said.err.count("\n") == 1
    assert not (tmp_path / "r").exists()
    for number in (1, 2):
        assert main([*command, "--part", f"{number}/2"]) == 0
    assert "python -m pipeline publish" in capsys.readouterr().out
    assert not (tmp_path / "r" / "current.json").exists()
    assert main(["publish", str(tmp_path / "r")]) == 0
    shutil.rmtree(tmp_path / "r" / "parts")
    assert verify(tmp_path / "r") == []
