"""Folders of models and scorers that mean harm: each loads without it, or is one clear line before anything is run."""

import builtins
import io
import re
import shutil
import signal
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.__main__ import main
from pipeline.engine import memory
from tests.attacks.model_folders import (  # fmt: skip
    LOADS,
    REFUSED,
    Case,
    canary,
    corpus,
    python,
)
from tests.support.hostile import watched
from tests.support.tiny_pipelines import folder_of

CASES = corpus()
SECONDS = 10
MEMORY = 1_500 * 2**20  # bytes that one folder may take beyond what the process holds
STUDY = """
name = "attacked"
seeds = [0]
[prompts]
path = "{prompts}"
[scorer]
source = "{scorer}"
[concepts]
path = "data/concepts/scenes.toml"
[[model]]
name = "m"
source = "{model}"
steps = 1
height = 16
width = 16
{more}
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A model folder in order, and a scorer's."""
    root = tmp_path_factory.mktemp("good")
    return {"model": folder_of("sd-epsilon", root), "scorer": Path("data/models/scenes-clip")}


@pytest.fixture
def attack(good, tmp_path, capsys, monkeypatch):
    """Plans a study of a changed folder under every watch. Returns: the exit status and what was said."""
    monkeypatch.setattr(
        constants, "HF_HUB_OFFLINE", False
    )  # so that a wish for the network is seen
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked a question"))
    # `limited` counts the memory of all of it: a worker must not begin that count anew, nor write outside the folder.
    monkeypatch.setattr(memory, "RESET", tmp_path / "clear_refs")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 100))
    (tmp_path / "prompts.txt").write_text("cat\n")

    def call(case: Case, more=""):
        folder = shutil.copytree(good[case.what], tmp_path / case.what)
        python(*(f"{part}/evil.py" for part in (".", "unet", "tokenizer") if (folder / part).is_dir()))(folder)  # fmt: skip
        case.change(folder)
        folders = good | {case.what: folder}
        study = tmp_path / "study.toml"
        study.write_text(STUDY.format(prompts=tmp_path / "prompts.txt", more=more, **folders))
        capsys.readouterr()
        with limited(), watched(tmp_path) as harm:
            status = main(["run", str(study), "--plan", "--device", "cpu"])
        harm = [line for line in harm if not VIEW.match(line)]
        assert harm == [] and not canary(folder).exists()
        return status, *capsys.readouterr()

    return call


# The view of a folder: made in the place for temporary files, its links removed by name.
VIEW = re.compile(r"os\.\w+ .*/stepscope-model-|os\.(remove|rmdir) \('[^/']+', \d+\)")


class limited:
    """At most SECONDS, and MEMORY more than before."""

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the memory
        self.before = peak()
        signal.signal(signal.SIGALRM, self.too_long)
        signal.alarm(SECONDS)

    def __exit__(self, *_):
        signal.alarm(0)
        assert peak() - self.before < MEMORY

    def too_long(self, *_):
        pytest.fail(f"hangs for over {SECONDS} s")


def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def holds(case, status, out, err):
    if case.outcome == LOADS:
        assert (status == 0 and "denoiser calls" in out.lower()) or "calls" in out, (out, err)
        return
    assert status == 2, (case.name, out, err)
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and len(err) < 2_000, err
    assert "Traceback" not in out + err and case.said in err, err
    assert case.what in err


def test_the_corpus_is_large_and_each_folder_another():
    names = [f"{case.what}: {case.name}" for case in CASES]
    assert len(set(names)) == len(names) >= 100
    assert sum(case.what == "scorer" for case in CASES) >= 40
    assert {case.outcome for case in CASES} == {LOADS, REFUSED}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.what}-{case.name}"[:80])
def test_a_folder_loads_or_is_one_line(attack, case):
    holds(case, *attack(case))


def test_the_folders_themselves_load(attack):
    case = Case("unchanged", "model", lambda folder: None, LOADS)
    holds(case, *attack(case))
