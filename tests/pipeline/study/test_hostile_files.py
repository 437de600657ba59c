"""Prompts, studies and results folders that mean harm: understood, or refused in one line; nothing is written elsewhere."""

import contextlib
import copy
import csv
import datetime
import json
import os
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.database.export import export
from pipeline.database.publish import publish
from pipeline.database.snapshots import read_pointer
from pipeline.engine import run
from pipeline.engine.progress import count_states
from pipeline.errors import ConceptError, PromptError, StoreError, StudyError
from pipeline.results.folder import Results
from pipeline.results.record import load_plan, load_workers
from pipeline.results.verify import verify
from pipeline.study.concepts import read_concepts
from pipeline.study.plan import canonical
from pipeline.study.prompts import read_prompts
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import ConceptSource, PromptSource, study_spec
from tests.support.fake_worker import FakeWorker
from tests.support.fake_worker import _word as word_row
from tests.support.hostile import PIECES, texts, watched
from tests.support.synthetic import plan_of, small_study

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates too


def one_line(error):
    assert "\n" not in str(error) and len(str(error)) < 1500, str(error)[:2000]


class Light(FakeWorker):
    """Measures one prompt, and says the same of all but for their words."""

    measured: ClassVar[dict] = {}

    def _measured(self, work_unit, prompt):
        if not self.measured:
            self.measured |= super()._measured(work_unit, prompt)
        steps = list(range(self.total_steps))
        words = [
            word_row(i, w, prompt, steps, None) for i, w in enumerate(prompt.text.split()[:12])
        ]
        return self.measured | {"words": words}


@pytest.mark.long
def test_a_thousand_hostile_prompts_go_from_their_file_to_the_database(tmp_path):
    wanted = texts(1000)
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in wanted))
    study = small_study(models=1, seeds=1, steps=2, unit_prompts=100)
    study = replace(study, prompts=PromptSource(path, "jsonl", {}))
    folder = tmp_path / "results"
    with watched(tmp_path) as harm:
        outcome = run.run(plan_of(study), folder, "cpu", Light)
        snapshot = publish(folder).path
        export(folder, tmp_path / "out", "huggingface")
        assert verify(folder) == []
    assert harm == [] and not outcome.failed and not outcome.errors
    with duckdb.connect(snapshot, read_only=True) as con:
        assert con.execute("SELECT count(*) FROM sample WHERE status = 'done'").fetchone() == (
            1000,
        )
        stored = con.execute("SELECT text FROM prompt ORDER BY prompt_id").fetchall()
    assert [text for (text,) in stored] == wanted
    assert {path.name for path in tmp_path.iterdir()} == {"prompts.jsonl", "results", "out"}


@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "jsonl", "json", "coco", "genome"])
def test_raw_hostile_text_is_read_or_refused(tmp_path, kind):
    """As somebody would paste it: with no quotes and no escapes around it."""
    path = tmp_path / f"a.{kind}"
    around = {"jsonl": '{"text": "%s"}', "json": '["%s"]', "coco": '{"annotations": [{"caption": "%s"}]}', "genome": '[["a", "%s", "b"]]'}  # fmt: skip
    with watched(tmp_path) as harm:
        for text in texts(1000):
            raw = around[kind] % text if kind in around else f"text\n{text}\n"
            path.write_bytes(raw.encode("utf-8", "surrogatepass"))
            try:
                assert read_prompts(PromptSource(path, kind, {})).prompts
            except PromptError as error:
                one_line(error)
    assert [message for message in harm if str(path) not in message] == []


@given(st.lists(ANY_TEXT, min_size=20, max_size=30, unique=True))
def test_generated_prompts_come_through_or_are_refused(tmp_path_factory, rows):
    """40 times 20 to 30 of them, in every kind of file."""
    folder = tmp_path_factory.mktemp("generated")
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(text) + "\n" for text in rows))
    prompt_set = read_prompts(PromptSource(path, "jsonl", {}))
    assert 0 < len(prompt_set) + prompt_set.duplicates == len(rows)
    for prompt in prompt_set.prompts:
        prompt.text.encode()  # whatever came in can be stored
    for kind in ("txt", "csv", "tsv"):
        path = folder / f"a.{kind}"
        path.write_bytes("\n".join(["text", *rows]).encode("utf-8", "surrogatepass"))
        with contextlib.suppress(PromptError):
            read_prompts(PromptSource(path, kind, {}))


def test_columns_that_mean_harm(tmp_path):
    for text in PIECES:
        path = tmp_path / "a.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["text", text, "category", "object"], ["a cat", text, text, text]])  # fmt: skip
        try:
            (prompt,) = read_prompts(PromptSource(path, "csv", {})).prompts
        except PromptError as error:
            one_line(error)
        else:
            assert prompt.text == "a cat" and prompt.category == text.strip()


NESTED: object = "x"
for _ in range(300):
    NESTED = [NESTED]
DEEP: object = "x"
for _ in range(5000):
    DEEP = {"a": DEEP}
