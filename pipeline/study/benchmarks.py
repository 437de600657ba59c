"""Prompt sets of benchmarks as their own files have them: texts, categories, and how many images a prompt gets.

Only the files' layout is known here; none of the prompts is bundled. Sources: the repositories that `BENCHMARKS` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import ModelError, PromptError
from pipeline.study.image_files import describe, names_below, read_below

MAX_PROMPT = 2**20  # bytes of a file that is one prompt
MAX_FILE = 2**26  # bytes of a file of one category


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark prescribes.

    Attributes:
        format: how its prompt file is read, as `prompts.format`.
        seeds: one per image of a prompt.
        folder: whether its prompts may be a folder.
        columns: role -> column, where its file has others than the format's own.
        split: of a Karpathy file.
    """

    format: str
    seeds: tuple[int, ...] = (0,)
    folder: bool = False
    columns: Mapping[str, str] | None = None
    split: str | None = None


FOUR = (0, 1, 2, 3)
BENCHMARKS: Mapping[str, Benchmark] = {
    # github.com/google-research/parti: PartiPrompts.tsv
    "partiprompts": Benchmark("tsv"),
    # github.com/Karine-Huang/T2I-CompBench: examples/dataset; GORS_finetune/inference_eval.py takes ten seeds from 42
    "t2i-compbench": Benchmark("compbench", tuple(range(42, 52)), folder=True),
    # github.com/djghosh13/geneval: prompts/evaluation_metadata.jsonl, four images each
    "geneval": Benchmark("jsonl", FOUR, columns={"text": "prompt", "category": "tag"}),
    # github.com/facebookresearch/GenEval2: geneval2_data.jsonl, one image each
    "geneval2": Benchmark("geneval2"),
    # github.com/TencentQQGYLab/ELLA: dpg_bench/prompts, a grid of four images each
    "dpg-bench": Benchmark("txt", FOUR, folder=True),
    # the table of the Imagen paper
    "drawbench": Benchmark("csv", columns={"text": "Prompts", "category": "Category"}),
    # cs.stanford.edu/people/karpathy/deepimagesent: dataset_coco.json
    "coco-karpathy": Benchmark("karpathy", split="test"),
}


def folder_prompts(folder: Path) -> Iterator[tuple[str, str]]:
    """The prompts of a folder of .txt files, one a file: its name and its text, numbers in names in their order.

    Raises:
        PromptError: the folder or a file cannot be read.
    """
    for name in _texts(folder):
        text = _read(folder, name, MAX_PROMPT)
        if text.strip():
            yield name, text.strip()


def compbench_prompts(path: Path) -> Iterator[tuple[str, str, str]]:
    """T2I-CompBench's prompts, one a line up to a tab: place, text, and category, which is the file's name.

    Of a folder the files `*_val.txt`, which the benchmark is evaluated on, or all where it has none.

    Raises:
        PromptError: the folder or a file cannot be read.
    """
    folder, names = (path, _texts(path)) if path.is_dir() else (path.parent, [path.name])
    evaluated = [name for name in names if name.endswith("_val.txt")]
    for name in evaluated or names:
        category = PurePosixPath(name).stem.removesuffix("_val")
        for number, line in enumerate(_read(folder, name, MAX_FILE).split("\n"), start=1):
            text = line.partition("\t")[0].strip()
            if text:
                yield f"{name}:{number}", text, category


def _texts(folder: Path) -> list[str]:
    try:
        names = [name for name in names_below(folder) if name.lower().endswith(".txt")]
    except (OSError, ModelError) as error:
        raise PromptError(f"{folder}: cannot be read ({describe(error)}).") from None
    if not names:
        raise PromptError(f"{folder}: no .txt file in it. Give a prompt file, or a folder of them.")
    return sorted(names, key=_natural)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """10.txt after 9.txt."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", name)
    numbers = (int(part) if part.isdecimal() else None for part in parts)
    return [
        (number is None, number or 0, "" if number is not None else part)
        for number, part in zip(numbers, parts, strict=True)
    ]


def _read(folder: Path, name: str, most: int) -> str:
    try:
        return read_below(folder, name, most).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{folder / name}: cannot be read ({describe(error)}).") from None
