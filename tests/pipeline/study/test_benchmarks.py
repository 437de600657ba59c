"""Prompt sets of benchmarks, each written small in the layout of its own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import PromptError, StepscopeError
from pipeline.study.prompts import read_prompts
from pipeline.study.reading import load_study
from pipeline.study.spec import Study, study_spec

STUDY = """
name = "bench"
{seeds}
[prompts]
path = "{path}"
{keys}
[scorer]
source = "ViT-B-32"
pretrained = "openai"
[concepts]
path = "data/concepts/general.toml"
[[model]]
name = "m"
source = "owner/name"
"""


def study_of(folder: Path, path: Path, keys: str, seeds: str = "") -> Study:
    file = folder / "study.toml"
    file.write_text(STUDY.format(seeds=seeds, path=path, keys=keys))
    return load_study(file)


def read(folder: Path, path: Path, benchmark: str) -> tuple[list[tuple[str, str]], Study]:
    """Texts with their categories, and the study."""
    study = study_of(folder, path, f'benchmark = "{benchmark}"')
    return [(p.text, p.category) for p in read_prompts(study.prompts).prompts], study


def test_partiprompts(tmp_path):
    file = tmp_path / "PartiPrompts.tsv"
    file.write_text("Prompt\tCategory\tChallenge\tNote\na cat\tAnimals\tBasic\t\n")
    prompts, study = read(tmp_path, file, "partiprompts")
    assert prompts == [("a cat", "Animals")] and study.seeds == (0,)


def test_drawbench(tmp_path):
    file = tmp_path / "DrawBench.csv"
    file.write_text('Prompts,Category\n"A red cat, a dog.",Colors\n')
    prompts, study = read(tmp_path, file, "drawbench")
    assert prompts == [("A red cat, a dog.", "Colors")] and study.seeds == (0,)


def test_geneval(tmp_path):
    file = tmp_path / "evaluation_metadata.jsonl"
    lines = [
        {"tag": "single_object", "include": [{"class": "cat", "count": 1}], "prompt": "a photo of a cat"},
        {"tag": "counting", "include": [], "exclude": [], "prompt": "a photo of two cats"},
    ]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, lines)))
    prompts, study = read(tmp_path, file, "geneval")
    assert prompts == [("a photo of a cat", "single_object"), ("a photo of two cats", "counting")]
    assert study.seeds == (0, 1, 2, 3)


def test_geneval2_groups_by_atoms(tmp_path):
    file = tmp_path / "geneval2_data.jsonl"
    line = {"prompt": "two red cats", "atom_count": 3, "vqa_list": [["Are there cats?", "Yes"]], "skills": ["object"]}  # fmt: skip
    file.write_text(json.dumps(line))
    assert read(tmp_path, file, "geneval2")[0] == [("two red cats", "3 atoms")]
    file.write_text('{"prompt": "two red cats", "atom_count": "3"}')
    with pytest.raises(PromptError, match="line 1: atom_count = '3' is not a count"):
        read(tmp_path, file, "geneval2")


def test_t2i_compbench_takes_what_is_evaluated(tmp_path):
    """Of a folder the validation files, a category each; what stands after a tab is no prompt; ten seeds from 42."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name, text in {
        "color.txt": "never taken",
        "color_train.txt": "never taken",
        "color_val_seen.txt": "never taken",
        "color_val.txt": "a red cat\tred cat\na blue dog\n",
        "3d_spatial_val.txt": "a cat in front of a dog\n",
    }.items():
        (folder / name).write_text(text)
    prompts, study = read(tmp_path, folder, "t2i-compbench")
    assert prompts == [
        ("a cat in front of a dog", "3d_spatial"), ("a red cat", "color"), ("a blue dog", "color")
    ]  # fmt: skip
    assert study.seeds == tuple(range(42, 52))
    assert read(tmp_path, folder / "color_val.txt", "t2i-compbench")[0] == prompts[1:]


def test_dpg_bench_is_a_folder_of_files(tmp_path):
    folder = tmp_path / "prompts"
    folder.mkdir()
    for number, text in ((10, "ten\n"), (9, "nine, over\ntwo lines"), (256, "many")):
        (folder / f"{number}.txt").write_text(text)
    study = study_of(tmp_path, folder, 'benchmark = "dpg-bench"')
    prompts = read_prompts(study.prompts).prompts
    assert [(p.source, p.text) for p in prompts] == [
        ("9.txt", "nine, over\ntwo lines"), ("10.txt", "ten"), ("256.txt", "many")
    ]  # fmt: skip
    assert study.seeds == (0, 1, 2, 3)


def test_coco_karpathy_is_the_test_split(tmp_path):
    file = tmp_path / "dataset_coco.json"
    images = [
        {"split": split, "sentences": [{"raw": f"a cat of {split}"}]} for split in ("train", "test")
    ]
    file.write_text(json.dumps({"images": images}))
    assert read(tmp_path, file, "coco-karpathy")[0] == [("a cat of test", "")]


def test_a_folder_of_text_files_is_a_prompt_set_without_a_benchmark_too(tmp_path):
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "b.txt").write_text("a dog")
    (folder / "a.txt").write_text("a cat\n\n")
    (folder / "empty.txt").write_text(" \n")
    (folder / "notes.md").write_text("no prompt")
    study = study_of(tmp_path, folder, "", "seeds = [3]")
    assert [p.text for p in read_prompts(study.prompts).prompts] == ["a cat", "a dog"]


@pytest.mark.parametrize("harm", ["link", "loop", "pipe", "bytes", "none"])
def test_folders_of_strangers_are_refused_in_one_line(tmp_path, harm):
    folder = tmp_path / "prompts"
    folder.mkdir()
    path = folder / "a.txt"
    (tmp_path / "secret").write_text("elsewhere")
    if harm == "link":
        path.symlink_to(tmp_path / "secret")
    elif harm == "loop":
        path.symlink_to(path)
    elif harm == "pipe":
        import os

        os.mkfifo(path)
    elif harm == "bytes":
        path.write_bytes(b"\xff\xfe")
    study = study_of(tmp_path, folder, "", "seeds = [0]")
    with pytest.raises(PromptError) as error:
        read_prompts(study.prompts)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_what_a_benchmark_prescribes_can_be_changed_and_stays_in_the_record(tmp_path):
    file = tmp_path / "parti.csv"
    file.write_text("text,kind\na cat,Animals\n")
    keys = 'benchmark = "partiprompts"\ncolumns = { text = "text", category = "kind" }'
    study = study_of(tmp_path, file, keys, "seeds = [5, 6]")
    assert study.seeds == (5, 6) and study.prompts.format == "csv"
    assert [p.category for p in read_prompts(study.prompts).prompts] == ["Animals"]
    assert study_spec(study)["prompts"]["benchmark"] == "partiprompts"


@pytest.mark.parametrize(
    ("keys", "seeds", "problem"),
    [
        ('benchmark = "imagenet"', "", "benchmark = 'imagenet' is unknown"),
        ('benchmark = "geneval2"\nformat = "csv"', "", "format = 'csv' is not the benchmark's"),
        ("", "", "seeds is missing"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, keys, seeds, problem):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a cat"}')
    with pytest.raises(StepscopeError, match=problem):
        study_of(tmp_path, file, keys, seeds)
