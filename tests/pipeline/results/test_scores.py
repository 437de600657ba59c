"""Scores from elsewhere: read, matched, stored whole, verified, published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.main import main
from pipeline.database.publish import publish
from pipeline.database.snapshots import SCHEMA_VERSION
from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.results.score_input import read_scores
from pipeline.results.scores import ScoreFiles, merge_scores
from pipeline.results.verify import verify


@pytest.fixture(scope="module")
def original(study_folder) -> Path:
    return study_folder("rated", models=2, prompts=6, seeds=2, steps=4)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "study"))


def ask(folder: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(publish(folder).path), read_only=True) as db:
        return db.execute(sql).fetchall()


def samples(folder: Path) -> list[dict]:
    """Every sample by names and by id, in the order of sample_id."""
    plan = load_plan(Results(folder))
    rows = [
        {"model": m.name, "prompt_key": p.prompt_key, "prompt": p.text, "seed": s}
        for m in plan.study.models for p in plan.prompts for s in plan.study.seeds
    ]  # fmt: skip
    return [{"sample_id": n, **row} for n, row in enumerate(rows, start=1)]


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def add(folder: Path, file: Path, *options: str, metric: str = "hps") -> int:
    return main(
        [
            "scores",
            "add",
            str(folder),
            str(file),
            "--metric",
            metric,
            "--source",
            "a scorer 1.0",
            *options,
        ]
    )


KEYS = {
    "sample_id": ("sample_id",),
    "key": ("model", "prompt_key", "seed"),
    "text": ("model", "prompt", "seed"),
    "all": ("sample_id", "model", "prompt_key", "prompt", "seed"),
}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("keys", KEYS)
def test_every_way_to_name_a_sample_gives_the_same_scores(folder, tmp_path, ending, keys):
    rows = [{**{k: s[k] for k in KEYS[keys]}, "value": s["sample_id"] / 8} for s in samples(folder)]
    matched = read_scores(write(tmp_path / f"s.{ending}", rows[::-1]), load_plan(Results(folder)))
    stored = {
        (r["model"], r["prompt_key"], r["seed"]): r["value"] for r in matched.table.to_pylist()
    }
    truth = {(s["model"], s["prompt_key"], s["seed"]): s["sample_id"] / 8 for s in samples(folder)}
    assert stored == truth and len(stored) == 24
    assert (matched.level, matched.unmatched, matched.empty) == ("image", 0, 0)


def test_what_is_published_are_the_values_of_the_samples(folder, tmp_path):
    rows = [{"sample_id": s["sample_id"], "value": s["sample_id"] / 8} for s in samples(folder)]
    assert add(folder, write(tmp_path / "s.csv", rows)) == 0
    both = ask(
        folder,
        "SELECT s.sample_id, s.model_id, s.prompt_id, s.seed, r.value, r.steps FROM sample AS s "
        "JOIN score AS r USING (sample_id, model_id, prompt_id, seed) ORDER BY ALL",
    )
    assert [(row[0], row[4], row[5]) for row in both] == [(n, n / 8, None) for n in range(1, 25)]


def test_per_prompt_and_per_step(folder, tmp_path):
    every = samples(folder)
    prompts = [
        {"model": s["model"], "prompt": s["prompt"], "hps": s["sample_id"]}
        for s in every
        if s["seed"] == 0
    ]
    steps = [
        {"sample_id": s["sample_id"], "step": n, "value": s["sample_id"] + n / 4}
        for s in every
        for n in (3, 1, 0)
    ]
    assert add(folder, write(tmp_path / "p.csv", prompts)) == 0
    assert add(folder, write(tmp_path / "s.jsonl", steps), metric="pick") == 0
    assert ask(folder, "SELECT name, level, unused FROM metric") == [
        ("hps", "prompt", 0),
        ("pick", "step", 0),
    ]
    sums = (
        "SELECT count(*), count(seed), count(sample_id), sum(value) FROM score WHERE metric_id = 1"
    )
    assert ask(folder, sums) == [(12, 0, 0, sum(p["hps"] for p in prompts))]
    curve = "SELECT value, steps, step_values FROM score WHERE metric_id = 2 AND sample_id = 7"
    assert ask(folder, curve) == [(7.75, [0, 1, 3], [7, 7.25, 7.75])]


def test_what_belongs_to_no_sample_is_counted_and_named(folder, tmp_path, capsys):
    good = [
        {"model": s["model"], "prompt": s["prompt"], "seed": s["seed"], "value": 1.0}
        for s in samples(folder)
    ]
    bad = [
        {**good[0], "model": "other"},
        {**good[0], "prompt": "a prompt of another study"},
        {**good[0], "seed": 77},
        {**good[0], "value": ""},
    ]
    assert add(folder, write(tmp_path / "s.csv", [*bad, *good])) == 1
    said = capsys.readouterr()
    assert "24 values per image" in said.out
    assert "3 rows match no sample" in said.err and "1 rows have no value" in said.err
    assert (
        "line 2: model 'other'" in said.err
        and "seed 77" in said.err
        and "line 5: no value" in said.err
    )


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([{"sample_id": 1, "value": "high"}], (), "no finite number"),
        ([{"sample_id": 1, "value": "inf"}], (), "no finite number"),
        ([{"sample_id": 1, "value": 2}], ("--range", "0", "1"), "outside the range 0.0 to 1.0"),
        (
            [{"sample_id": 1, "value": 2}, {"sample_id": 1, "value": 2}],
            (),
            "the same sample as s.csv line 2",
        ),
        ([{"sample_id": 99, "value": 2}], (), "no row belongs to a sample"),
        ([{"sample_id": 1, "score": 2}], (), "no column 'value'"),
        ([{"sample_id": 1, "value": 2}], ("--value", "x"), "no column 'x'"),
        ([{"sample_id": 1, "value": 2}], ("--title", "a\x1bb"), "printable"),
        ([{"sample_id": 1, "value": 2}], ("--range", "1", "0"), "the lower first"),
        ([{"sample_id": 1, "value": 2}], ("--metric", "../x"), "name = '../x'"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    folder, tmp_path, capsys, rows, options, said
):
    assert add(folder, write(tmp_path / "s.csv", rows), *options) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert ScoreFiles(Results(folder)).metrics() == ()


def test_hostile_files_are_refused(folder, tmp_path, capsys):
    good = write(tmp_path / "s.csv", [{"sample_id": 1, "value": 2}])
    (tmp_path / "link.csv").symlink_to(good)
    (tmp_path / "pickle.pkl").write_bytes(b"\x80\x04N.")
    (tmp_path / "x.parquet").write_bytes(b"PAR1junkPAR1")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000 + "\n")
    (tmp_path / "bytes.csv").write_bytes(b"sample_id,value\n1,\xff\n")
    (tmp_path / "wide.csv").write_text("sample_id,value\n1,2,3\n")
    zeros = pa.table({"sample_id": pa.array([1] * 1000), "value": pa.array(["9" * 2**16] * 1000)})
    pq.write_table(zeros, tmp_path / "bomb.parquet")
    import os

    os.mkfifo(tmp_path / "pipe.csv")
    names = (
        "link.csv",
        "pickle.pkl",
        "x.parquet",
        "deep.jsonl",
        "bytes.csv",
        "wide.csv",
        "bomb.parquet",
        "pipe.csv",
        "no.csv",
    )
    for name in names:
        assert add(folder, tmp_path / name) == 2, name
        assert capsys.readouterr().err.count("\n") == 1, name
    assert not (folder / "scores").exists()


def test_a_rerun_replaces_by_name_and_remove_removes(folder, tmp_path, capsys):
    every = samples(folder)
    for value in (1.0, 2.0):
        rows = [{"sample_id": s["sample_id"], "value": value} for s in every]
        assert add(folder, write(tmp_path / "s.csv", rows)) == 0
    assert ask(folder, "SELECT DISTINCT value FROM score") == [(2.0,)]
    assert len(list((folder / "scores").glob("*.parquet"))) == 1
    assert add(folder, tmp_path / "s.csv", "--title", "Quality", metric="other") == 0
    assert (
        add(folder, tmp_path / "s.csv", "--title", "quality", metric="third") == 2
    )  # a title that is taken
    assert main(["scores", "list", str(folder), "--json"]) == 0
    assert '"name": "other"' in capsys.readouterr().out
    assert main(["scores", "remove", str(folder), "hps"]) == 0
    assert [m.name for m in ScoreFiles(Results(folder)).metrics()] == ["other"]
    assert main(["scores", "remove", str(folder), "hps"]) == 2
    assert ask(folder, "SELECT name, title FROM metric") == [("other", "Quality")]


def test_a_kill_between_file_and_list_loses_nothing(folder, tmp_path, monkeypatch):
    write(tmp_path / "s.csv", [{"sample_id": 1, "value": 1}])
    write(tmp_path / "t.csv", [{"sample_id": 1, "value": 2}])
    assert add(folder, tmp_path / "s.csv") == 0

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ScoreFiles, "_keep", killed)
        assert add(folder, tmp_path / "t.csv") == 130
    assert verify(folder) == [] and ask(folder, "SELECT value FROM score") == [(1.0,)]
    assert add(folder, tmp_path / "t.csv") == 0
    assert ask(folder, "SELECT value FROM score") == [(2.0,)]
    assert len(list((folder / "scores").glob("*.parquet"))) == 1  # the stray file went too


def test_what_was_changed_by_hand_is_found(folder, tmp_path):
    add(folder, write(tmp_path / "s.csv", [{"sample_id": 1, "value": 1}]))
    files = ScoreFiles(Results(folder))
    path = files.folder / files.metrics()[0].file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "its bytes are not those that were written" in verify(folder)[0]
    with pytest.raises(StoreError, match="scores add"):
        publish(folder)
    path.unlink()
    path.symlink_to(tmp_path / "s.csv")
    assert "link" in verify(folder)[0]
    for text in ("{", "[{}]", json.dumps([{"name": "../../x"}]), "[" * 9999):
        files.list.write_text(text)
        assert "damaged" in verify(folder)[0]


def test_the_findings_have_every_score_with_its_scorer(folder, tmp_path, capsys):
    rows = [{"sample_id": s["sample_id"], "value": 3 + (s["seed"] == 1)} for s in samples(folder)]
    add(folder, write(tmp_path / "s.csv", rows), "--lower-is-better", "--preprocessing", "224 px")
    assert main(["publish", str(folder)]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines() if line.startswith("hps ")]
    assert len(lines) == 2 and all(
        "lower" in line and "3.5" in line and "px" in line for line in lines
    )


def values_of(folder: Path) -> dict[str, dict[tuple, float]]:
    files = ScoreFiles(Results(folder))
    return {
        m.name: {
            (r["model"], r["prompt_key"], r["seed"]): r["value"] for r in files.table(m).to_pylist()
        }
        for m in files.metrics()
    }


def test_folders_that_are_merged_bring_their_scores(folder, original, tmp_path):
    """Those of the same metric are joined; contradictions are named, and the first folder's count."""
    other = Path(shutil.copytree(original, tmp_path / "other"))
    every = samples(folder)
    for results, rows, value in ((folder, every[:12], 1.0), (other, every[11:], 2.0)):
        file = write(
            tmp_path / "s.csv", [{"sample_id": s["sample_id"], "value": value} for s in rows]
        )
        assert add(results, file) == 0
    add(other, tmp_path / "s.csv", "--lower-is-better", metric="distance")
    add(folder, tmp_path / "s.csv", metric="distance")
    said = merge_scores(Results(folder), [Results(folder), Results(other)])
    assert len(said) == 2 and "'hps'" in said[0] and "1 values differ" in said[0]
    assert "'distance'" in said[1] and "another lower_is_better" in said[1]
    keys = [(s["model"], s["prompt_key"], s["seed"]) for s in every]
    assert values_of(folder)["hps"] == {key: 1.0 if n < 12 else 2.0 for n, key in enumerate(keys)}
    assert verify(folder) == []


