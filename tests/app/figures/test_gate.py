"""`stepscope gate`: exit status, documents, one line for each mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from app.figures import gate
from stepscope import __main__ as command
from tests.support.texts import HOSTILE

HEAD = 'baseline = "scenes-unet"\ncandidate = "scenes-unet-short"\n'


def criteria(folder: Path, *margins: str, head: str = HEAD) -> str:
    path = folder / "criteria.toml"
    tables = [f'[[criterion]]\nmeasure = "CLIP score"\n{margin}\n' for margin in margins]
    path.write_text(head + "".join(tables))
    return str(path)


@pytest.mark.parametrize(
    ("margins", "status", "word"),
    [
        (["margin = 2"], 0, "Passed"),
        (["margin = -2"], 1, "Failed"),
        (["margin = 2", "threshold = 2"], 1, "Failed"),
        (["threshold = -1"], 0, "Passed"),
    ],
)
def test_the_verdict_is_the_exit_status(
    margins: list[str], status: int, word: str, results: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = criteria(tmp_path, *margins)
    junit = tmp_path / "out" / "gate.xml"
    arguments = ["gate", str(results), "--criteria", file]
    assert command.main([*arguments, "--junit", str(junit)]) == status
    assert capsys.readouterr().out.startswith(f"{word}: UNet (quarter) against UNet\n")
    assert command.main([*arguments, "--json"]) == status
    record = json.loads(capsys.readouterr().out)
    assert record["exit_status"] == status and len(record["criteria"]) == len(margins)
    assert record["criteria"][0]["prompts"] == 24 and len(record["content_hash"]) >= 32
    assert command.main([*arguments, "--markdown"]) == status
    printed = capsys.readouterr().out
    assert f"**{word}**" in printed and printed.count("| CLIP score") == len(margins)
    suite = ElementTree.parse(junit).getroot()[0]
    assert int(suite.attrib["tests"]) == len(margins)
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
    assert bool(suite.findall("testcase/failure")) == (status == 1)


def test_a_frozen_decision_stands_beside_todays(
    results: Path, two_prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept of one study's data, opened with another's: the old numbers stay, the exit status is today's."""
    gate = ["--criteria", criteria(tmp_path, "margin = -2")]
    assert command.main(["gate", str(results), *gate, "--json"]) == 1
    kept = tmp_path / "kept.json"
    kept.write_text(capsys.readouterr().out)
    was = json.loads(kept.read_text())
    gap = f"{was['criteria'][0]['difference']:+.4g}"
    assert command.main(["gate", str(results), *gate, "--frozen", str(kept)]) == 1
    printed = capsys.readouterr().out
    assert "Frozen decision: Failed" in printed and "today's data are the same" in printed
    assert printed.count(gap) >= 2 and was["content_hash"] in printed
    assert command.main(["gate", str(two_prompts), *gate, "--frozen", str(kept)]) == 3
    printed = capsys.readouterr().out
    assert "today's data differ" in printed and f"then   fail  {gap}" in printed and "today  undecided" in printed  # fmt: skip
    assert command.main(["gate", str(two_prompts), *gate, "--frozen", str(kept), "--markdown"]) == 3
    assert "| criterion | then | today |" in capsys.readouterr().out
    assert command.main(["gate", str(two_prompts), *gate, "--frozen", str(kept), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["frozen"]["criteria"][0]["difference"] == was["criteria"][0]["difference"]  # fmt: skip


@pytest.mark.parametrize(
    "harm",
    [
        lambda record: [], lambda record: {**record, "format": "x"}, lambda record: {**record, "criteria": []},
        lambda record: {**record, "criteria": [{**record["criteria"][0], "low": "<b>"}]},
        lambda record: {**record, "snapshot": "1; DROP"}, lambda record: {**record, "content_hash": 5},
    ],
)  # fmt: skip
def test_a_frozen_decision_of_a_stranger_is_refused(
    harm: Callable[[Any], Any], results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = ["gate", str(results), "--criteria", criteria(tmp_path, "margin = 2")]
    command.main([*gate, "--json"])
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(harm(json.loads(capsys.readouterr().out))))
    assert command.main([*gate, "--frozen", str(kept)]) == 2
    error = capsys.readouterr().err
    assert "no decision that `gate --json` printed" in error and error.count("\n") == 1


def test_undecided_is_three_and_says_how_many_more_prompts(
    two_prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junit = tmp_path / "gate.xml"
    file = criteria(tmp_path, "margin = 0.5")
    assert gate.main([str(two_prompts), "--criteria", file, "--junit", str(junit)]) == 3
    printed = capsys.readouterr().out
    assert printed.startswith("Undecided") and "Too few prompts: 2 are shared" in printed
    assert "About 4 more prompts would decide it" in printed
    assert ElementTree.parse(junit).getroot()[0].attrib["skipped"] == "1"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (HEAD.replace("unet-short", "x"), "criteria.toml: candidate: no model 'scenes-x'"),
        (HEAD + '[filters]\nmodels = ["no"]\n', "criteria.toml: filters.models: 'no'"),
        (HEAD + '[filters]\nmodels = ["no"]\n', "no model 'no'"),
        (HEAD + "[filters]\nseeds = [99]\n", "criteria.toml: filters.seeds: '99' is not in this study"),
        (HEAD + '[filters]\nslice = ["text=zzzz"]\n', "no prompt of this study"),
        (HEAD + '[filters]\nscorer = "x"\n', "this study has one scorer"),
        (HEAD.replace("=", ":"), "not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_two_and_one_line(
    head: str, message: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main([str(results), "--criteria", criteria(tmp_path, "margin = 0", head=head)]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1
    assert message.removeprefix("criteria.toml: filters.models: 'no'") in said.err


def test_a_folder_that_is_no_study_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main([str(tmp_path), "--criteria", criteria(tmp_path, "margin = 0")]) == 2
    assert "holds no published snapshot" in capsys.readouterr().err


def test_the_measures_are_listed(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = criteria(tmp_path, "margin = 0")
    assert gate.main([str(results), "--criteria", file, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "higher  CLIP score" in lines
        and "lower   Emergence (log-SNR), all prompts: object" in lines
    )


def test_no_text_is_interpreted(hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    junit = tmp_path / "gate.xml"
    for text in HOSTILE:
        question = json.dumps(" ".join(text.split())[:400] or "x", ensure_ascii=False)
        file = criteria(tmp_path, "margin = 1", head=f"question = {question}\n{HEAD}")
        status = gate.main([str(hostile), "--criteria", file, "--markdown", "--junit", str(junit)])
        printed = capsys.readouterr().out.replace("\\<", "")
        assert status in (0, 2)
        if status == 0:
            assert "<script" not in printed and "<b>" not in printed and "\x1b" not in printed
            ElementTree.parse(junit)
