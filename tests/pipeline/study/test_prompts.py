"""Prompt files of every kind: texts come through exactly, bad files get one clear error with its place."""

import csv
import gzip
import json
import random
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PromptError
from pipeline.study.prompts import key_of, read_prompts
from pipeline.study.spec import PromptSource

HOSTILE = (
    "",
    " ",
    "x" * 10_000,
    "NUL \x00 inside",
    "🦊 👩‍👩‍👧‍👦 emoji",
    "\u202eright to left\u202c שלום",
    "<script>alert(1)</script>",
    "'; DROP TABLE sample; --",
    'quoted "text", with, commas',
    "line one\nline two\r\nthree",
    "\u2028separators\u2029\x85\x0b\x0c",
    "=HYPERLINK(1)",
    "../../etc/passwd",
    "nan",
    "\ufeffmark",
)


@pytest.fixture
def read(tmp_path):
    def read(name, content, **options):
        path = tmp_path / name
        if isinstance(content, list | dict):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        format_ = options.pop("format", path.suffix[1:])
        return read_prompts(PromptSource(path, format_, options.pop("columns", {}), **options))

    return read


def texts(prompts):
    return [prompt.text for prompt in prompts.prompts]


def write_table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["text"])
        writer.writerows([row] for row in rows)


def test_csv_with_all_columns(read):
    prompts = read(
        "a.csv",
        "id,text,category,subject,relation,object,attribute\n"
        '1,"a red, striped cat left of a dog",two,cat,left of,dog,red; striped\n'
        "\n"
        '2,"a\nhouse",one,house,,,\n',
    )
    first, second = prompts.prompts
    assert first.text == "a red, striped cat left of a dog" and first.category == "two"
    assert first.roles == {
        "subject": ("cat",),
        "relation": ("left of",),
        "object": ("dog",),
        "attribute": ("red", "striped"),
    }
    assert (first.source, second.source) == ("a.csv:2", "a.csv:4")
    assert second.text == "a\nhouse" and second.roles == {"subject": ("house",)}
    assert [p.position for p in prompts.prompts] == [0, 1]
    assert first.prompt_key == key_of(first.text)


def test_columns_by_name(read):
    prompts = read(
        "a.csv", "id,what,kind\n1,a cat,x\n", columns={"text": "what", "category": "kind"}
    )
    assert (prompts.prompts[0].text, prompts.prompts[0].category) == ("a cat", "x")


def test_partiprompts_as_they_are(read):
    prompts = read(
        "PartiPrompts.tsv",
        "Prompt\tCategory\tChallenge\tNote\n"
        'a "quoted" sign\tArtifacts\tWriting & Symbols\t\n'
        'an unclosed " quote\tAbstract\tBasic\tNote\n',
    )
    assert texts(prompts) == ['a "quoted" sign', 'an unclosed " quote']
    assert [p.category for p in prompts.prompts] == ["Artifacts", "Abstract"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "a cat\r\n\n  a dog \n", ["a cat", "  a dog "]),
        ("a.txt", "\ufeffa cat", ["a cat"]),
        ("a.txt", "one\u2028two\x0bthree\n", ["one\u2028two\x0bthree"]),
        ("a.jsonl", '{"text": "a cat"}\n\n"a dog"\n', ["a cat", "a dog"]),
        ("a.json", ["a cat", "a dog"], ["a cat", "a dog"]),
        ("a.json", [{"text": "a cat", "attribute": ["cat"]}], ["a cat"]),
        ("a.json", {"annotations": [{"image_id": 1, "caption": "a cat"}]}, ["a cat"]),
        (
            "a.json",
            {"images": [{"sentences": [{"raw": "a cat"}, {"raw": "a dog"}]}]},
            ["a cat", "a dog"],
        ),
        ("a.json", [["cat", "ON", "mat"]], ["cat ON mat"]),
        (
            "a.json",
            [{"subject": "cat", "predicate": "on", "object": "mat"}],
            ["cat on mat"],
        ),
    ],
)
def test_simple_files(read, name, content, expected):
    assert texts(read(name, content)) == expected


def test_karpathy_splits(read):
    images = [
        {"split": "train", "sentences": [{"raw": "a bird"}]},
        {"split": "test", "sentences": [{"raw": "a cat"}, {"raw": "a dog"}]},
    ]
    prompts = read("a.json", {"images": images}, format="karpathy", split="test")
    assert texts(prompts) == ["a cat", "a dog"]
    assert prompts.prompts[1].source == "a.json images[1].sentences[1]"
    with pytest.raises(PromptError, match=r"no split 'tests' \(found: test, train\)"):
        read("a.json", {"images": images}, format="karpathy", split="tests")


