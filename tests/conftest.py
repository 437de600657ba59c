"""What tests share: import paths, a quiet hypothesis, and small studies really published."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "app"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

settings.register_profile("stepscope", deadline=None, max_examples=40)
settings.load_profile("stepscope")


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Streamlit's AppTest leaves the app as `__main__`, which every process spawned later would run again."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a published snapshot: 3 models, 24 prompts, 2 seeds, 12 steps."""
    from synthetic import build_results

    folder = tmp_path_factory.mktemp("results") / "demo"
    build_results(folder, models=3, prompts=24, seeds=2, steps=12)
    return folder


@pytest.fixture(scope="session")
def one_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one model, six prompts and one seed."""
    from synthetic import build_results

    folder = tmp_path_factory.mktemp("one") / "single"
    build_results(folder, models=1, prompts=6, seeds=1, steps=6)
    return folder


@pytest.fixture(scope="session")
def two_scorers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two models and two scorers, of which the second finds the better model worse."""
    from synthetic import build_results

    folder = tmp_path_factory.mktemp("two") / "scored"
    build_results(folder, models=2, prompts=12, seeds=2, steps=6, scorers=2)
    return folder


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


HOSTILE = (
    "<script>alert('boo')</script><img src=x onerror=alert(1)> a cat",
    "**bold** [click](javascript:alert(1)) ![i](http://127.0.0.1/x.png) :red[x] $x^2$ "
    ":material/home: # h",
    '\'; DROP TABLE sample; -- "quoted"',
    "x" * 10_000,
    "\u202eright to left\u202c שלום עולם مرحبا",
    "line one\nline two\t\x0btabbed",
    "🦊 emoji 👩‍👩‍👧‍👦 and ﷽",
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
    "rollup_family",
    "cell_curve",
    "cell_pair",
    "cell_emergence",
    "cell_family",
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
    "path",
]
