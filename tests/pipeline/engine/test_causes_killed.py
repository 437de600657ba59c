"""A study of every measure of causes, killed within its third work unit: resumed, it has the content of a plain run."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine import run as engine
from pipeline.results.folder import Results
from pipeline.results.verify import verify
from pipeline.study.plan import plan_study
from pipeline.study.spec import Measures, ToolSpec
from tests.support.causes import causes

STEPS = 3
MIDDLE = ToolSpec(steps=(1,))
JUDGED = replace(MIDDLE, options={"judge": "data/models/scenes-judge"})
# Between two denoising steps; the shard of the unit before may still be on its way to the disk.
CHILD = """
import os, signal, sys
from pathlib import Path
from pipeline.engine import run as engine
from pipeline.engine.worker import Worker
from pipeline.study.plan import plan_study
from tests.pipeline.engine.test_causes_killed import study_of
run, seen = Worker.run, []
def killed(self, work_unit, on_step=None):
    seen.append(work_unit)
    if len(seen) == 3:
        on_step = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return run(self, work_unit, on_step)
Worker.run = killed
engine.run(plan_study(study_of()), Path(sys.argv[1]), "cpu")
"""


def study_of():
    measures = Measures(
        switch=JUDGED,
        critical_windows=replace(JUDGED, options={**JUDGED.options, "redraws": 1}),
        concept_attention=MIDDLE,
        information=ToolSpec(steps=(1, 2)),
    )
    study = causes(measures, STEPS)
    return replace(study, seeds=(0, 1), run=replace(study.run, unit_prompts=1))


def contents(folder):
    entries = Results(folder).read_ledger().entries
    return {key: entry.content_sha256 for key, entry in entries.items()}


@pytest.mark.thorough  # half a minute of a core; a kill between units of other measures is in the usual run
def test_resumed_with_the_same_content(tmp_path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    command = [sys.executable, "-c", CHILD, str(killed)]
    child = subprocess.run(command, cwd=Path.cwd(), capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert 0 < len(contents(killed)) < 3
    for folder in (killed, undisturbed):
        engine.run(plan_study(study_of()), folder, "cpu")
        assert verify(folder) == []
    assert contents(killed) == contents(undisturbed) and len(contents(killed)) == 4
