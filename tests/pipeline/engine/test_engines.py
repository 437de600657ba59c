"""Fleets: what one worker loses another gets; any number and kind of workers gives the same content."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.engine.host import Host, Job, checked, rooted
from pipeline.engine.run import Engine
from pipeline.errors import ModelError, StoreError
from pipeline.results.folder import Results
from pipeline.results.verify import verify
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study, with_scorers

pytestmark = pytest.mark.long


class KilledOnce(FakeWorker):
    """Its process is killed in the first unit of seed 1 that any worker gets."""

    marker = Path(os.environ.get("STEPSCOPE_TEST_MARKER", "/nonexistent"))

    def run(self, work_unit, on_step=None):
        marker = Path(os.environ["STEPSCOPE_TEST_MARKER"])
        if work_unit.seed == 1 and not marker.exists():
            marker.write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(work_unit, on_step)


class Deadly(FakeWorker):
    """Kills its process at every unit of seed 1."""

    def run(self, work_unit, on_step=None):
        if work_unit.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(work_unit, on_step)


class Raises(FakeWorker):
    """Raises at every unit of seed 1."""

    def run(self, work_unit, on_step=None):
        if work_unit.seed == 1:
            raise MemoryError("no room")
        return super().run(work_unit, on_step)


def content(folder):
    with duckdb.connect(publish(folder).path, read_only=True) as con:
        return con.execute("SELECT content_hash FROM study").fetchone()[0]


def log(folder):
    (path,) = (folder / "logs").glob("run-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    engine.run(plan_of(small_study()), folder, "cpu", FakeWorker)
    return content(folder)


# Starting a Ray cluster takes ten seconds of CPU: in the usual run it shows that losses are made good, the rest is thorough.
ENGINES = ["local", pytest.param("ray", marks=pytest.mark.thorough)]


@pytest.fixture(scope="module", params=["local", "ray"])
def kind(request):
    if request.param == "ray":
        pytest.importorskip("ray", reason="needs requirements-ray.txt")
        os.environ["RAY_AUTH_MODE"] = "disabled"
    return request.param


def test_workers_that_are_killed_lose_nothing(tmp_path, kind, expected, monkeypatch):
    monkeypatch.setenv("STEPSCOPE_TEST_MARKER", str(tmp_path / "marker"))
    plan = plan_of(small_study())
    outcome = engine.run(
        plan, tmp_path / "r", "cpu", KilledOnce, engine=Engine(kind, workers=2, threads=1)
    )
    assert (tmp_path / "marker").exists()
    assert outcome.work_units == len(plan) and not outcome.errors
    assert any(line.get("kind") == "lost" for line in log(tmp_path / "r"))
    assert verify(tmp_path / "r") == [] and content(tmp_path / "r") == expected
    again = engine.run(plan, tmp_path / "r", "cpu", FakeWorker)  # another number, another engine
    assert again.stored_before == len(plan)


@pytest.mark.parametrize("kind", ENGINES, indirect=True)
def test_a_unit_that_kills_three_workers_is_set_aside_with_its_reason(tmp_path_factory, kind):
    """One model in big units, so that three workers die and no more."""
    tmp_path, undisturbed = (tmp_path_factory.mktemp(name) for name in ("killed", "undisturbed"))
    plan = plan_of(small_study(models=1, unit_prompts=8))
    engine.run(plan, undisturbed, "cpu", FakeWorker)
    outcome = engine.run(plan, tmp_path, "cpu", Deadly, engine=Engine(kind, workers=2, threads=1))
    assert len(outcome.errors) == len(plan) // 2
    entries = Results(tmp_path).read_ledger().entries
    aside = [e for e in entries.values() if e.status == "error"]
    assert len(aside) == len(plan) // 2 and {e.tries for e in aside} == {3}
    assert all("lost" in e.error or "killed" in e.error for e in aside)
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).work_units == 0
    assert engine.run(plan, tmp_path, "cpu", FakeWorker, retry=True).work_units == len(plan) // 2
    assert content(tmp_path) == content(undisturbed)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_unit_that_raises_waits_for_the_next_run_whatever_the_workers(tmp_path, workers):
    """Only lost workers are worth another try at once: the same code on the same unit raises again."""
    plan = plan_of(small_study(models=1))
    fleet = Engine(workers=workers, threads=1)
    ran = [engine.run(plan, tmp_path, "cpu", Raises, engine=fleet) for _ in range(4)]
    assert [outcome.work_units for outcome in ran] == [4, 2, 2, 0]
    assert [len(outcome.errors) for outcome in ran] == [2, 2, 2, 0]
    entries = Results(tmp_path).read_ledger().entries
    assert sorted((e.status, e.tries) for e in entries.values()) == [
        ("done", 1), ("done", 1), ("error", 3), ("error", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ENGINES, indirect=True)
def test_shards_in_an_object_store(tmp_path, kind, expected, monkeypatch):
    s3fs = pytest.importorskip("s3fs", reason="needs requirements-ray.txt")
    s3fs.S3FileSystem.clear_instance_cache()  # one made before knows another server
    server_of = pytest.importorskip("moto.server", reason="needs requirements-ray.txt")
    server = server_of.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        plan, store = plan_of(small_study()), f"s3://bucket-{kind}/study"
        engine.run(
            plan, tmp_path, "cpu", FakeWorker, engine=Engine(kind, 2, threads=1), shards=store
        )
        assert not list((tmp_path / "shards").iterdir())
        assert verify(tmp_path) == [] and content(tmp_path) == expected
        assert engine.run(plan, tmp_path, "cpu", FakeWorker).stored_before == len(plan)
        with pytest.raises(StoreError, match="the shards of"):
            engine.run(plan, tmp_path, "cpu", FakeWorker, shards="s3://other/x")
    finally:
        server.stop()


@pytest.mark.parametrize("store", ["ftp://host/x", "s3://", "http://x/y"])
def test_places_that_are_no_object_store_are_refused(tmp_path, store):
    with pytest.raises(StoreError, match="--shards"):
        engine.run(plan_of(small_study()), tmp_path, "cpu", FakeWorker, shards=store)


def test_a_worker_elsewhere_must_have_every_scorer_as_planned():
    plan = plan_of(with_scorers(small_study(models=1)))
    study = rooted(plan.study)
    assert [Path(s.source).is_absolute() for s in study.scorers] == [True, False]
    assert [s.name for s in study.scorers] == [s.name for s in plan.study.scorers]

    def job(**revisions):
        planned = replace(plan.revisions, **revisions)
        return Job(study, plan.bank, planned, None, "cpu", FakeWorker, elsewhere=True)

    assert Host(job(), 0)._open(study.models[0]).description
    with pytest.raises(ModelError, match="scorer ViT-B-32 on .* is not what the driver planned"):
        Host(job(further_scorers=("laion400m_e31",)), 0)._open(study.models[0])


def test_a_further_score_that_is_not_a_number_fails_its_sample():
    plan = plan_of(with_scorers(small_study(models=1)))
    work_unit = plan[0]
    rows = FakeWorker(plan.study, work_unit.model, plan.bank).run(work_unit)
    rows[1]["further_scorers"][0]["trajectories"][0]["similarity"][2] = float("nan")
    assert [row["status"] for row in checked(work_unit, rows)] == ["done", "failed", "done", "done"]
