"""Results of benchmarks' own evaluators: each small, in the layout that the evaluator writes, to the right image or refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.main import main
from pipeline.errors import StoreError
from pipeline.results.benchmark_scores import benchmark_rows
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.results.scores import ScoreFiles
from pipeline.study.plan import Plan
from tests.support.synthetic import plan_of, small_study


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Four prompts in the order of their file, two seeds."""
    study = small_study()
    prompts = replace(study.prompts, sample=None, limit=4)
    return plan_of(replace(study, prompts=prompts, seeds=(42, 43)))


def rows(path: Path, content: Any, benchmark: str, plan: Plan) -> dict[tuple[str, int], float]:
    """What a file gives: the value of each prompt key and seed."""
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    model = plan.study.models[0].name
    cells = [cells for _, cells in benchmark_rows(path, benchmark, plan, model)]
    assert all(each["model"] == model for each in cells)
    return {(each["prompt_key"], each["seed"]): each["value"] for each in cells}


def test_geneval_by_prompt_and_number_in_any_order(plan, tmp_path):
    lines = [
        {"filename": f"out/{n:05d}/samples/{s:05d}.png", "tag": "counting", "prompt": prompt.text, "correct": n > s, "reason": ""}
        for n, prompt in enumerate(plan.prompts)
        for s in (1, 0)
    ]  # fmt: skip
    values = rows(tmp_path / "results.jsonl", "\n".join(map(json.dumps, reversed(lines))), "geneval", plan)  # fmt: skip
    assert values == {
        (prompt.prompt_key, seed): float(n > s)
        for n, prompt in enumerate(plan.prompts)
        for s, seed in enumerate(plan.study.seeds)
    }


def test_geneval_of_another_prompt_is_given_on_to_be_counted(plan, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({"filename": "0.png", "prompt": "nobody asked", "correct": True}))
    ((where, cells),) = benchmark_rows(path, "geneval", plan, plan.study.models[0].name)
    assert where == "line 1"
    assert cells["prompt_key"] is None and cells["prompt"] == "nobody asked"


def test_geneval2_has_both_means_of_its_atoms(plan, tmp_path):
    lists = [[0.25, 1.0], [0.0, 1.0], [1.0], [0.5, 0.5, 0.5]]
    (tmp_path / "score_lists.json").write_text(json.dumps(lists))
    model = plan.study.models[0].name
    read = benchmark_rows(tmp_path / "score_lists.json", "geneval2", plan, model)
    assert [(c["value"], c["am"]) for _, c in read] == [
        (0.5, 0.625), (0.0, 0.5), (1.0, 1.0), (pytest.approx(0.5), 0.5)
    ]  # fmt: skip
    assert [(c["prompt_key"], c["seed"]) for _, c in read] == [
        (p.prompt_key, 42) for p in plan.prompts
    ]


def test_compbench_by_the_order_of_its_images(plan, tmp_path):
    answers = [{"question_id": n, "answer": f"{n / 10:.4f}"} for n in reversed(range(8))]
    values = rows(tmp_path / "vqa_result.json", answers, "t2i-compbench", plan)
    keys = [(p.prompt_key, seed) for p in plan.prompts for seed in plan.study.seeds]
    assert values == {key: n / 10 for n, key in enumerate(keys)}


@pytest.mark.parametrize(
    ("benchmark", "content", "problem"),
    [
        ("geneval", "{", "line 1 is not JSON"),
        ("geneval", '{"filename": "0.png", "prompt": "a"}', "line 1 has no `correct`"),
        ("geneval", '{"filename": "7.png", "prompt": "a", "correct": true}', "is not one of 2 images"),
        ("geneval", '{"filename": "../../etc", "prompt": "a", "correct": true}', "is not one of 2 images"),
        ("geneval2", "[[1.0]]", "is not a list of at least 4 lists"),
        ("geneval2", "[[1.0], [2.0], [1.0], [1.0]]", r"entry 1 = \[2.0\] is not a list of scores from 0 to 1"),
        ("geneval2", "[[1.0], [], [1.0], [1.0]]", r"entry 1 = \[\] is not a list"),
        ("geneval2", "[[NaN], [1.0], [1.0], [1.0]]", "is not a list of scores"),
        ("t2i-compbench", "[]", "has 0 results, and the study 4 prompts x 2 seeds = 8 images"),
        ("t2i-compbench", json.dumps([{"question_id": 9, "answer": "1"}] * 8), "question_id = 9 is not that of an image"),
        ("t2i-compbench", json.dumps([{"answer": "1"}] * 8), "has no question_id and answer"),
        ("t2i-compbench", "[" * 100_000, "the file is not JSON"),
    ],
)  # fmt: skip
def test_another_file_is_refused_in_one_line(plan, tmp_path, benchmark, content, problem):
    with pytest.raises(StoreError, match=problem) as error:
        rows(tmp_path / "file", content, benchmark, plan)
    assert "\n" not in str(error.value)


def test_results_by_order_want_the_order_of_the_file(plan, tmp_path):
    study = replace(plan.study, prompts=replace(plan.study.prompts, shuffle=1))
    moved = Plan(study, plan.revisions, plan.prompts, plan.bank)
    for benchmark, content in (("geneval2", [[1.0]] * 4), ("t2i-compbench", [])):
        with pytest.raises(StoreError, match=r"prompts\.shuffle"):
            rows(tmp_path / "file", content, benchmark, moved)
    with pytest.raises(StoreError, match="no model 'none'"):
        benchmark_rows(tmp_path / "file", "geneval", plan, "none")


def test_results_of_models_are_added_one_after_the_other(two_prompts, tmp_path, capsys):
    """Of each model a file, which stands beside those of other models and replaces its own former one."""
    folder = Path(shutil.copytree(two_prompts, tmp_path / "study"))
    plan = load_plan(Results(folder))
    first, second = (model.name for model in plan.study.models)

    def add(model: str, correct: bool, *more: str, prompt: str = plan.prompts[0].text) -> int:
        line = {"filename": "0.png", "prompt": prompt, "correct": correct}
        (tmp_path / "results.jsonl").write_text(json.dumps(line))
        words = [
            "scores",
            "add",
            str(folder),
            str(tmp_path / "results.jsonl"),
            "--metric",
            "geneval",
        ]
        return main(
            [*words, "--benchmark", "geneval", "--model", model, "--source", "GenEval", *more]
        )

    def values() -> dict[str, float]:
        files = ScoreFiles(Results(folder))
        (metric,) = files.metrics()
        return {row["model"]: row["value"] for row in files.table(metric).to_pylist()}

    assert add(first, True) == 0 and values() == {first: 1.0}
    assert add(second, True) == 0 and values() == {first: 1.0, second: 1.0}
    assert add(first, False) == 0 and values() == {first: 0.0, second: 1.0}
    assert add("none", True) == 2
    assert add(first, True, "--source", "another") == 2
    assert add(first, True, prompt="nobody asked") == 2
    error = capsys.readouterr().err
    assert "no model 'none'" in error and "Give the same --source" in error
    assert "nobody asked" in error
    assert values() == {first: 0.0, second: 1.0}
