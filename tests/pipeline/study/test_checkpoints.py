"""Checkpoints of a training run: which folders a pattern finds, in which order, and what they leave alone."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import StudyError
from pipeline.study import checkpoints
from pipeline.study.checkpoints import NoCheckpoint
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import study_spec
from tests.support.checkpoints import checkpoint

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
checkpoints = "out/checkpoint-*"
steps = 7
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    (tmp_path / "bank.toml").write_text('[[concept]]\nname = "cat"\nfamily = "object"\nphrasings = ["a cat"]\n')  # fmt: skip
    (tmp_path / "out").mkdir()

    def write(text: str = STUDY) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return write


def test_entries_are_ordered_by_the_number(write, tmp_path):
    for step in (1000, 90, 500):
        checkpoint(tmp_path / "out" / f"checkpoint-{step}")
    (tmp_path / "out" / "checkpoint-7").write_text("a file, not a folder")
    models = load_study(write()).models
    assert [(m.name, m.label, m.run, m.training_step, m.steps) for m in models] == [
        ("lion-90", "lion 90", "lion", 90, 7),
        ("lion-500", "lion 500", "lion", 500, 7),
        ("lion-1000", "lion 1,000", "lion", 1000, 7),
    ]
    assert [Path(m.source).name for m in models] == ["checkpoint-90", "checkpoint-500", "checkpoint-1000"]  # fmt: skip


def test_run_and_label_are_those_given(write, tmp_path):
    checkpoint(tmp_path / "out" / "checkpoint-5")
    text = STUDY.replace("steps = 7", 'steps = 7\nrun = "lion-b"\nlabel = "Lion"')
    (model,) = load_study(write(text)).models
    assert (model.name, model.label, model.run) == ("lion-5", "Lion 5", "lion-b")


def test_digits_beside_the_star_belong_to_the_number(write, tmp_path):
    for step in (500, 1000, 1500, 2000):
        checkpoint(tmp_path / "out" / f"checkpoint-{step}")
    study = load_study(write(STUDY.replace("checkpoint-*", "checkpoint-*000")))
    assert [m.training_step for m in study.models] == [1000, 2000]


def truncate(folder: Path) -> None:
    weights = folder / "unet" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


UNFINISHED = {
    "weights that end early": (truncate, "is not written to its end"),
    "no weights": (lambda f: (f / "unet" / "weights.safetensors").unlink(), "has no .safetensors"),
    "no component": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer is missing"),
    "an empty component": (lambda f: (f / "tokenizer" / "vocab.json").unlink(), "tokenizer is empty"),
    "no index": (lambda f: (f / "model_index.json").unlink(), "no model_index.json"),
    "half an index": (lambda f: (f / "model_index.json").write_text('{"unet": ['), "not written to its end"),
    "an index that is a list": (lambda f: (f / "model_index.json").write_text("[1]"), "not written to its end"),
    "a part of the weights": (
        lambda f: (f / "unet" / "weights.safetensors.index.json").write_text('{"weight_map": {"b": "b-2.safetensors"}}'),
        "unet/b-2.safetensors is missing",
    ),
    "a header as long as the disk": (
        lambda f: (f / "unet" / "weights.safetensors").write_bytes(b"\xff" * 64), "not written to its end"
    ),
    "another name": (lambda f: f.rename(f.with_name("checkpoint-20.tmp")), "other characters than digits"),
    "only an adapter": (
        lambda f: ((f / "model_index.json").unlink(), (f / "pytorch_lora_weights.safetensors").touch()), "adapter"
    ),
}  # fmt: skip


@pytest.mark.parametrize("harm", UNFINISHED)
def test_what_is_not_whole_is_named_and_left_out(harm, write, tmp_path):
    checkpoint(tmp_path / "out" / "checkpoint-10")
    do, said = UNFINISHED[harm]
    do(checkpoint(tmp_path / "out" / "checkpoint-20"))
    study = load_study(write())
    assert [m.training_step for m in study.models] == [10]
    (line,) = study.left_out
    assert said in line and "checkpoint-20" in line and "\n" not in line


def test_a_link_out_of_the_folder_is_left_out(write, tmp_path):
    checkpoint(tmp_path / "out" / "checkpoint-10")
    os.symlink(checkpoint(tmp_path / "elsewhere"), tmp_path / "out" / "checkpoint-20")
    os.symlink("checkpoint-30", tmp_path / "out" / "checkpoint-30")
    study = load_study(write())
    assert [m.training_step for m in study.models] == [10]
    first, second = study.left_out
    assert "checkpoint-20 is left out: it is a link out of the folder" in first
    assert "checkpoint-30 is left out: it is a link to nothing" in second


def test_nothing_whole_is_one_line(write, tmp_path):
    with pytest.raises(NoCheckpoint, match="matches no whole checkpoint"):
        load_study(write())
    truncate(checkpoint(tmp_path / "out" / "checkpoint-20"))
    with pytest.raises(NoCheckpoint, match="not written to its end"):
        load_study(write())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('checkpoints = "out/checkpoint-*"', 'checkpoints = "out/*/checkpoint-*"', "is no pattern"),
        ('checkpoints = "out/checkpoint-*"', 'checkpoints = "out/checkpoint"', "is no pattern"),
        ('checkpoints = "out/checkpoint-*"', 'checkpoints = "out/**"', "is no pattern"),
        ('checkpoints = "out/checkpoint-*"', 'checkpoints = "out/[ab]-*"', "is no pattern"),
        ("steps = 7", 'source = "a/b"', "matches no whole adapter"),
        ("steps = 7", "training_step = 7", "exclude each other"),
        ("steps = 7", "stesp = 7", "unknown key"),
        ('checkpoints = "out/checkpoint-*"', 'source = "a/b"\nrun = "r"', "training_step is missing"),
        ('checkpoints = "out/checkpoint-*"', 'source = "a/b"\ntraining_step = 1', "run is missing"),
        ('checkpoints = "out/checkpoint-*"', 'source = "a/b"\nrun = "r"\ntraining_step = -1', "out of range"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(old, new, said, write, tmp_path):
    checkpoint(tmp_path / "out" / "checkpoint-10")
    with pytest.raises(StudyError, match=said) as caught:
        load_study(write(STUDY.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_one_step_twice_is_refused(write, tmp_path):
    checkpoint(tmp_path / "out" / "checkpoint-10")
    checkpoint(tmp_path / "out" / "checkpoint-010")
    with pytest.raises(StudyError, match="the same training step"):
        load_study(write())
    shutil.rmtree(tmp_path / "out" / "checkpoint-010")
    again = '\n[[model]]\nname = "other"\nsource = "a/b"\nrun = "lion"\ntraining_step = 10\n'
    with pytest.raises(StudyError, match="is used 2 times"):
        load_study(write(STUDY + again))


def test_there_is_a_limit(write, tmp_path, monkeypatch):
    for step in range(4):
        checkpoint(tmp_path / "out" / f"checkpoint-{step}")
    monkeypatch.setattr(checkpoints, "MAX_CHECKPOINTS", 3)
    with pytest.raises(StudyError, match="matches 4 checkpoints. Allowed: at most 3"):
        load_study(write())
    monkeypatch.setattr(checkpoints, "MAX_ENTRIES", 3)
    with pytest.raises(StudyError, match="holds over 3 entries"):
        load_study(write())


def test_the_record_has_the_entries_and_no_pattern(write, tmp_path):
    checkpoint(tmp_path / "out" / "checkpoint-10")
    study = load_study(write())
    spec = study_spec(study)
    assert "checkpoints" not in spec["model"][0] and spec["model"][0]["training_step"] == 10
    assert parse_study(spec, study.path, check_files=False) == study


def test_run_and_step_are_no_part_of_an_id(write, tmp_path):
    """The images depend on the folder's files: a model that is told to be a checkpoint keeps its results."""
    checkpoint(tmp_path / "out" / "checkpoint-10")
    study = load_study(write())
    bare = replace(study.models[0], run=None, training_step=None, label="x")
    ids = [u.unit_id for u in plan_study(study)]
    assert ids == [u.unit_id for u in plan_study(replace(study, models=(bare,)))]
    other = replace(study.models[0], steps=8)
    assert ids != [u.unit_id for u in plan_study(replace(study, models=(other,)))]


def test_another_checkpoint_has_other_ids(write, tmp_path):
    for step in (1, 2):
        checkpoint(tmp_path / "out" / f"checkpoint-{step}", value=step)
    work_units = list(plan_study(load_study(write())))
    assert len({u.unit_id for u in work_units}) == 2
