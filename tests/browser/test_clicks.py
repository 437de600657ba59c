"""The four jobs by their scripts: each gives the right answer within its number of clicks and keys."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from tests.support import jobs
from tests.support.browser import MARKS, Reader, wait

pytestmark = MARKS


@pytest.fixture
def snapshot(results: Path, tmp_path: Path) -> Path:
    """A copy of the snapshot that is served, to be asked without the app."""
    pointer = json.loads((results / "current.json").read_text())["snapshot"]
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes((results / pointer).read_bytes())
    return copy


def within(counter: jobs.Counter, job: str) -> None:
    limit = jobs.LIMITS[job].most
    assert counter.acts <= limit, (
        f"{counter.clicks} clicks and {counter.keys} keys, at most {limit}"
    )


def test_a_newcomer_reads_the_answer_first(reader: Reader, snapshot: Path) -> None:
    counter, sentence = jobs.newcomer(reader)
    within(counter, "newcomer")
    means = {label: fmean(each.values()) for label, each in jobs.scores(snapshot).items()}
    best = max(means, key=lambda label: means[label])
    worst = min(means, key=lambda label: means[label])
    assert best in sentence and worst not in sentence, sentence
    assert "tie" in sentence, "the two full models of the test's study are alike"
    assert "CLIP score" in sentence and "[" in sentence and "p = " in sentence


def test_a_reviewer_sends_the_link_to_a_decision(reader: Reader) -> None:
    counter, link = jobs.reviewer(reader)
    within(counter, "reviewer")
    assert "review=" in link and "snapshot=1" in link
    reader.driver.get("about:blank")
    reader.open(link.removeprefix(reader.address))
    wait(lambda: "Worse on every prompt." in reader.text(), reader.text)
    text = reader.text()
    assert "May it replace the baseline?" in text and "Ada, rejected" in text
    assert "Fail" in text and "UNet (quarter) against UNet" in text


@pytest.mark.parametrize("tool", ["DF-RISE", "DF-CAM"])
def test_an_author_leaves_with_a_strip(tool: str, reader: Reader, tmp_path: Path) -> None:
    counter, file = jobs.author(reader, tool, tmp_path)
    within(counter, tool)
    assert file.read_bytes().startswith(b"%PDF")
    assert file.stem == {"DF-RISE": "paper-7", "DF-CAM": "paper-8"}[tool]


def test_a_lead_sees_which_prompts_got_worse(reader: Reader, snapshot: Path) -> None:
    counter, rows = jobs.lead(reader)
    within(counter, "lead")
    by_model = jobs.scores(snapshot)
    before, after = by_model["UNet"], by_model["UNet (quarter)"]
    worst = sorted(before, key=lambda text: after[text] - before[text])[: len(rows)]
    assert rows and [row[0] for row in rows] == worst
    for row in rows:
        assert float(row[3]) == pytest.approx(after[row[0]] - before[row[0]], abs=1e-6)
