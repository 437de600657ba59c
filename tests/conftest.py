"""What tests share: no network, a quiet hypothesis, and small studies really published."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import jaxtyping
import pytest
from hypothesis import settings

from tests.support import order
from tests.support.texts import HOSTILE

# Before huggingface_hub is imported, which reads it then: a model that is not there is not there at once.
os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("stepscope", deadline=None, max_examples=40)
settings.load_profile("stepscope")


def pytest_sessionfinish() -> None:
    """Closes what Streamlit keeps for its server's life: DuckDB names every connection that is open at exit."""
    if "streamlit" in sys.modules:
        import streamlit

        streamlit.cache_resource.clear()
        gc.unfreeze()  # which the app freezes once
        gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first, so that none begins when the others have ended."""
    items.sort(key=lambda item: order.rank(item.path))


def pytest_collection_finish() -> None:
    """Leaves the thousands of tests and modules that are there now out of garbage collection: a full one took 0.6 s each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Shapes are checked in tests of the measures: what pages show is published first, which calls them by the ten thousand."""
    measures = Path(__file__).parent / "pipeline"
    jaxtyping.config.update("jaxtyping_disable", measures not in item.path.parents)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is noted on this machine goes to a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Streamlit's AppTest leaves the app as `__main__`, which every process spawned later would run again."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives a copy of a published results folder that the first process of the session in need of it makes."""
    mine = tmp_path_factory.getbasetemp()
    shared = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine

    def copy(name: str, **sizes: int) -> Path:
        from tests.support.synthetic import build_results

        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / f"{name}-original").is_dir():
                build_results(shared / f"{name}-part" / name, **sizes)
                (shared / f"{name}-part").rename(shared / f"{name}-original")
        folder = tmp_path_factory.mktemp(name) / name
        return Path(shutil.copytree(shared / f"{name}-original" / name, folder))

    return copy


@pytest.fixture(scope="session")
def results(study_folder: Callable[..., Path]) -> Iterator[Path]:
    """A results folder with a published snapshot: 3 models, 24 prompts, 2 seeds, 12 steps. Who saves anything takes `results_copy`."""
    folder = study_folder("demo", models=3, prompts=24, seeds=2, steps=12)
    yield folder
    assert not (folder / "reviews.sqlite").exists(), "a test has changed what others read"


@pytest.fixture
def results_copy(results: Path, tmp_path: Path) -> Path:
    """A copy of `results` for a test that saves reviews, tags or slices."""
    return Path(shutil.copytree(results, tmp_path / "demo"))


@pytest.fixture(scope="session")
def one_model(study_folder: Callable[..., Path]) -> Path:
    """The same with one model, six prompts and one seed."""
    return study_folder("single", models=1, prompts=6, seeds=1, steps=6)


@pytest.fixture(scope="session")
def two_prompts(study_folder: Callable[..., Path]) -> Path:
    """The same with two prompts, over which 95 % intervals are far wider than what the means span."""
    return study_folder("few", models=2, prompts=2, seeds=2, steps=8)


@pytest.fixture(scope="session")
def two_scorers(study_folder: Callable[..., Path]) -> Path:
    """The same with two models and two scorers, of which the second finds the better model worse."""
    return study_folder("scored", models=2, prompts=12, seeds=2, steps=6, scorers=2)


@pytest.fixture(scope="session")
def altered(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Copies of the study with some SQL run on its database: old, empty, failed, hostile ones."""

    def alter(*statements: str, values: list[object] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("altered") / "demo"
        pointer = json.loads((results / "current.json").read_text())
        source, target = results / pointer["snapshot"], folder / pointer["snapshot"]
        target.parent.mkdir(parents=True)
        shutil.copyfile(source, target)
        (folder / "current.json").write_text(json.dumps(pointer))
        with duckdb.connect(str(target)) as connection:
            for statement in statements:
                connection.execute(statement, values if values and "?" in statement else None)
        return folder

    return alter


@pytest.fixture(scope="session")
def failed_only(altered: Callable[..., Path]) -> Path:
    """A study of which every sample failed."""
    return altered(
        "UPDATE sample SET status = 'failed', error = 'RuntimeError: out of memory', "
        "clip_score = NULL, image = NULL",
        "INSERT INTO failure SELECT model_id, prompt_id, seed, 'sample', error, 2 FROM sample",
        "UPDATE study SET done_samples = 0, failed_samples = planned_samples",
        *(f"DELETE FROM {table}" for table in EMPTIED if table not in {"sample", "failure"}),
    )


@pytest.fixture(scope="session")
def nothing_yet(altered: Callable[..., Path]) -> Path:
    """A study that was published before any sample was made."""
    return altered(
        *(f"DELETE FROM {table}" for table in EMPTIED),
        "UPDATE study SET done_samples = 0, failed_samples = 0",
    )


@pytest.fixture(scope="session")
def hostile(altered: Callable[..., Path]) -> Path:
    """A study with prompts, and a model's label, that something might interpret."""
    numbered = ", ".join(f"({i}, ?)" for i in range(1, len(HOSTILE) + 1))
    return altered(
        f"UPDATE prompt SET text = t.text FROM (VALUES {numbered}) AS t(prompt_id, text) "
        "WHERE prompt.prompt_id = t.prompt_id",
        "UPDATE model SET label = '<b>UNet</b> **x** :red[y]' WHERE model_id = 1",
        values=list(HOSTILE),
    )


EMPTIED = [
    "sample",
    "step",
    "trajectory",
    "rollup_prompt",
    "rollup_step",
    "rollup_trajectory",
    "contrast",
    "cell_curve",
    "cell_pair",
    "correlation_concept",
    "correlation_model",
    "frame",
    "failure",
    "token_attention",
    "explanation",
    "faithfulness",
    "agreement",
    "localisation",
    "randomisation",
    "spectrum",
    "switch",
    "switch_image",
    "redraw",
    "concept_attention",
    "information",
    "path",
]
