"""Peak memory: measured from the loading of an entry's model on, kept through a resume, absent where nobody measured it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

from pipeline.database.publish import publish
from pipeline.engine import memory
from pipeline.engine import run as engine
from pipeline.engine.memory import PeakMemory
from pipeline.engine.worker import Worker
from pipeline.results.folder import Results
from pipeline.results.rows import ALLOCATOR, LIFETIME, PROCESS
from pipeline.results.verify import verify
from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt
from pipeline.study.reading import load_study
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

CPU = torch.device("cpu")
MANY = 200 * 2**20  # bytes
GOLDEN = Path("tests/data/golden/results")
PEAKS = "SELECT name, max(peak_memory), count(peak_memory), coalesce(list(DISTINCT memory_kind) FILTER (memory_kind IS NOT NULL), []) FROM sample JOIN model USING (model_id) GROUP BY name ORDER BY name"


def peaks(folder: Path) -> dict[str, tuple[Any, ...]]:
    with duckdb.connect(str(publish(folder).path), read_only=True) as db:
        return {name: rest for name, *rest in db.execute(PEAKS).fetchall()}


def test_the_peak_is_what_was_in_use_at_once_and_begins_anew_with_a_model() -> None:
    first = PeakMemory(CPU)
    before = first.columns()["peak_memory"]
    block = np.ones(MANY // 8)
    del block
    high = first.columns()
    assert high["peak_memory"] - before == pytest.approx(MANY, rel=0.1), "memory that is free again"
    assert high["memory_kind"] in (PROCESS, LIFETIME)
    second = PeakMemory(CPU)
    if second.kind == PROCESS:
        assert second.columns()["peak_memory"] < high["peak_memory"] - MANY / 2


def test_what_a_probe_tries_does_not_count_and_what_was_before_does() -> None:
    peak = PeakMemory(CPU)
    block = np.ones(MANY // 8)
    del block
    before = peak.columns()["peak_memory"]
    with peak.left_out():
        block = np.ones(3 * MANY // 8)
        del block
    after = peak.columns()["peak_memory"]
    if peak.kind == PROCESS:
        assert before <= after < before + MANY
    else:
        assert after > before + MANY


def test_where_the_peak_cannot_be_reset_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RESET", Path("/proc/self/no such file/clear_refs"))
    assert PeakMemory(CPU).kind == LIFETIME


def test_without_proc_it_is_that_of_getrusage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "STATUS", Path("/no such file"))
    columns = PeakMemory(CPU).columns()
    assert columns["memory_kind"] == LIFETIME and columns["peak_memory"] > 2**20


def test_on_cuda_it_is_the_allocators_of_that_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch is asked, on a machine without a GPU."""
    asked: list[tuple[str, torch.device]] = []
    device = torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda d: asked.append(("reset", d)))
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda d: asked.append(("read", d)) or 123
    )
    columns = PeakMemory(device).columns()
    assert columns == {"peak_memory": 123, "memory_kind": ALLOCATOR}
    assert asked == [("reset", device), ("read", device)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and there is none")
def test_a_tensor_on_the_gpu_counts_until_a_model_is_loaded() -> None:
    device = torch.device("cuda")
    first = PeakMemory(device)
    before = first.columns()["peak_memory"]
    block = torch.ones(MANY // 4, device=device)
    del block
    assert first.columns()["peak_memory"] - before == pytest.approx(MANY, rel=0.05)
    assert PeakMemory(device).columns()["peak_memory"] == pytest.approx(before, abs=2**20)


def test_a_worker_records_it_and_it_never_falls() -> None:
    study = load_study("data/studies/small.toml")
    model = replace(study.models[0], steps=2)
    study = replace(study, models=(model,), measures=type(study.measures)())
    bank = ConceptBank("one", (Concept("dog", "object", ("a dog",)),))
    prompts = tuple(Prompt(f"key{i}", f"a dog {i}", "test", "", {}, i) for i in range(3))
    study = replace(study, run=replace(study.run, batch_size=1))
    with Worker(study, model, bank, "cpu") as worker:
        rows = worker.run(WorkUnit("u", model, prompts, 0))
    recorded = [row["peak_memory"] for row in rows]
    weights = sum(each.numel() for each in worker_parameters()) * 4
    assert recorded == sorted(recorded) and recorded[0] > weights
    assert {row["memory_kind"] for row in rows} <= {PROCESS, LIFETIME}


def worker_parameters() -> list[torch.Tensor]:
    from safetensors.torch import load_file

    return list(
        load_file("data/models/scenes-unet/unet/diffusion_pytorch_model.safetensors").values()
    )


def of_peak(peak: int, stop_after: int | None = None) -> Callable[..., FakeWorker]:
    """A worker whose process never held more than so many bytes; Ctrl-C comes after some work units."""
    done = 0

    class OfPeak(FakeWorker):
        def run(self, work_unit, on_step=None):
            nonlocal done
            if done == stop_after:
                raise KeyboardInterrupt
            done += 1
            rows = super().run(work_unit, on_step)
            return [row | {"peak_memory": peak, "memory_kind": PROCESS} for row in rows]

    return OfPeak


def test_a_resumed_run_keeps_the_maximum(tmp_path: Path) -> None:
    """The entry's highest peak was in a work unit before the interrupt; what comes after it was lower, and does not replace it."""
    plan = plan_of(small_study(models=1, prompts=12, seeds=1))
    assert engine.run(plan, tmp_path, "cpu", of_peak(900, stop_after=1)).interrupted
    assert engine.run(plan, tmp_path, "cpu", of_peak(100)).work_units == 2
    assert peaks(tmp_path) == {"scenes-unet": [900, 12, [PROCESS]]}
    assert engine.run(plan, tmp_path, "cpu", of_peak(50)).work_units == 0
    assert peaks(tmp_path)["scenes-unet"][0] == 900


def test_it_is_no_content_of_a_work_unit(tmp_path: Path) -> None:
    """Another machine's memory makes no other results."""
    plan = plan_of(small_study(models=1, prompts=4, seeds=1))
    hashes = []
    for folder, peak in ((tmp_path / "a", 900), (tmp_path / "b", 100)):
        engine.run(plan, folder, "cpu", of_peak(peak))
        hashes.append(
            [each.content_sha256 for each in Results(folder).read_ledger().entries.values()]
        )
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    "row", [{"peak_memory": -5}, {"peak_memory": 0}, {"memory_kind": "<b>x</b>"}], ids=str
)
def test_what_no_run_writes_is_not_published(tmp_path: Path, row: dict[str, Any]) -> None:
    class Strange(FakeWorker):
        def run(self, work_unit, on_step=None):
            return [each | row for each in super().run(work_unit, on_step)]

    engine.run(plan_of(small_study(models=1, prompts=4, seeds=1)), tmp_path, "cpu", Strange)
    assert peaks(tmp_path) == {"scenes-unet": [None, 0, []]}


def test_results_of_an_older_version_have_none_and_are_published(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(GOLDEN, folder)
    known = peaks(folder)
    assert known and all(peak is None and kinds == [] for peak, _, kinds in known.values())
    assert verify(folder) == []
