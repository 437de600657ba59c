"""Recording makes the host wait at most once a batch: counted on a stand-in for an accelerator, in a process of its own."""

import json
import subprocess
import sys

import pytest

from pipeline.bench.waits import MEASURES, MODELS, STEPS, count_apart, ours, passes


def test_what_waits_on_an_accelerator_is_counted():
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.stand_in"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    counts, answers = json.loads(done.stdout.splitlines()[-1])
    scalar, host, device, shape = (
        "a number read by the host",
        "a copy to the host",
        "a copy to the device",
        "a shape that depends on values",
    )
    expected = {
        "float": {scalar: 1}, "bool": {scalar: 1}, "equal": {scalar: 1}, "cpu": {host: 1}, "tolist": {host: 1},
        "mask": {shape: 1}, "nonzero": {shape: 1}, "list": {device: 1}, "set": {device: 1}, "number": {},
        "changed": {}, "later": {"an asynchronous copy to the host": 1}, "to": {device: 1}, "linear": {}, "index": {device: 1},
        "joined": {host: 2}, "loop": {host: 2},
    }  # fmt: skip
    assert counts == expected
    assert answers["linear"] and answers["loop"] == [9, 5, 1]
    assert [len(part) for part in answers["joined"]] == [6, 2, 1, 6]


# A transformer takes a minute of the processor; `make bench` counts both.
@pytest.mark.long
@pytest.mark.parametrize(
    "model", [MODELS[0], *(pytest.param(each, marks=pytest.mark.thorough) for each in MODELS[1:])]
)
def test_recording_waits_at_most_once_a_batch_for_each_kind(model):
    counts = count_apart(model)
    assert passes(counts), counts
    waits = ours(counts)
    assert waits["scores"] <= 1 and waits["frames"] == 0 and waits["attention"] == 0
    assert waits["concepts"] <= 1 and waits["all"] <= 2
    pipeline_alone = counts["plain"][str(STEPS[-1])]["waits"]
    assert all(counts[name][str(STEPS[-1])]["waits"] >= pipeline_alone for name in MEASURES)


def test_a_wait_a_step_does_not_pass():
    steps = [str(n) for n in STEPS]
    alike = {name: {n: {"waits": 1} for n in steps} for name in ("plain", *MEASURES)}
    assert passes(alike)
    alike["frames"] = {n: {"waits": 1 + int(n)} for n in steps}
    assert not passes(alike)