HARMFUL = [
    *(text for text in PIECES if len(text) < 500), "x" * 10_000, "/" * 5000, "a/" * 3000,
    True, -1, 0, 1, 2**63, 10**30, int("f" * 9000, 16), -int("f" * 9000, 16),
    0.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"),
    [], [[]], [{}], [None], ["x"] * 300, [1] * 300, list(range(2000)), [float("nan")], [NESTED], NESTED,
    {}, {"": ""}, {"a": {"b": {}}}, DEEP, {"stride": int("f" * 9000, 16)}, {"stride": "x"}, {"text": ["x"]},
    datetime.datetime(1979, 5, 27), datetime.date(1, 1, 1), datetime.time(1),
    "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/", "/proc", "~", ".", "..", "loop", "out", "pipe",
    "../" * 30 + "etc/passwd", "s3://bucket/x", "http://127.0.0.1/x", "hf-hub:a/b", "C:\\x", "\\\\host\\x", "a/../../b",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study's folder with links that lead out of it, to themselves, and a pipe."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "out").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    return folder


def places(value, path=()):
    """Every key of a study file or record, whatever the depth; of a list the first two."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()  # fmt: skip
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def with_value(values, path, value):
    changed = copy.deepcopy(values)
    table = changed
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    return changed


@pytest.mark.long
@pytest.mark.parametrize("name", ["demo", "park2024-coco"])
def test_thousands_of_hostile_studies_are_understood_or_refused(name, folder):
    """Every harmful value in every place of a study: a study, or a StudyError of one line."""
    base = tomllib.loads(Path(f"data/studies/{name}.toml").read_text())
    base["prompts"]["path"] = "data/prompts/scenes.csv"
    base["prompts"]["format"] = "csv"
    base["model"] = base["model"][:1]
    tried = 0
    with watched(folder) as harm:
        for path in places(base):
            for value in HARMFUL:
                tried += 1
                values = with_value(base, path, value)
                try:
                    study = parse_study(values, folder / "study.toml")
                except StudyError as error:
                    one_line(error)
                else:
                    assert parse_study(study_spec(study), study.path, check_files=False) == study
                    assert canonical(study_spec(study))
    assert tried > 1000 and harm == []


@pytest.mark.parametrize("name", ["demo", "park2024-coco"])
def test_unknown_keys_are_refused_everywhere(name, folder):
    base = tomllib.loads(Path(f"data/studies/{name}.toml").read_text())
    tables = {path[:-1] for path in places(base) if isinstance(path[-1], str)}
    for path in tables:
        for key in ("", "__class__", "nme", "a\nb", "x" * 5000, "\u202e", "seeds "):
            with pytest.raises(StudyError) as caught:
                parse_study(with_value(base, (*path, key), 1), folder / "s.toml", check_files=False)
            one_line(caught.value)


LITERALS = [
    "0x" + "f" * 20_000, "9" * 5000, "-" + "9" * 5000, "1e99999", "nan", "-inf", "'''", '"\\ud800"', '"\\u0000"', "[" * 5000,
    "{a=" * 2000, "1979-05-27T07:32:00Z", "9999-99-99", '"""x', "\x00", "\u202e", "{}", "[[]]", "]", "=", '"\\x41"', "0o7", "1_0",
]  # fmt: skip


def test_hostile_toml_is_understood_or_refused(folder):
    lines = Path("data/studies/demo.toml").read_text().splitlines()
    file = folder / "study.toml"
    tried = 0
    with watched(folder) as harm:
        for number, line in enumerate(lines):
            if "=" not in line or line.lstrip().startswith("#"):
                continue
            for literal in LITERALS:
                changed = f"{line.partition('=')[0]}= {literal}"
                file.write_text("\n".join([*lines[:number], changed, *lines[number + 1 :]]))
                tried += 1
                try:
                    load_study(file)
                except StudyError as error:
                    one_line(error)
    assert tried > 300 and harm == []


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x00" * 1000, b"\xff\xfe" + "name = 1".encode("utf-16-le"), "name = 'é'".encode("latin-1"), b"\xef\xbb\xbfname = 1",
        b"PK\x03\x04" * 50, b"a" * 17_000_000, ("a." * 30_000 + "a = 1").encode(), b"[" * 50_000, b"x = [" * 5000,
        b"".join(b"[t%d]\n" % i for i in range(20_000)), b"[[model]]\n" * 20_000, b"seeds = [" + b"1," * 200_000 + b"]",
    ],
)  # fmt: skip
def test_files_that_are_no_study(folder, data):
    file = folder / "study.toml"
    file.write_bytes(data)
    with pytest.raises(StudyError) as caught:
        load_study(file)
    one_line(caught.value)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/proc/self/mem", "/etc", "loop"])
def test_what_is_no_file_is_no_study(folder, name):
    with pytest.raises(StudyError) as caught:
        load_study(folder / name)
    one_line(caught.value)


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=12), st.booleans())
@settings(max_examples=150)
def test_a_study_with_damaged_bytes(tmp_path_factory, at, data, insert):
    good = Path("data/studies/demo.toml").read_bytes()
    at %= len(good)
    file = tmp_path_factory.mktemp("toml") / "study.toml"
    file.write_bytes(good[:at] + data + good[at + (0 if insert else len(data)) :])
    try:
        load_study(file)
    except StudyError as error:
        one_line(error)