def test_visual_genome_triples_have_roles(read):
    images = [
        {
            "image_id": 1,
            "relationships": [
                {"predicate": "ON", "subject": {"name": "shade"}, "object": {"names": ["street"]}},
                {"predicate": "has", "subject": {"names": ["car"]}, "object": {"name": "headlight"}},
            ],
        }
    ]  # fmt: skip
    prompts = read("relationships.json", images, format="genome")
    assert texts(prompts) == ["shade ON street", "car has headlight"]
    assert prompts.prompts[0].roles == {
        "subject": ("shade",),
        "relation": ("ON",),
        "object": ("street",),
    }
    assert prompts.prompts[1].source == "relationships.json entry 0.relationships[1]"


def test_the_first_images_of_visual_genome_are_whole(read):
    images = [
        {"relationships": [{"predicate": "on", "subject": {"name": f"cat {i}{j}"}, "object": {"name": "mat"}} for j in "ab"]}
        for i in range(5)
    ]  # fmt: skip
    prompts = read("relationships.json", images, format="genome", images=2)
    assert texts(prompts) == ["cat 0a on mat", "cat 0b on mat", "cat 1a on mat", "cat 1b on mat"]


def test_a_shuffle_is_pythons_over_all_entries_and_comes_before_repeats_and_limit(read):
    lines = [f"prompt {i % 7}" for i in range(20)]
    prompts = read("a.txt", "\n".join(lines), shuffle=1, limit=5)
    random.Random(1).shuffle(lines)
    assert texts(prompts) == list(dict.fromkeys(lines))[:5]
    assert [prompt.position for prompt in prompts.prompts] == [0, 1, 2, 3, 4]
    assert texts(read("a.txt", "\n".join(lines), shuffle=2, limit=5)) != texts(prompts)


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    table = {"text": ["a red cat", *HOSTILE], "attribute": [["red"], *[[]] * len(HOSTILE)]}
    pq.write_table(pa.table(table), path)
    prompts = read_prompts(PromptSource(path, "parquet", {}))
    assert texts(prompts) == ["a red cat", *HOSTILE]
    assert prompts.prompts[0].roles == {"attribute": ("red",)}
    assert prompts.prompts[1].source == "a.parquet:2"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_hostile_texts_come_through_exactly(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        write_table(path, HOSTILE)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in HOSTILE))
    else:
        path.write_text(json.dumps(list(HOSTILE)))
    assert texts(read_prompts(PromptSource(path, kind, {}))) == list(HOSTILE)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8, unique=True))
def test_any_texts_come_through_exactly(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_table(path, rows)
    assert texts(read_prompts(PromptSource(path, "csv", {}))) == rows
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert texts(read_prompts(PromptSource(path, "jsonl", {}))) == rows


@given(st.binary(max_size=60), st.sampled_from(["csv", "tsv", "jsonl", "json", "txt", "parquet"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, kind):
    path = tmp_path_factory.mktemp("bytes") / f"a.{kind}"
    path.write_bytes(data)
    try:
        assert read_prompts(PromptSource(path, kind, {})).prompts
    except PromptError as error:
        assert "\n" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["images", "annotations", "sentences", "raw", "caption", "relationships", "subject", "object", "predicate", "name", "names", "split", "text"])
        | st.text(max_size=4),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from(["json", "coco", "karpathy", "genome"]))
def test_any_json_is_read_or_refused(tmp_path_factory, value, kind):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value))
    try:
        assert read_prompts(PromptSource(path, kind, {})).prompts
    except PromptError as error:
        assert "a.json" in str(error)


