"""Fleets: what one worker loses another gets; any number and kind of workers gives the same content."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from fake_worker import FakeWorker
from synthetic import plan_of, small_study, with_scorers

from pipeline import engine
from pipeline.database.publish import publish
from pipeline.engine import Engine
from pipeline.engines.host import Host, Job, checked, rooted
from pipeline.errors import ModelError, StoreError
from pipeline.shards import Results
from pipeline.verify import verify


class KilledOnce(FakeWorker):
    """Its process is killed in the first unit of seed 1 that any worker gets."""

    marker = Path(os.environ.get("STEPSCOPE_TEST_MARKER", "/nonexistent"))

    def run(self, unit, on_step=None):
        marker = Path(os.environ["STEPSCOPE_TEST_MARKER"])
        if unit.seed == 1 and not marker.exists():
            marker.write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(unit, on_step)


class Deadly(FakeWorker):
    """Kills its process at every unit of seed 1."""

    def run(self, unit, on_step=None):
        if unit.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(unit, on_step)


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


@pytest.fixture(scope="module", params=["local", "ray"])
def kind(request):
    if request.param == "ray":
        pytest.importorskip("ray", reason="needs requirements-ray.txt")
        os.environ["RAY_AUTH_MODE"] = "disabled"
    return request.param


def test_workers_that_are_killed_lose_nothing(tmp_path, kind, expected, monkeypatch):
    monkeypatch.setenv("STEPSCOPE_TEST_MARKER", str(tmp_path / "marker"))
    made = plan_of(small_study())
    outcome = engine.run(
        made, tmp_path / "r", "cpu", KilledOnce, engine=Engine(kind, workers=2, threads=1)
    )
    assert (tmp_path / "marker").exists()
    assert outcome.units == len(made) and not outcome.errors
    assert any(line.get("kind") == "lost" for line in log(tmp_path / "r"))
    assert verify(tmp_path / "r") == [] and content(tmp_path / "r") == expected
    again = engine.run(made, tmp_path / "r", "cpu", FakeWorker)  # another number, another engine
    assert again.kept == len(made)


def test_a_unit_that_kills_three_workers_is_set_aside_with_its_reason(tmp_path, kind, expected):
    """Bigger units, so that fewer workers die; the content is that of the samples all the same."""
    made = plan_of(small_study(unit_prompts=8))
    outcome = engine.run(made, tmp_path, "cpu", Deadly, engine=Engine(kind, workers=2, threads=1))
    assert len(outcome.errors) == len(made) // 2
    entries = Results(tmp_path).read_ledger().entries
    aside = [e for e in entries.values() if e.status == "error"]
    assert len(aside) == len(made) // 2 and {e.tries for e in aside} == {3}
    assert all("lost" in e.error or "killed" in e.error for e in aside)
    assert engine.run(made, tmp_path, "cpu", FakeWorker).units == 0
    assert engine.run(made, tmp_path, "cpu", FakeWorker, retry=True).units == len(made) // 2
    assert content(tmp_path) == expected


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
        made, place = plan_of(small_study()), f"s3://bucket-{kind}/study"
        engine.run(
            made, tmp_path, "cpu", FakeWorker, engine=Engine(kind, 2, threads=1), shards=place
        )
        assert not list((tmp_path / "shards").iterdir())
        assert verify(tmp_path) == [] and content(tmp_path) == expected
        assert engine.run(made, tmp_path, "cpu", FakeWorker).kept == len(made)
        with pytest.raises(StoreError, match="the shards of"):
            engine.run(made, tmp_path, "cpu", FakeWorker, shards="s3://other/x")
    finally:
        server.stop()


@pytest.mark.parametrize("place", ["ftp://host/x", "s3://", "http://x/y"])
def test_places_that_are_no_object_store_are_refused(tmp_path, place):
    with pytest.raises(StoreError, match="--shards"):
        engine.run(plan_of(small_study()), tmp_path, "cpu", FakeWorker, shards=place)


def test_a_worker_elsewhere_must_have_every_scorer_as_planned():
    made = plan_of(with_scorers(small_study(models=1)))
    study = rooted(made.study)
    assert [Path(s.source).is_absolute() for s in study.scorers] == [True, False]
    assert [s.name for s in study.scorers] == [s.name for s in made.study.scorers]

    def job(**revisions):
        planned = replace(made.revisions, **revisions)
        return Job(study, made.bank, planned, None, "cpu", FakeWorker, elsewhere=True)

    assert Host(job(), 0)._open(study.models[0]).description
    with pytest.raises(ModelError, match="scorer ViT-B-32 on .* is not what the driver planned"):
        Host(job(further_scorers=("laion400m_e31",)), 0)._open(study.models[0])


def test_a_further_score_that_is_not_a_number_fails_its_sample():
    made = plan_of(with_scorers(small_study(models=1)))
    unit = made[0]
    rows = FakeWorker(made.study, unit.model, made.bank).run(unit)
    rows[1]["further_scorers"][0]["trajectories"][0]["similarity"][2] = float("nan")
    assert [row["status"] for row in checked(unit, rows)] == ["done", "failed", "done", "done"]