def test_a_snapshot_of_schema_5_is_rebuilt(folder, capsys):
    """As version 5 left it: without the tables of scores."""
    path = sorted((folder / "snapshots").glob("*.duckdb"))[-1]
    with duckdb.connect(str(path)) as db:
        db.execute("DROP TABLE score")
        db.execute("DROP TABLE metric")
        db.execute("UPDATE study SET schema_version = 5")
    assert main(["migrate", str(folder)]) == 0
    assert f"was schema version 5, now {SCHEMA_VERSION}" in capsys.readouterr().out
    newest = sorted((folder / "snapshots").glob("*.duckdb"))[-1]
    with duckdb.connect(str(newest), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM score").fetchall() == [(0,)]


def test_the_documents_reader_of_an_export_gives_what_scores_add_takes(
    folder, tmp_path, capsys, monkeypatch
):
    """The lines that every script of docs/bring-your-own.md begins with, around a scorer: the images' mean brightness."""
    from PIL import Image

    text = Path("docs/bring-your-own.md").read_text().split("### Scripts for other programs")[1]
    lines = text.split("```python\n")[1].split("```")[0]
    assert main(["export", str(folder), "--out", str(tmp_path / "images")]) == 0
    capsys.readouterr()
    names: dict = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "bring-your-own.md", "exec"), names)
    brightness = {}
    for sample_id, prompt, path in names["images"]("images"):
        with Image.open(path) as image:
            pixels = image.convert("L").tobytes()
        brightness[sample_id, prompt] = sum(pixels) / len(pixels)
        names["put"](sample_id, brightness[sample_id, prompt])
    (tmp_path / "s.jsonl").write_text(capsys.readouterr().out)
    assert add(folder, tmp_path / "s.jsonl") == 0
    stored = values_of(folder)["hps"]
    truth = {
        (s["model"], s["prompt_key"], s["seed"]): brightness[s["sample_id"], s["prompt"]]
        for s in samples(folder)
    }
    assert stored == truth and len({*stored.values()}) > 1