def test_hostile_concepts_are_understood_or_refused(tmp_path):
    file = tmp_path / "bank.toml"
    for text in PIECES:
        quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
        for name, phrasing in ((quoted, '"a"'), ('"a"', quoted)):
            file.write_text(
                f'[[concept]]\nname = {name}\nfamily = "f"\nphrasings = [{phrasing}]\n',
                encoding="utf-8",
                errors="surrogatepass",
            )
            try:
                (concept,) = read_concepts(ConceptSource(file)).concepts
            except ConceptError as error:
                one_line(error)
            else:
                assert "\n" not in concept.key


# Results folders that somebody else has made.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "r"
    run.run(plan_of(small_study(models=2, prompts=4, seeds=1, steps=3)), folder, "cpu", FakeWorker)
    publish(folder)
    return folder


OTHER = [None, True, -1, 2**70, 1e400, "", "../../x", "\ud800", "\x00", [], [[]], [1], {}, {"a": 1}, {"a": {"b": []}}]  # fmt: skip
BROKEN = ["", "[]", "[" * 100_000, '{"a":' * 50_000, "\x00", '{"place": ' + "9" * 5000]


def test_a_hostile_record_of_the_study_is_refused(finished, tmp_path):
    """Every value of the record replaced by every other: read as it was meant, or a StoreError."""
    results = Results(shutil.copytree(finished, tmp_path / "r"))
    base = json.loads(results.study.read_text())
    texts = [json.dumps(with_value(base, path, value)) for path in places(base) for value in OTHER]
    assert len(texts) > 500
    for text in [*texts, *BROKEN]:
        results.study.write_text(text)
        try:
            plan = load_plan(results)
        except StoreError as error:
            one_line(error)
        else:
            assert [work_unit.unit_id for work_unit in plan]


@pytest.mark.long
@pytest.mark.parametrize("name", ["workers.json", "current.json", "shards.json"])
def test_other_hostile_records_are_refused(finished, tmp_path, name):
    """Every value by all that reads it; a few of the worst by a publisher too, who writes."""
    folder = shutil.copytree(finished, tmp_path / "r")
    file = folder / name
    base = json.loads(file.read_text()) if file.exists() else {"place": ""}
    with watched(folder) as harm:
        for path in list(places(base))[:12]:
            for text in [*(json.dumps(with_value(base, path, value)) for value in OTHER), *BROKEN]:
                file.write_text(text)
                with contextlib.suppress(StoreError):
                    load_workers(Results(folder)) if name == "workers.json" else verify(folder)
                with contextlib.suppress(StoreError):
                    read_pointer(Results(folder))
        for value in (2**70, "\ud800", {"a": 1}):
            key = {"workers.json": ("models", "scenes-unet", "parameters"), "current.json": ("number",), "shards.json": ("place",)}  # fmt: skip
            file.write_text(json.dumps(with_value(base, key[name], value)))
            with contextlib.suppress(StoreError):
                publish(folder)
    assert harm == []


def test_a_hostile_ledger_is_counted_and_made_anew(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "r")
    results = Results(folder)
    plan = load_plan(results)
    entry = json.loads(results.ledger.read_text().splitlines()[0])
    for key in entry:
        for value in OTHER:
            with results.ledger.open("a") as file:
                file.write(json.dumps(entry | {key: value}) + "\n")
            count_states(results, plan, results.read_ledger())
    verify(folder)
    results.append([replace(e, tries=0) for e in results.read_ledger().entries.values()])
    run.run(plan_of(small_study(models=2, prompts=4, seeds=1, steps=3)), folder, "cpu", FakeWorker)
    assert len(list(results.shards.glob("*.parquet"))) == 2
    assert not (folder.parent / "x.parquet").exists()


def test_a_pointer_out_of_the_folder_is_not_followed(finished, tmp_path, results):
    from app.database import snapshots

    other = json.loads((results / "current.json").read_text())["snapshot"]
    for name in (
        str(results / other),
        f"../../{results.name}/{other}",
        "/dev/zero",
        "snapshots/../../x",
    ):
        (tmp_path / "current.json").write_text(
            json.dumps({"snapshot": name, "number": 1, "sha256": ""})
        )
        with pytest.raises(snapshots.SnapshotError):
            snapshots.locate(tmp_path)


def test_foreign_files_are_never_collected(finished, tmp_path):
    """A folder from elsewhere may say that its shards are in a folder of yours."""
    from pipeline.database.gc import find_rubbish

    mine = tmp_path / "holiday.parquet"
    pq.write_table(pa.table({"a": [1]}), mine)
    (finished / "shards.json").write_text(json.dumps({"place": str(tmp_path)}))
    try:
        assert find_rubbish(finished).shards == ()
    finally:
        (finished / "shards.json").unlink()
