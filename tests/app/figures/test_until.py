"""The gate that runs more prompts: really run and published by the engine, around a worker made of arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.analysis import looks
from app.analysis.criteria import read
from app.database import notebook
from app.figures import gate
from app.figures.until import Runner, UntilError
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from stepscope import gate as command
from tests.support import gate_rates
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study

pytestmark = pytest.mark.long

SMALL = Path("data/studies/small.toml")


class Runs:
    """Runs a small study of ten prompts, and notes how many were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, study: Path, folder: Path, prompts: int) -> int:
        self.asked.append(prompts)
        engine.run(plan_of(small_study(2, min(prompts, 10), 1, 3)), folder, "cpu", FakeWorker)
        publish(folder)
        return 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four prompts, which are too few for any verdict."""
    results = tmp_path_factory.mktemp("until") / "demo"
    Runs()(SMALL, results, 4)
    return results


def judge(folder: Path, file: Path, runs: Runs, *options: str) -> int:
    arguments = [str(folder), "--criteria", str(file), "--until-decided", "--study", str(SMALL)]
    return gate.main([*arguments, *options], Runner(lambda _: 10, runs))


def test_it_runs_more_prompts_until_it_is_decided(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one order: the folder grows."""
    file, runs = tmp_path / "criteria.toml", Runs()
    head = 'baseline = "scenes-unet"\ncandidate = "scenes-unet-short"\n[[criterion]]\nmeasure = "CLIP score"\n'
    file.write_text(head + "margin = 2\n")
    plan = ["--budget", "4", "--looks", "2", "--json"]
    assert judge(folder, file, runs, *plan) == 0
    assert runs.asked == [6], "decided at six prompts; eight were allowed"
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert [look["verdict"] for look in record["looks"]] == ["undecided", "pass"]
    assert record["alpha"] == looks.level([4, 6], 8, "obrien-fleming") < 0.05
    assert "look 1: 4 of at most 8 prompts" in said.err
    store = notebook.store_of(folder)
    assert [each.prompts for each in looks.of_gate(store, read(file))] == [4, 6]

    assert judge(folder, file, runs, *plan) == 0, "the same data once more are no further look"
    assert json.loads(capsys.readouterr().out)["alpha"] == record["alpha"]
    assert len(looks.of_gate(store, read(file))) == 2 and runs.asked == [6]

    mean = record["criteria"][0]["difference"]
    other = tmp_path / "undecided.toml"
    other.write_text(head + f"margin = {-mean!r}\n")  # on the margin
    assert (
        judge(folder, other, runs, "--budget", "100", "--looks", "1", "--spending", "pocock") == 3
    )
    assert runs.asked == [6, 10], "no more than the study has"
    assert [each.most for each in looks.of_gate(store, read(other))] == [10, 10]
    capsys.readouterr()

    assert judge(folder, file, runs, *plan) == 2, "it was decided; today's data are others"
    printed = capsys.readouterr().err
    assert "had its look 2 at 6 prompts (pass" in printed and "has 10 now" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "4"], "needs --study"),
        (["--study", "x.toml"], "needs --budget"),
        ([], "needs --budget and --study"),
    ],
)
def test_what_it_needs_is_said(
    options: list[str], message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    file = tmp_path / "criteria.toml"
    file.write_text('baseline = "scenes-unet"\ncandidate = "scenes-unet-short"\n[[criterion]]\nmeasure = "CLIP score"\nmargin = 0\n')  # fmt: skip
    arguments = [str(folder), "--criteria", str(file), "--until-decided", *options]
    assert gate.main(arguments, Runner(lambda _: 10, Runs())) == 2
    assert message in capsys.readouterr().err
    assert gate.main(arguments) == 2
    assert "use `stepscope gate`" in capsys.readouterr().err


def test_a_run_that_fails_ends_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    file = tmp_path / "criteria.toml"
    file.write_text('question = "broken?"\nbaseline = "scenes-unet"\ncandidate = "scenes-unet-short"\n[[criterion]]\nmeasure = "CLIP score"\nthreshold = 0\n[[criterion]]\nmeasure = "CLIP score"\nmargin = -0.0000001\n')  # fmt: skip
    arguments = [str(folder), "--criteria", str(file), "--until-decided", "--budget", "9000", "--study", str(SMALL)]  # fmt: skip
    status = gate.main(arguments, Runner(lambda _: 10_000, lambda *_: 130))
    said = capsys.readouterr().err
    assert status in (0, 1) or (status == 2 and "ended with status 130; the gate resumes" in said)


def test_the_pipelines_own_run_is_what_runs_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Its options are understood; what it says goes to standard error, so that --json stays JSON."""
    assert command.total(SMALL) == 4
    missing = tmp_path / "none.toml"
    assert command.run(missing, tmp_path / "out", 2, ["--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert not said.out and "none.toml" in said.err and not list(tmp_path.iterdir())
    with pytest.raises(UntilError, match="none.toml"):
        command.total(missing)


def test_the_documents_error_rates_are_the_simulations() -> None:
    """Seeded: what the document says is what the rule gives."""
    document = gate_rates.DOCUMENT.read_text()
    assert gate_rates.written(document) == document
    for truth, wrong, allowed in (
        ("no difference, margin 0", (1, 2), 5.0),
        ("worse by the margin", (1,), 2.5),
    ):
        rows = [row.strip("| ").split(" | ") for row in document.splitlines() if row.startswith(f"| {truth} |")]  # fmt: skip
        rates = {row[1]: sum(float(row[1 + i].removesuffix(" %")) for i in wrong) for row in rows}
        assert rates["five, without spending"] > 1.7 * allowed
        for shape in ("five, obrien-fleming", "five, pocock"):
            assert rates[shape] < allowed + 1.0
