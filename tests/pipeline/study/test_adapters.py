"""The key `adapters` of a model entry: what it may say, and that adapters are part of what a model is."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.errors import StudyError
from pipeline.study.checkpoints import NoCheckpoint
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import AdapterSpec, study_spec

STUDY = """
name = "mine"
seeds = [0]
[prompts]
path = "prompts.txt"
[scorer]
source = "ViT-B-32"
[concepts]
path = "bank.toml"
[[model]]
name = "lion"
source = "owner/base"
"""
TWO = 'adapters = [{ source = "a", weight = 0.8 }, { source = "b.safetensors" }]'


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    (tmp_path / "bank.toml").write_text('[[concept]]\nname = "cat"\nfamily = "object"\nphrasings = ["a cat"]\n')  # fmt: skip
    adapter(tmp_path / "a" / "pytorch_lora_weights.safetensors")
    adapter(tmp_path / "b.safetensors", 1)

    def write(more: str):
        path = tmp_path / "study.toml"
        path.write_text(STUDY + more)
        return path

    return write


def adapter(path, value=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"x.lora_A.weight": np.full(4, value, np.float32)}, path)


def test_sources_and_weights_in_order(write):
    study = load_study(write(TWO))
    assert study.models[0].adapters == (AdapterSpec("a", 0.8), AdapterSpec("b.safetensors", 1.0))
    assert parse_study(study_spec(study), study.path, check_files=False) == study


def test_adapters_are_part_of_a_model_and_where_they_lie_is_not(write, tmp_path):
    study = load_study(write(TWO))

    def ids(*adapters: AdapterSpec) -> list[str]:
        model = replace(study.models[0], adapters=adapters or None)
        return [each.unit_id for each in plan_study(replace(study, models=(model,)))]

    a, b = study.models[0].adapters
    several = [ids(), ids(a), ids(b), ids(a, b), ids(b, a), ids(replace(a, weight=0.0), b)]
    assert len({each[0] for each in several}) == len(several)
    moved = tmp_path / "elsewhere" / "x.safetensors"
    adapter(moved)
    assert ids(a, b) == ids(replace(a, source=str(moved)), b)
    adapter(tmp_path / "a" / "pytorch_lora_weights.safetensors", 2.0)
    assert ids(a, b) != several[3]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("adapters = []", "is empty"),
        ('adapters = "a"', "is not a list"),
        ('adapters = ["a"]', "not a table"),
        ('adapters = [{ source = "c" }]', "'c' does not exist"),
        ('adapters = [{ source = "a", weight = 101 }]', "out of range"),
        ('adapters = [{ source = "a", weight = "1" }]', "is not a number"),
        ('adapters = [{ source = "a", scale = 1 }]', "unknown key"),
        ('adapters = [{ source = "a" }, { source = "a" }]', "twice"),
        ('adapters = [{ source = "prompts.txt" }]', "is no safetensors file"),
        ('adapters = [{ source = "." }]', "An adapter is one file"),
    ],
)
def test_mistakes_are_one_line(more, said, write, tmp_path):
    adapter(tmp_path / "c.safetensors")
    with pytest.raises(StudyError, match=said) as caught:
        load_study(write(more))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["folders", "files"])
def test_checkpoints_of_a_source_are_adapters_on_it(kind, write, tmp_path):
    for step in (500, 1000, 90):
        name = f"lora-{step:05d}"
        adapter(tmp_path / "out" / (f"{name}.safetensors" if kind == "files" else f"{name}/pytorch_lora_weights.safetensors"), step)  # fmt: skip
    (tmp_path / "out" / "lora-notes.txt").write_text("no adapter")
    pattern = "out/lora-*.safetensors" if kind == "files" else "out/lora-*"
    study = load_study(write(f'checkpoints = "{pattern}"\nadapters = [{{ source = "a", weight = 0.5 }}]'))  # fmt: skip
    assert [(m.name, m.training_step, m.source) for m in study.models] == [
        (f"lion-{step}", step, "owner/base") for step in (90, 500, 1000)
    ]
    assert all(m.adapters[0] == AdapterSpec("a", 0.5) and len(m.adapters) == 2 for m in study.models)  # fmt: skip
    assert len({each.unit_id for each in plan_study(study)}) == 3
    assert parse_study(study_spec(study), study.path, check_files=False) == study


def test_adapters_that_are_not_whole_are_named_and_left_out(write, tmp_path):
    more = 'checkpoints = "out/c-*"'
    with pytest.raises(NoCheckpoint, match="matches no whole adapter"):
        load_study(write(more))
    for step in (1, 2, 3):
        adapter(tmp_path / "out" / f"c-{step}" / "pytorch_lora_weights.safetensors")
    short = tmp_path / "out" / "c-2" / "pytorch_lora_weights.safetensors"
    short.write_bytes(short.read_bytes()[:-1])
    (tmp_path / "out" / "c-3" / "pytorch_lora_weights.safetensors").rename(tmp_path / "x.bin")
    (tmp_path / "out" / "c-4").symlink_to(tmp_path / "a")
    study = load_study(write(more))
    assert [m.training_step for m in study.models] == [1]
    said = ["not written to its end", "holds no safetensors file", "link out of the folder"]
    assert [part in line for part, line in zip(said, study.left_out, strict=True)] == [True] * 3
