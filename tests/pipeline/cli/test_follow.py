"""`run --follow`: a checkpoint that appears while it runs is sampled and published; Ctrl-C stops it, and it resumes."""

import shutil
import threading
import time
from pathlib import Path

import duckdb
import pytest

from pipeline.__main__ import main
from pipeline.cli.follow import follow
from pipeline.database.publish import publish
from pipeline.database.snapshots import read_pointer
from pipeline.engine import run as engine
from pipeline.errors import StoreError, StudyError
from pipeline.preflight.deleted import with_deleted
from pipeline.results.folder import Results
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study
from tests.support.checkpoints import checkpoint
from tests.support.fake_worker import FakeWorker

LIMIT = 240  # seconds after which the tests give up


@pytest.fixture
def study(tmp_path) -> Path:
    """The small study's prompts, with the checkpoints of a folder as its models."""
    text = Path("data/studies/small.toml").read_text()
    text = text[: text.index("[[model]]")]
    path = tmp_path / "study.toml"
    path.write_text(f'{text}\n[[model]]\nname = "run"\ncheckpoints = "{tmp_path}/out/checkpoint-*"\nsteps = 2\n')  # fmt: skip
    (tmp_path / "out").mkdir()
    return path


def drop(out: Path, step: int) -> None:
    """Writes a checkpoint elsewhere and renames it."""
    checkpoint(out.parent / f"elsewhere-{step}", step).rename(out / f"checkpoint-{step}")


def run_once(study: Path, results: Path, *seeds: int) -> int:
    """What the command does for a study, with a worker made of arithmetic; gives the number of work units run."""
    plan = with_deleted(plan_study(load_study(study, seeds, 2)), Results(results))
    outcome = engine.run(plan, results, "cpu", FakeWorker)
    publish(results)
    return outcome.work_units


def snapshots(results: Path) -> int:
    """How many snapshots were published, by the pointer: the database may be open in another thread."""
    try:
        return read_pointer(Results(results))[1]
    except StoreError:
        return 0


def published(results: Path) -> list[tuple]:
    """The checkpoints of the current snapshot with their finished images."""
    query = "SELECT training_step, count(*) FROM model JOIN sample USING (model_id) WHERE status = 'done' GROUP BY ALL ORDER BY ALL"
    with duckdb.connect(read_pointer(Results(results))[0], read_only=True) as db:
        return db.sql(query).fetchall()


def followed(study: Path, results: Path, until: int) -> tuple[int, list[int]]:
    """Follows until so many snapshots are published, then presses Ctrl-C: the exit status, and the work units of each run."""
    end, runs = time.monotonic() + LIMIT, []

    def pause(_: float) -> None:
        assert time.monotonic() < end, "nothing was published in time"
        if snapshots(results) >= until:
            raise KeyboardInterrupt
        time.sleep(0.02)

    def run() -> int:
        runs.append(run_once(study, results, 3))
        return 0

    return follow(study, run, pause), runs


def test_new_checkpoints_are_sampled_and_published(study, tmp_path, capsys):
    out, results = tmp_path / "out", tmp_path / "results"
    (out / "checkpoint-900").mkdir()  # one that is never written

    def trainer() -> None:
        end = time.monotonic() + LIMIT
        drop(out, 100)
        while not snapshots(results) and time.monotonic() < end:
            time.sleep(0.02)
        drop(out, 200)

    thread = threading.Thread(target=trainer)
    thread.start()
    assert followed(study, results, 2) == (130, [1, 1])
    thread.join(LIMIT)
    assert published(results) == [(100, 2), (200, 2)]
    assert "Waiting for checkpoints after 2" in capsys.readouterr().out
    drop(out, 300)
    assert followed(study, results, 3) == (130, [1]), "what was finished is not run again"
    assert published(results) == [(100, 2), (200, 2), (300, 2)]


def test_a_deleted_checkpoint_stays_if_it_is_finished(study, tmp_path):
    out, results = tmp_path / "out", tmp_path / "results"
    for step in (100, 200):
        drop(out, step)
    assert run_once(study, results, 3) == 2
    shutil.rmtree(out / "checkpoint-100")
    drop(out, 300)
    assert run_once(study, results, 3) == 1
    assert published(results) == [(100, 2), (200, 2), (300, 2)]
    shutil.rmtree(out / "checkpoint-200")
    assert run_once(study, results, 3, 4) == 1
    assert published(results) == [(300, 4)], "there are no images of another seed of those gone"


def test_a_mistake_later_is_said_once_and_looked_at_again(study, tmp_path, capsys):
    drop(tmp_path / "out", 100)
    text, looks, runs = study.read_text(), [], []

    def pause(_: float) -> None:
        looks.append(1)
        study.write_text("name = 1" if len(looks) < 4 else text)
        if len(looks) == 5:
            drop(tmp_path / "out", 200)
        if len(looks) > 6:
            raise KeyboardInterrupt

    assert follow(study, lambda: runs.append(1) or 0, pause) == 130
    assert len(runs) == 2 and capsys.readouterr().err.count("not yet:") == 1


def test_a_run_that_ctrl_c_stops_stops_it(study, tmp_path):
    drop(tmp_path / "out", 100)
    assert follow(study, lambda: 130, lambda _: pytest.fail("it waits")) == 130


def test_mistakes_end_it_before_the_first_run(study, tmp_path, capsys):
    for more in (["--plan"], ["--no-publish"], ["--part", "1/2"], ["--engine", "slurm"]):
        assert main(["run", str(study), "--follow", *more]) == 2
        assert "--follow" in capsys.readouterr().err
    study.write_text("name = 1")
    with pytest.raises(StudyError):
        follow(study, lambda: 0, lambda _: pytest.fail("it waits"))