def test_a_lone_surrogate_becomes_a_replacement_character(read):
    assert texts(read("a.jsonl", b'{"text": "a \\ud800 cat"}')) == ["a \ufffd cat"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "prompt,id\nx,1\n", r"a.csv line 1: no column 'text' \(found: prompt, id\). Name it with prompts.columns.text = \"prompt\"."),
        ("a.csv", "text,text\nx,1\n", "a.csv line 1: column 'text' is there twice"),
        ("a.csv", "text,id\nx,1\ny\n", "a.csv line 3: 1 columns, where line 1 names 2"),
        ("a.csv", "text\na, cat\n", "line 2: 2 columns.*in double quotes"),
        ("a.csv", 'text\n"a cat', "line 2: not a CSV row"),
        ("a.csv", "text\n", "no prompts in it"),
        ("a.csv", "", "no prompts in it"),
        ("a.txt", "\n \n", "no prompts in it"),
        ("a.csv", b"text\na cat\ncaf\xe9\n", "a.csv line 3: byte 0xe9 is not UTF-8"),
        ("a.csv", "text\na cat".encode("utf-16"), "is UTF-16. Save it as UTF-8"),
        ("a.csv", "text,attribute\na cat,blue\n", "a.csv:2: the attribute 'blue' is not in the prompt 'a cat'"),
        ("a.jsonl", '{"text": "a"}\n{"text": 5}\n', "a.jsonl line 2: text = 5 is not text"),
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n', "line 2: text = None is not text"),
        ("a.jsonl", "[1]\n", "line 1: .* is not an object"),
        ("a.jsonl", '{"text": \n', "a.jsonl line 1: not JSON"),
        ("a.json", {"a": 1}, "unknown shape"),
        ("a.json", "[" * 100_000, "not JSON that can be read"),
        ("a.json", {"annotations": [{"caption": "a"}, {"id": 1}]}, r"annotations\[1\]: no 'caption' \(found: id\)"),
        ("a.json", {"annotations": {}}, "a.json annotations: {} is not a list"),
        ("a.json", {"images": [{"sentences": [{"raw": 1}]}]}, r"images\[0\].sentences\[0\]: raw = 1 is not text"),
        ("a.json", [["a", "b"]], r"entry 0: \['a', 'b'\] is not \[subject"),
        ("a.json", [{"relationships": [{"subject": "a", "predicate": "on"}]}], r"relationships\[0\]: no 'object'"),
        ("a.parquet", "no", "cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_a_bad_file_gets_one_clear_error(read, name, content, says):
    with pytest.raises(PromptError, match=says) as caught:
        read(name, content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_a_column_that_the_study_names_must_exist(read):
    with pytest.raises(PromptError, match=r"no column 'kind'.*prompts.columns.category"):
        read("a.csv", "text\na\n", columns={"category": "kind"})


def test_repeats_are_dropped_and_counted_or_refused(read):
    assert read("a.txt", "a\nb\na\na\n").duplicates == 2
    assert texts(read("a.txt", "a\nb\na\n")) == ["a", "b"]
    with pytest.raises(PromptError, match="a.txt:3: the same prompt as a.txt:1"):
        read("a.txt", "a\nb\na\n", duplicates="error")


def test_limit_counts_prompts_not_lines(read):
    assert texts(read("a.txt", "a\na\nb\nc\n", limit=2)) == ["a", "b"]


def test_a_sample_is_fixed_by_its_seed_and_blind_to_order(read):
    rows = [f"prompt {i}" for i in range(50)]
    first = texts(read("a.txt", "\n".join(rows), sample=10))
    assert len(first) == 10 and first == sorted(first, key=rows.index)
    assert set(texts(read("b.txt", "\n".join(reversed(rows)), sample=10))) == set(first)
    assert set(first) < set(texts(read("a.txt", "\n".join(rows), sample=20)))
    assert set(texts(read("a.txt", "\n".join(rows), sample=10, sample_seed=1))) != set(first)
    assert texts(read("a.txt", "\n".join(rows), sample=10, limit=3)) == first[:3]
    positions = [p.position for p in read("a.txt", "\n".join(rows), sample=10).prompts]
    assert positions == list(range(10))


def test_the_shipped_prompts():
    prompts = read_prompts(PromptSource(Path("data/prompts/scenes.csv"), "csv", {}))
    assert len(prompts) >= 48 and not prompts.duplicates
    assert all(p.category and p.roles["subject"] for p in prompts.prompts)


@pytest.mark.parametrize(
    ("name", "header", "words"),
    [
        ("a.csv", "text;category", "separated by ';', not by ','. Save it with commas"),
        ("a.csv", '"Prompt";"Category"', "separated by ';', not by ','. Save it with commas"),
        ("a.csv", "id\tcaption", "separated by a tab, not by ','. Set prompts.format = \"tsv\""),
        ("a.tsv", "id,text", "separated by ',', not by a tab. Set prompts.format = \"csv\""),
        ("a.csv", "text|category", "separated by '|', not by ','. Save it with commas"),
    ],
)
def test_another_separator_is_named(read, name, header, words):
    with pytest.raises(PromptError, match=re.escape(words)):
        read(name, f"{header}\na cat, a dog;x\n")


def test_separators_within_a_table_are_no_matter(read):
    assert len(read("a.csv", "text,a;b\na cat,x\n")) == 1
    assert len(read("b.csv", "text\na cat; a dog\n")) == 1
    assert len(read("c.tsv", "text\ta,b\na cat\tx\n")) == 1


@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "jsonl", "json", "coco", "parquet"])
def test_compressed_files_are_named_with_what_unpacks_them(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(gzip.compress(b"text\na cat\n"))
    with pytest.raises(PromptError, match=f"a.{kind}: is gzip-compressed. Unpack it .`gunzip -k"):
        read_prompts(PromptSource(path, kind, {}))
