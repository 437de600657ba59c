"""Batches of scenes by processes: the rows of one call, each batch measured once, also after a stop."""

import json
from pathlib import Path

import pytest

from pipeline.demo import trust_parts
from pipeline.demo.trust import Trust, TrustOptions, firsts, run_batch
from pipeline.demo.trust_parts import run_parts

pytestmark = pytest.mark.long

MODELS, NAMES = Path("data/models"), ("scenes-unet",)
FEW = TrustOptions(
    scenes=3, steps=3, at=(1,), masks=4, random_scenes=1, random_at=(1,), stages=1, batch=2
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The rows of both batches, and the folder of their parts."""
    folder = tmp_path_factory.mktemp("trust") / "results" / "trust"
    return run_parts(MODELS, NAMES, FEW, folder), folder


def sorted_rows(trust):
    return [
        sorted(json.dumps(row, default=float) for row in rows)
        for rows in (trust.localisation, trust.randomisation, trust.area)
    ]


def test_the_rows_are_those_of_every_batch(finished):
    batches = Trust([], [], [])
    for first in firsts(FEW):
        batches.add(run_batch(MODELS, "scenes-unet", first, FEW))
    assert sorted_rows(finished[0]) == sorted_rows(batches)


def test_a_finished_batch_is_read_and_a_damaged_one_measured_again(finished, monkeypatch):
    trust, folder = finished
    parts = sorted(folder.iterdir())
    assert len(parts) == 2
    begun = []

    class InThisProcess:
        """In place of a pool, so that what is begun can be counted."""

        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def imap_unordered(self, run, missing):
            for part in missing:
                begun.append(part.first)
                yield run(part)

    monkeypatch.setattr(trust_parts.SPAWN, "Pool", InThisProcess)
    assert sorted_rows(run_parts(MODELS, NAMES, FEW, folder)) == sorted_rows(trust)
    assert begun == []
    parts[0].write_bytes(parts[0].read_bytes()[:-10])
    assert sorted_rows(run_parts(MODELS, NAMES, FEW, folder)) == sorted_rows(trust)
    assert len(begun) == 1


def test_other_options_are_other_batches(finished):
    parts = {trust_parts._part(MODELS, finished[1], "scenes-unet", 0, FEW).path}
    parts |= {trust_parts._part(MODELS, finished[1], "scenes-dit", 0, FEW).path}
    assert len(parts) == 2


def test_a_batch_is_that_of_its_first_scene():
    assert {row["scene"] for row in run_batch(MODELS, "scenes-unet", 2, FEW).localisation} == {2}
