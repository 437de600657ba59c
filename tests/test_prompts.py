"""Prompt readers: every format, column mapping, duplicates, samples; hostile texts are kept as they are."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PromptError
from pipeline.prompts import read_prompts
from pipeline.study import PromptSource


def source(path, kind, **options):
    return PromptSource(path=Path(path), format=kind, columns=options.pop("columns", {}), **options)


def texts(path, kind, **options):
    return [p.text for p in read_prompts(source(path, kind, **options)).prompts]


def test_csv_with_roles(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("text,category,subject,attribute\na small red cat,one,cat,small;red\n")
    prompt = read_prompts(source(file, "csv")).prompts[0]
    assert prompt.category == "one"
    assert prompt.roles == {"subject": ("cat",), "attribute": ("small", "red")}
    assert prompt.source.startswith(str(file)) or "p.csv" in prompt.source


def test_partiprompts_columns_as_they_are(tmp_path):
    file = tmp_path / "parti.tsv"
    file.write_text("Prompt\tCategory\tChallenge\tNote\na cat\tAnimals\tBasic\t\n")
    prompt = read_prompts(source(file, "tsv")).prompts[0]
    assert (prompt.text, prompt.category) == ("a cat", "Animals")


def test_mapped_columns(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("id,caption\n1,a dog\n")
    assert texts(file, "csv", columns={"text": "caption"}) == ["a dog"]
    with pytest.raises(PromptError, match="id, caption"):
        texts(file, "csv")


def test_jsonl_parquet_and_text(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "p.parquet")
    (tmp_path / "p.txt").write_text("a\nb\n")
    for kind, name in (("jsonl", "p.jsonl"), ("parquet", "p.parquet"), ("txt", "p.txt")):
        assert texts(tmp_path / name, kind) == ["a", "b"]


def test_coco_karpathy_and_genome(tmp_path):
    coco, karpathy, genome = (tmp_path / f"{n}.json" for n in ("coco", "karpathy", "genome"))
    coco.write_text(json.dumps({"images": [], "annotations": [{"id": 1, "image_id": 2, "caption": "a cat"}]}))
    sentences = [{"raw": "one", "sentid": 1}, {"raw": "two", "sentid": 2}]
    karpathy.write_text(
        json.dumps({"images": [{"split": "test", "sentences": sentences}, {"split": "train", "sentences": sentences[:1]}]})
    )
    triple = {"predicate": "on", "subject": {"name": "cat"}, "object": {"name": "mat"}}
    genome.write_text(json.dumps([{"image_id": 1, "relationships": [triple]}]))
    assert texts(coco, "coco") == ["a cat"]
    assert "one" in texts(karpathy, "karpathy", split="test")
    prompt = read_prompts(source(genome, "genome")).prompts[0]
    assert prompt.text == "cat on mat"
    assert prompt.roles == {"subject": ("cat",), "relation": ("on",), "object": ("mat",)}


def test_duplicates(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("a\nb\na\n")
    found = read_prompts(source(file, "txt"))
    assert (len(found), found.duplicates) == (2, 1)
    with pytest.raises(PromptError, match="same prompt"):
        read_prompts(source(file, "txt", duplicates="error"))


def test_sample_and_limit(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("\n".join(f"prompt {i}" for i in range(100)))
    base = source(file, "txt")
    assert texts(file, "txt", limit=3) == ["prompt 0", "prompt 1", "prompt 2"]
    ten = {p.text for p in read_prompts(replace(base, sample=10)).prompts}
    twenty = {p.text for p in read_prompts(replace(base, sample=20)).prompts}
    assert len(ten) == 10 and ten < twenty
    assert ten != {p.text for p in read_prompts(replace(base, sample=10, sample_seed=1)).prompts}


def test_empty_file(tmp_path):
    (tmp_path / "p.csv").write_text("text\n")
    with pytest.raises(PromptError, match="no prompts"):
        texts(tmp_path / "p.csv", "csv")


def test_not_utf8(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"good\nbad \xff\n")
    with pytest.raises(PromptError, match="UTF-8"):
        texts(tmp_path / "p.txt", "txt")


def test_broken_json_names_the_line(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(PromptError, match="line 2"):
        texts(tmp_path / "p.jsonl", "jsonl")


HOSTILE = st.one_of(
    st.text(max_size=50),
    st.sampled_from(["", "a\0b", "🐶", "كلب", "<script>alert(1)</script>", "'; DROP TABLE x; --", "a\nb\r\nc", "x" * 10_000]),
)


@given(st.lists(HOSTILE, min_size=1, max_size=8, unique=True))
def test_hostile_texts_come_back_as_they_are(tmp_path_factory, values):
    file = tmp_path_factory.mktemp("hostile") / "p.jsonl"
    file.write_text("".join(json.dumps({"text": value}) + "\n" for value in values))
    assert texts(file, "jsonl") == values
