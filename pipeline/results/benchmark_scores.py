"""Results of benchmarks' own evaluators as rows of scores: which image of a study each result belongs to.

The files are those that the evaluators write; `score_input.read_scores` takes the rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import StoreError
from pipeline.results.safe_files import read_capped
from pipeline.study.plan import Plan
from pipeline.study.settings import show

MAX_FILE = 2**29  # bytes
Row = tuple[str, Mapping[str, Any]]  # where it stands, and its cells by column


class _File:
    """A file of results, and the study that it is about."""

    def __init__(self, path: Path, plan: Plan, model: str) -> None:
        self.path, self.plan, self.model = path, plan, model
        self.seeds = plan.study.seeds

    def fail(self, problem: str) -> StoreError:
        """The error about the file, to be raised."""
        return StoreError(f"{self.path}: {problem}")

    def text(self) -> str:
        """The file's text. Raises StoreError where it cannot be read."""
        try:
            return read_capped(self.path, MAX_FILE).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise self.fail(f"cannot be read ({str(error)[:200]}).") from None

    def json(self, text: str, where: str) -> Any:
        """A value of JSON. Raises StoreError where it is none."""
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise self.fail(f"{where} is not JSON.") from None

    def row(self, prompt_key: str, seed: int, **values: float) -> dict[str, Any]:
        """The cells of one image."""
        return {"model": self.model, "prompt_key": prompt_key, "seed": seed, **values}

    def refuse_moved(self) -> None:
        """Raises StoreError where the study's prompts are not in the order of their file, by which results are matched."""
        prompts = self.plan.study.prompts
        if prompts.shuffle is not None or prompts.sample is not None or self.plan.duplicates:
            raise self.fail(
                "has results in the order of the benchmark's prompts, and the study has others: prompts.shuffle, prompts.sample "
                "or repeated prompts changed it."
            )

    def images(self, count: int) -> Iterator[tuple[str, int]]:
        """Prompt key and seed of every image in the order in which a benchmark's own script makes them.

        Raises:
            StoreError: there are more or fewer results than prompts and seeds, so that nothing says which is which.
        """
        self.refuse_moved()
        wanted = len(self.plan.prompts) * len(self.seeds)
        if count != wanted:
            raise self.fail(
                f"has {count:,} results, and the study {len(self.plan.prompts):,} prompts x {len(self.seeds)} seeds = {wanted:,} "
                "images. Results without names are matched by their order, so all images must be evaluated."
            )
        return ((p.prompt_key, seed) for p in self.plan.prompts for seed in self.seeds)


def benchmark_rows(path: Path, benchmark: str, plan: Plan, model: str) -> list[Row]:
    """The results of an evaluator as rows with model, prompt_key, seed and value.

    Args:
        path: the file that the evaluator wrote.
        benchmark: a name of `READERS`.
        plan: of the study whose images were evaluated.
        model: the model's name.

    Raises:
        StoreError: the file cannot be read, is another one, or its results cannot be told apart; no such model.
    """
    names = [spec.name for spec in plan.study.models]
    if model not in names:
        raise StoreError(
            f"no model {show(model)} in this study. Allowed: {', '.join(names)[:500]}."
        )
    return list(READERS[benchmark](_File(path, plan, model)))


def _geneval(results: _File) -> Iterator[Row]:
    """GenEval's results.jsonl: a line per image with `filename`, `prompt` and `correct`.

    The n-th image of a folder `samples` belongs to the n-th seed. Source: evaluation/evaluate_images.py.
    """
    keys = {prompt.text: prompt.prompt_key for prompt in results.plan.prompts}
    for number, line in enumerate(results.text().split("\n"), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        record = results.json(line, where)
        if not isinstance(record, dict) or not isinstance(record.get("correct"), bool):
            raise results.fail(f"{where} has no `correct`. Give the results.jsonl of GenEval.")
        name = PurePosixPath(str(record.get("filename", ""))).stem
        index = int(name) if name.isascii() and name.isdecimal() and len(name) < 9 else -1
        if not 0 <= index < len(results.seeds):
            raise results.fail(
                f"{where}: filename = {show(record.get('filename'))} is not one of {len(results.seeds)} images of a prompt."
            )
        text = str(record.get("prompt", ""))
        # A prompt of no study is given on, so that it is counted and named there.
        cells = results.row(
            keys.get(text, ""), results.seeds[index], value=float(record["correct"])
        )
        yield where, cells if text in keys else {**cells, "prompt_key": None, "prompt": text}


def _geneval2(results: _File) -> Iterator[Row]:
    """GenEval 2's score_lists.json: a list of scores of atoms per prompt, one image each.

    `value` is the geometric mean (Soft-TIFA GM, of the prompt), `am` the arithmetic mean (Soft-TIFA AM, of its atoms).
    Source: the README of facebookresearch/GenEval2, "Evaluation".
    """
    results.refuse_moved()
    lists = results.json(results.text(), "the file")
    if not isinstance(lists, list) or len(lists) < len(results.plan.prompts):
        raise results.fail(
            f"is not a list of at least {len(results.plan.prompts):,} lists, one for each prompt. Give the score_lists.json of GenEval 2."
        )
    for number, (prompt, scores) in enumerate(zip(results.plan.prompts, lists, strict=False)):
        where = f"entry {number}"
        atoms = _numbers(results, scores, where)
        mean = sum(atoms) / len(atoms)
        geometric = math.prod(atoms) ** (1 / len(atoms))
        yield where, results.row(prompt.prompt_key, results.seeds[0], value=geometric, am=mean)


def _numbers(results: _File, scores: Any, where: str) -> Sequence[float]:
    good = (
        isinstance(scores, list)
        and scores
        and all(
            isinstance(s, int | float) and not isinstance(s, bool) and 0 <= s <= 1 for s in scores
        )
    )
    if not good:
        raise results.fail(f"{where} = {show(scores)} is not a list of scores from 0 to 1.")
    return [float(score) for score in scores]


def _compbench(results: _File) -> Iterator[Row]:
    """T2I-CompBench's vqa_result.json: `question_id`, which counts the images in their order, and `answer`.

    Source: BLIPvqa_eval/BLIP_vqa.py.
    """
    answers = results.json(results.text(), "the file")
    if not isinstance(answers, list):
        raise results.fail("is not a list. Give the vqa_result.json of T2I-CompBench.")
    images = list(results.images(len(answers)))
    for number, record in enumerate(answers):
        where = f"entry {number}"
        try:
            index, value = int(record["question_id"]), float(record["answer"])
        except (LookupError, TypeError, ValueError, OverflowError):
            raise results.fail(f"{where} = {show(record)} has no question_id and answer.") from None
        if not 0 <= index < len(images):
            raise results.fail(f"{where}: question_id = {index} is not that of an image.")
        yield where, results.row(*images[index], value=value)


READERS: Mapping[str, Callable[[_File], Iterator[Row]]] = {
    "geneval": _geneval,
    "geneval2": _geneval2,
    "t2i-compbench": _compbench,
}
