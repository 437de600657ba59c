"""Distances to a reference entry in a run: every pair once, kept when killed, counted where there is none, on pages and in the gate."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stepscope
from app.analysis import gates, reviews
from app.analysis.criteria import CriteriaError, Gate
from app.figures.source import Choice, open_study
from pipeline.cli.main import main
from pipeline.engine import distances, slurm
from pipeline.engine import run as engine
from pipeline.models.lpips import load_lpips
from pipeline.preflight.prepare import prepare
from pipeline.results.distances import Compared, DistanceFile
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.results.scores import ScoreFiles
from pipeline.results.verify import verify
from tests.support.distances import table, write_dino, write_lpips
from tests.support.imported import PROMPTS, SEEDS, entry, picture, write_imagefolder, write_study
from tests.support.pages import Open, charts_of, open_view, shown

__all__ = ["open_view"]

TEXTS = [*PROMPTS, "a heart on a plain green background", "a star on a plain red background"]
KEYS = [(text, seed) for text in TEXTS for seed in SEEDS]
MISSING, LARGE = (
    KEYS[-1],
    KEYS[0],
)  # the reference lacks one image; another of "noisy" has another size
Images = dict[tuple[str, int], Image.Image]


def noisy(images: Images) -> Images:
    """The same images with noise, one of them larger."""
    rng = np.random.default_rng(0)
    pixels = {key: np.asarray(each, np.int16) for key, each in images.items()}
    changed = {
        key: Image.fromarray(
            (each + rng.integers(-40, 40, each.shape)).clip(0, 255).astype(np.uint8)
        )
        for key, each in pixels.items()
    }
    return changed | {LARGE: changed[LARGE].resize((96, 96))}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three entries whose images exist: the reference, the same images, and noisy ones."""
    folder = tmp_path_factory.mktemp("distances")
    with (folder / "prompts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("prompt", "category"), *((text, "all") for text in TEXTS)])
    images = {key: picture(number) for number, key in enumerate(KEYS)}
    sets = {"base": {k: v for k, v in images.items() if k != MISSING}, "same": images, "noisy": noisy(images)}  # fmt: skip
    models = "".join(
        entry(write_imagefolder(folder / name, each), name) for name, each in sets.items()
    )
    tables = table("lpips", write_lpips(folder / "alex.safetensors"), "base")
    tables += table("dino", write_dino(folder / "dino"), "base", name="dino-tiny")
    return write_study(folder, models + tables, prompts=folder / "prompts.csv")


@pytest.fixture(scope="module")
def whole(study: Path) -> Path:
    """Its published results."""
    folder = study.parent / "results"
    # One image of the reference is missing, which its own entry says: exit status 1.
    assert main(["run", str(study), "--out", str(folder), "--device", "cpu"]) == 1
    return folder


def values(folder: Path, name: str) -> dict[tuple[str, str, int], float]:
    """The stored distances by model, prompt and seed."""
    files, texts = ScoreFiles(Results(folder)), {p.prompt_key: p.text for p in load_plan(Results(folder)).prompts}  # fmt: skip
    metric = next(each for each in files.metrics() if each.name == name)
    rows = files.table(metric).to_pylist()
    return {(row["model"], texts[row["prompt_key"]], row["seed"]): row["value"] for row in rows}


def test_every_pair_has_its_distance_and_the_reference_none(study: Path, whole: Path) -> None:
    stored = values(whole, "lpips")
    assert {key[0] for key in stored} == {"same", "noisy"}
    assert {key[1:] for key in stored if key[0] == "same"} == set(KEYS) - {MISSING}
    assert {key[1:] for key in stored if key[0] == "noisy"} == set(KEYS) - {MISSING, LARGE}
    assert [value for key, value in stored.items() if key[0] == "same"] == [0.0] * (len(KEYS) - 1)
    distance = load_lpips(study.parent / "alex.safetensors", "test")
    for number, key in enumerate(KEYS[2:5], start=2):
        pair = (np.asarray(Image.open(study.parent / name / f"{number:05d}.png")) for name in ("base", "noisy"))  # fmt: skip
        expected = distance(
            *(torch.from_numpy(x.copy()).permute(2, 0, 1)[None] / 255 for x in pair)
        )
        assert stored["noisy", *key] == pytest.approx(float(expected), rel=1e-4) and expected > 0
    other = values(whole, "dino-tiny")
    assert other.keys() - stored.keys() == {("noisy", *LARGE)}, "it brings images to one size"
    assert all(value == 0 for key, value in other.items() if key[0] == "same")
    assert verify(whole) == []


def test_direction_range_source_and_preparation_are_published(whole: Path) -> None:
    with stepscope.open(whole) as opened:
        rows = opened.sql("SELECT name, title, lower_is_better, low, high, source, preprocessing, level, unused FROM metric")  # fmt: skip
        counted = opened.sql("SELECT metric_id, count(*) AS n FROM score GROUP BY ALL ORDER BY ALL")["n"]  # fmt: skip
    first, second = rows.itertuples(index=False)
    assert first[:2] == ("lpips", "LPIPS to base") and second[:2] == (
        "dino-tiny",
        "dino-tiny to base",
    )
    assert first.lower_is_better and second.lower_is_better
    assert (first.low, second.low, second.high) == (0, 0, 2) and first.high != first.high
    assert first.source.startswith("LPIPS v0.1 (AlexNet) to base, weights sha256:")
    assert "ImageNet mean and std" in first.preprocessing and "middle 28 px" in second.preprocessing
    assert rows["level"].tolist() == ["image"] * 2 and rows["unused"].tolist() == [0, 0]
    assert counted.tolist() == [2 * len(KEYS) - 3, 2 * len(KEYS) - 2]


def again(study: Path, folder: Path) -> engine.Outcome:
    return engine.run(prepare(study, say=lambda _: None), folder, "cpu")


def test_what_has_no_distance_is_counted_and_named(study: Path, whole: Path) -> None:
    lines = again(study, whole).distances
    assert lines[0] == "lpips: 25 images compared with those of 'base'"
    assert lines[1].startswith("lpips: 3 images have no distance, 2 of them without a partner: ")
    assert f"noisy, {LARGE[0]!r}, seed 0: 96 x 96 px, and the reference's image has 64 x 64 px" in lines[1]  # fmt: skip
    assert f"same, {MISSING[0]!r}, seed 1: the reference has no image" in lines[1]
    assert lines[2] == "dino-tiny: 26 images compared with those of 'base'"
    assert lines[3].startswith("dino-tiny: 2 images have no distance, 2 of them without a partner")


def test_a_second_run_computes_nothing_and_changes_no_file(
    study: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.read_bytes() for file in (whole / "scores").iterdir()}
    monkeypatch.setattr(distances, "open_distance", None)
    assert not again(study, whole).problem
    assert {file: file.read_bytes() for file in (whole / "scores").iterdir()} == before


def counting(monkeypatch: pytest.MonkeyPatch, stop_at: int = 10**9) -> list[int]:
    """Notes how many pairs of work units are compared; Ctrl-C comes at one of them."""
    compare, seen = distances._compare, list[int]()

    def noted(*arguments: object) -> object:
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        seen.append(1)
        return compare(*arguments)

    monkeypatch.setattr(distances, "_compare", noted)
    return seen


def copied(whole: Path, tmp_path: Path) -> Path:
    """The shards of a finished run without its distances."""
    folder = Path(shutil.copytree(whole, tmp_path / "results"))
    shutil.rmtree(folder / "scores")
    return folder


def test_a_stopped_run_resumes_and_ends_the_same(
    study: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(whole, tmp_path)
    with monkeypatch.context() as patch:
        seen = counting(patch, stop_at=5)
        assert again(study, folder).interrupted and len(seen) == 5
    assert ScoreFiles(Results(folder)).metrics() == ()
    with DistanceFile(Results(folder)).path.open("ab") as file:
        file.write(b'{"key":["half a line')
    seen = counting(monkeypatch)
    assert not again(study, folder).interrupted
    assert len(seen) == 2 * 2 * 6 - 5, "2 distances x 2 entries x 6 work units"
    assert values(folder, "lpips") == values(whole, "lpips")
    assert values(folder, "dino-tiny") == values(whole, "dino-tiny")


def test_lines_that_are_not_ours_are_computed_again(
    study: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "results"))
    file = DistanceFile(Results(folder)).path
    first, *others = file.read_bytes().splitlines(keepends=True)
    compared = json.loads(first)
    below = dict.fromkeys(compared["values"], -1.0)
    file.write_bytes(json.dumps({**compared, "values": below}).encode() + b"\n\xff[\n" + b"".join(others))  # fmt: skip
    seen = counting(monkeypatch)
    again(study, folder)
    assert len(seen) == 1 and values(folder, "lpips") == values(whole, "lpips")


def test_another_image_is_compared_again_and_those_of_before_are_kept(
    study: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replacing an image makes its model another one: all of its work units are run again, and the others stay."""
    folder = Path(shutil.copytree(whole, tmp_path / "results"))
    images = Path(shutil.copytree(study.parent / "same", tmp_path / "same"))
    picture(99).save(images / "00003.png")
    changed = tmp_path / "study.toml"
    changed.write_text(study.read_text().replace(str(study.parent / "same"), str(images)))
    seen = counting(monkeypatch)
    outcome = again(changed, folder)
    assert outcome.work_units == 6 and len(seen) == 2 * 6
    stored = values(folder, "lpips")
    assert [key[1:] for key, value in stored.items() if key[0] == "same" and value] == [KEYS[3]]
    assert not again(study, folder).problem and len(seen) == 2 * 6, "the images of before are known"
    assert values(folder, "lpips") == values(whole, "lpips")


def test_lines_of_shards_that_are_gone_go(study: Path, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "results"))
    file = DistanceFile(Results(folder))
    first, *_ = (key._replace(shard="0" * 64) for key in file.read())
    file.append(Compared(first, {}, {"a": "\u001b[2J"}))  # nothing that a terminal obeys
    assert len(file.read()) == 2 * 2 * 6
    file.append(Compared(first, {}, {"a": "no image"}))
    assert len(file.read()) == 2 * 2 * 6 + 1
    again(study, folder)
    assert len(file.read()) == 2 * 2 * 6


def test_parts_leave_it_to_a_command_of_its_own(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    folder = tmp_path / "results"
    for part in ("1/2", "2/2"):
        main(["run", str(study), "--out", str(folder), "--device", "cpu", "--part", part])
    last = ["scores", "distance", str(folder), "--publish"]
    assert " ".join(last) in capsys.readouterr().out
    assert slurm.last_command(load_plan(Results(folder)), Results(folder)) == last
    assert not (folder / "scores").exists()
    assert main([*last, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "lpips: 25 images compared" in out and "published" in out


def test_a_score_of_that_name_by_another_program_stays(
    study: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(whole, tmp_path)
    rows = [{"model": "same", "prompt": text, "seed": seed, "value": 7} for text, seed in KEYS]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["scores", "add", str(folder), str(tmp_path / "l.jsonl"), "--metric", "lpips", "--source", "lpips 0.1.4"]) == 0  # fmt: skip
    assert main(["run", str(study), "--out", str(folder), "--device", "cpu"]) == 1
    shown_text = capsys.readouterr()
    assert "no distances: distance lpips: " in shown_text.err and "'lpips 0.1.4'" in shown_text.err
    assert "scores remove" in shown_text.err and "published" in shown_text.out
    assert set(values(folder, "lpips").values()) == {7.0}


def test_other_weights_than_the_study_was_planned_with_are_refused(
    whole: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(whole, tmp_path)
    record = (folder / "study.json").read_text()
    other = write_lpips(tmp_path / "other.safetensors", seed=1)
    (folder / "study.json").write_text(record.replace(str(study.parent / "alex.safetensors"), str(other)))  # fmt: skip
    assert main(["scores", "distance", str(folder), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "is not what the study was planned with" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "dino" / "preprocessor_config.json").unlink(), "distance dino-tiny: "),
        (lambda folder: (folder / "alex.safetensors").write_bytes(b"no"), "distance lpips: "),
        (lambda folder: (folder / "alex.safetensors").unlink(), "distance 'lpips'.weights = "),
    ],
)  # fmt: skip
def test_wrong_weights_stop_the_run_before_it_starts(
    study: Path, tmp_path: Path, harm: Callable[[Path], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    for name in ("alex.safetensors", "dino"):
        source = study.parent / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    text = study.read_text()
    for name in ("alex.safetensors", "dino"):
        text = text.replace(f'weights = "{study.parent / name}"', f'weights = "{tmp_path / name}"')
    (tmp_path / "study.toml").write_text(text)
    harm(tmp_path)
    assert main(["run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "results").exists()


def test_a_plan_counts_and_times_them(study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("pipeline.preflight.distances.SIDE", 64)
    assert main(["run", str(study), "--plan", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"lpips: 28 pairs of images with 'base', about [^,]+ at 64 x 64 px", out)
    assert "dino-tiny: 28 pairs of images with 'base', about " in out


@pytest.mark.parametrize(("title", "name"), [("LPIPS to base", "lpips"), ("dino-tiny to base", "dino-tiny")])  # fmt: skip
def test_it_is_chosen_on_a_page_as_any_score(title: str, name: str, whole: Path, open_view: Open) -> None:  # fmt: skip
    app = open_view("models", whole, metric=title)
    assert not app.exception
    text = shown(app).replace("\\", "")
    assert "weights sha256:" in text and title in str(charts_of(app))
    assert f"Without {title}: base." in text
    ranks = next(each.value for each in app.dataframe if "rank" in each.value)
    assert dict(zip(ranks["rank"], ranks["model"], strict=True))["1"] == "same"
    stored = values(whole, name)
    by_prompt = {model: {text: [v for k, v in stored.items() if k[:2] == (model, text)] for text in TEXTS} for model in ("same", "noisy")}  # fmt: skip
    means = {
        model: np.mean([np.mean(v) for v in each.values()]) for model, each in by_prompt.items()
    }
    assert ranks.set_index("model")["mean"].to_dict() == pytest.approx(means)


def test_the_gate_takes_it_with_its_direction(whole: Path) -> None:
    """The same images pass against noisy ones where lower is better; the reverse fails."""
    view = open_study(str(whole), Choice())
    for baseline, candidate, expected in (("noisy", "same", reviews.PASS), ("same", "noisy", reviews.FAIL)):  # fmt: skip
        gate = Gate(baseline, candidate, (reviews.Criterion("LPIPS to base", "", 0.0),))
        (verdict,) = gates.decide(view, gate).verdicts
        assert verdict.criterion.direction == "lower" and verdict.verdict == expected
    with pytest.raises(CriteriaError, match="'LPIPS to base' is not in this study for both models"):
        gates.decide(view, Gate("base", "same", (reviews.Criterion("LPIPS to base", "", 0.0),)))
