"""Devices: which one, in which precision, how many images at once, and what happens when memory is short."""

import os
from dataclasses import replace
from functools import partial

import pytest
import torch

from pipeline.__main__ import main
from pipeline.diffusion import generate as generate_
from pipeline.diffusion.generate import generate
from pipeline.diffusion.watch import Batch, Watch
from pipeline.engine import run
from pipeline.engine import worker as sampling
from pipeline.engine.worker import Worker
from pipeline.errors import ModelError
from pipeline.models import devices
from pipeline.models.loading import open_pipeline
from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import Measures, study_spec
from tests.support import families
from tests.support.fake_worker import FakeWorker, MeetingWorker
from tests.support.synthetic import plan_of, small_study

pytestmark = pytest.mark.long

BANK = ConceptBank("one", (Concept("dog", "object", ("a dog",)),))
CPU = torch.device("cpu")


def seen(monkeypatch, *kinds):
    monkeypatch.setattr(devices, "available", lambda kind: kind in (*kinds, "cpu"))


@pytest.mark.parametrize(
    ("there", "chosen"), [(("cuda", "mps"), "cuda"), (("mps",), "mps"), ((), "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch, there, chosen):
    seen(monkeypatch, *there)
    device = devices.choose_device("auto")
    assert device.type == chosen
    half = torch.float32 if chosen == "cpu" else torch.float16
    assert devices.choose_dtype("auto", device) is half


@pytest.mark.parametrize("wanted", ["cuda", "cuda:3", "mps"])
def test_a_device_that_is_absent_is_named(monkeypatch, wanted):
    seen(monkeypatch)
    with pytest.raises(ModelError, match=f"'{wanted}' was asked for, but torch sees no"):
        devices.choose_device(wanted)


def test_a_gpu_number_that_is_too_high(monkeypatch):
    seen(monkeypatch, "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ModelError, match="there are 2 CUDA devices"):
        devices.choose_device("cuda:2")


def test_every_gpu_gets_a_worker(monkeypatch):
    assert devices.worker_devices("auto", cuda=3) == ("cuda:0", "cuda:1", "cuda:2")
    assert devices.worker_devices("cuda", cuda=1) == ("cuda:0",)
    seen(monkeypatch)
    assert devices.worker_devices("auto", cuda=0) == ("cpu",)
    assert devices.worker_devices("cpu", cuda=3) == ("cpu",)


def test_workers_share_the_devices_in_turn():
    gpus = devices.worker_devices("auto", cuda=2)
    assert devices.assign(gpus, 5) == ("cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0")
    with pytest.raises(ModelError, match="at least one"):
        devices.assign(gpus, 0)


@pytest.mark.parametrize(
    ("device", "workers", "expected"),
    [
        ("auto", None, ["cuda:0", "cuda:1"]),
        ("cuda", 3, ["cuda:0", "cuda:0", "cuda:1"]),
    ],
)
def test_a_run_starts_one_process_per_gpu(tmp_path, monkeypatch, device, workers, expected):
    """On a machine that seems to have two GPUs: each worker process says which device it was given."""
    seen(monkeypatch, "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("STEPSCOPE_TEST_MEETING", str(tmp_path / "meeting"))
    monkeypatch.setenv("STEPSCOPE_TEST_PLACES", str(len(expected)))
    (tmp_path / "meeting").mkdir()
    plan = plan_of(small_study(unit_prompts=1))
    chosen = run.Engine(workers=workers, threads=1)
    outcome = run.run(plan, tmp_path / "r", device, MeetingWorker, engine=chosen)
    assert outcome.work_units == len(plan) and not outcome.errors
    notes = {note.name: note.read_text() for note in (tmp_path / "meeting").iterdir()}
    assert sorted(notes.values()) == expected  # as many processes, each on its device
    assert str(os.getpid()) not in notes


def test_one_gpu_needs_no_other_process(tmp_path, monkeypatch):
    seen(monkeypatch, "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    opened = []

    def open_worker(study, model, bank, device):
        opened.append((device, os.getpid()))
        return FakeWorker(study, model, bank)

    run.run(plan_of(small_study()), tmp_path, "auto", open_worker)
    assert set(opened) == {("cuda:0", os.getpid())}


def test_one_gpu_of_several_may_be_named(monkeypatch):
    seen(monkeypatch, "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.worker_devices("cuda:1") == ("cuda:1",)
    assert devices.assign(devices.worker_devices("cuda:1"), 2) == ("cuda:1", "cuda:1")


def test_a_missing_gpu_ends_a_run_before_it_starts(tmp_path, monkeypatch):
    seen(monkeypatch)
    with pytest.raises(ModelError, match="'cuda' was asked for, but torch sees no CUDA device"):
        run.run(plan_of(small_study()), tmp_path / "r", "cuda", FakeWorker)
    with pytest.raises(ModelError, match="hands out its GPUs itself"):
        run.run(
            plan_of(small_study()),
            tmp_path / "r",
            "cuda:1",
            FakeWorker,
            engine=run.Engine("ray"),
        )
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "mps:0", ""])
def test_the_command_names_the_devices_it_takes(device, capsys):
    with pytest.raises(SystemExit):
        main(["run", "data/studies/small.toml", "--device", device])
    assert "give auto, cpu, cuda (every GPU), cuda:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "batch_size"),
    [
        (lambda n: 1.0, 16),  # more images cost nothing
        (lambda n: float(n), 1),  # or all they can
        (lambda n: 1.0 if n <= 4 else float(n), 4),
    ],
)
def test_the_probe_doubles_while_it_gains(seconds, batch_size):
    assert devices.probe_batch(seconds, 16) == batch_size


def test_the_probe_stops_where_memory_does():
    def attempt(images):
        if images > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    assert devices.probe_batch(attempt, 64) == 4


def test_the_probe_passes_other_errors_on():
    def attempt(images):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        devices.probe_batch(attempt, 8)


@pytest.fixture
def study():
    loaded = load_study("data/studies/small.toml")
    models = tuple(replace(model, steps=2) for model in loaded.models)
    return replace(
        loaded, models=models, measures=Measures(), run=replace(loaded.run, batch_size=8)
    )


def prompts_of(count):
    return tuple(Prompt(f"k{i}", f"a dog {i}", "t", "", {}, i) for i in range(count))


def test_memory_that_is_short_costs_no_item(study, monkeypatch):
    sizes, original = [], generate_.generate

    def generate_or_fail(pipeline, model, prompts, seed, schedule):
        sizes.append(len(prompts))
        if len(prompts) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(pipeline, model, prompts, seed, schedule)

    monkeypatch.setattr(sampling, "generate", generate_or_fail)
    worker = Worker(study, study.models[0], BANK, "cpu")
    rows = worker.run(WorkUnit("u", worker.model, prompts_of(8), 0))
    assert [row["status"] for row in rows] == ["done"] * 8
    assert [row["prompt_key"] for row in rows] == [f"k{i}" for i in range(8)]
    assert sizes == [8, 4, 2, 2, 2, 2]
    sizes.clear()
    worker.run(WorkUnit("u", worker.model, prompts_of(4), 1))
    assert sizes == [2, 2]  # lowered once, for good


def test_one_item_is_tried_again_before_it_fails(study, monkeypatch):
    tries, original = [], generate_.generate

    def fail_once(*call):
        tries.append(1)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*call)

    monkeypatch.setattr(sampling, "generate", fail_once)
    worker = Worker(study, study.models[0], BANK, "cpu")
    (row,) = worker.run(WorkUnit("u", worker.model, prompts_of(1), 0))
    assert row["status"] == "done" and len(tries) == 2


def test_a_probed_batch_size_is_part_of_the_study(study, monkeypatch):
    auto = replace(study, run=replace(study.run, batch_size=None))
    values = study_spec(auto)
    assert values["run"]["batch_size"] == "auto"
    assert parse_study(values, auto.path, check_files=False).run.batch_size is None
    monkeypatch.setattr(sampling, "probe_batch", lambda attempt, most: attempt(2) and 2)
    worker = Worker(auto, auto.models[0], BANK, "cpu")
    rows = worker.run(WorkUnit("u", worker.model, prompts_of(3), 0))
    assert len(rows) == 3 and worker._batch_size == 2


@pytest.mark.parametrize(
    ("option", "backend"),
    [
        ("channels_last", "none"),
        ("compile", "aot_eager"),  # traced as by the default one, without its C++
        pytest.param("compile", "inductor", marks=pytest.mark.thorough),  # 45 s for a tiny model
    ],
)
def test_speed_options_are_watched_like_any_run(study, root, monkeypatch, option, backend):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    original = families.spec("sd-epsilon")
    model = replace(original, **{option: True})
    pipeline = open_pipeline(model, CPU)

    class Replays:
        def on_step(self, view):
            assert torch.allclose(view.denoiser.replay(), view.prediction, atol=1e-5)

        def columns(self, item):
            return {}

    from pipeline.models.loading import family_of
    from pipeline.models.scorer import Scorer

    prompts = prompts_of(2)
    scorer = Scorer(study.scorer)
    batch = Batch(prompts, 0, pipeline, family_of(pipeline), scorer, 2, True, model.guidance)
    plain = generate(pipeline, model, prompts, 0, {})
    with Watch(batch, [Replays()]):
        watched = generate(pipeline, model, prompts, 0, {})
    assert torch.equal(plain, watched)
    reference = generate(open_pipeline(original, CPU), original, prompts, 0, {})
    assert torch.allclose(plain, reference, atol=1e-3)


def test_a_compiled_model_cannot_be_looked_into(study):
    from pipeline.preflight.models import check_compiled
    from pipeline.study.spec import ToolSpec

    model = replace(study.models[0], compile=True)
    with pytest.raises(ModelError, match="hides the layers that attention, df-cam look into"):
        check_compiled(model, Measures(attention=ToolSpec(), df_cam=ToolSpec()))
    check_compiled(model, Measures(df_rise=ToolSpec()))
