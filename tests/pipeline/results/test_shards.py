"""Shards, ledger and lock: whole or not at all, read back exactly, hashes that know content only."""

import hashlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.rows import (
    CONTENT,
    LATER,
    NOT_CONTENT,
    SCHEMA,
    failed_row,
    row_hashes,
    table_of,
    work_unit_hash,
)
from pipeline.results.shards import read_shard, write_shard, write_whole
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study


@pytest.fixture(scope="module")
def work_unit():
    return plan_of(small_study())[0]


@pytest.fixture
def rows(work_unit):
    study = small_study()
    return FakeWorker(study, work_unit.model, plan_of(study).bank).run(work_unit)


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path / "results")
    results.create()
    return results


def plain(value):
    """A value as Parquet gives it back: lists for arrays, float32 where the column has it."""
    if isinstance(value, np.ndarray | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def test_a_shard_comes_back_as_it_was_written(results, work_unit, rows):
    entry = write_shard(results.store, work_unit.unit_id, rows)
    table = read_shard(results.shard(work_unit.unit_id))
    assert (entry.status, entry.rows, entry.failed) == ("done", len(rows), 0)
    assert table.column_names[:-1] == SCHEMA.names
    for row, stored in zip(rows, table.to_pylist(), strict=True):
        for name in ("prompt_key", "image", "prompt_similarity", "frames", "explanations"):
            assert stored[name] == plain(row[name]), name
        curves = {t["concept"]: t["similarity"] for t in stored["trajectories"]}
        assert curves == {t["concept"]: plain(t["similarity"]) for t in row["trajectories"]}
    assert read_shard(results.shard(work_unit.unit_id), ["seed"]).column_names == ["seed"]


def test_failed_rows(results, work_unit):
    rows = [failed_row(work_unit, prompt, "boo", "sample") for prompt in work_unit.prompts]
    entry = write_shard(results.store, work_unit.unit_id, rows)
    assert (entry.status, entry.failed) == ("failed", len(rows))
    stored = read_shard(results.shard(work_unit.unit_id)).to_pylist()[0]
    assert stored["trajectories"] == [] and stored["image"] is None and stored["error"] == "boo"


def test_content_hash_knows_content_only(work_unit, rows):
    before = row_hashes(table_of(rows))
    for row in rows:
        row |= {"seconds": 99.0, "unit_id": "x", "prompt_position": 7, "error": "0x7f"}
    assert row_hashes(table_of(rows)) == before
    assert set(NOT_CONTENT) | set(CONTENT) == set(SCHEMA.names)


def test_content_hash_sees_every_column(rows):
    before = row_hashes(table_of(rows))[0]
    other = {
        "status": "failed", "notice": "n", "stage": "s", "width": 1, "height": 1, "clip_score": 0.5,
        "image": b"x", "prompt_key": "k", "model": "m", "seed": 9,
    }  # fmt: skip
    lists = {name: [] for name in CONTENT if name not in other}
    lists["further_scorers"] = [{"clip_score": 0.5, "prompt_similarity": [], "trajectories": []}]
    image = {"base": "b", "direction": "insert", "step": 1}
    measured = {"similarity": 0.5, "preference": 0.5, "judged": 1.0}
    lists["switches"] = [image | measured | {"differs": "d", "concept": "c"}]
    lists["redraws"] = [{"step": 1, "family": "f", "redraws": 4, "kept": 3, "judged": None}]
    share = {"concept": "c", "layer_group": "all", "steps": [1], "share": [0.5], "peak": [1.0]}
    lists["concept_attention"] = [share]
    named = {"word_index": 0, "word": "w", "role": ""}
    curves = {"steps": [1], "density": [0.5], "signed": [0.5]}
    totals = dict.fromkeys(("nats", "signed_nats", "effect", "change", "low", "high"), 0.5)
    lists["information"] = [named | curves | totals | {"height": 1, "width": 1, "map": b"xx"}]
    lists["switch_images"] = [image | {"image": b"x"}]
    seen = {before}
    for name, value in {**other, **lists}.items():
        seen.add(row_hashes(table_of([rows[0] | {name: value}]))[0])
    assert len(seen) == 1 + len(other) + len(lists)


def test_content_hash_sees_one_changed_number(rows):
    before = row_hashes(table_of(rows))
    curve = np.array(rows[1]["trajectories"][2]["similarity"])
    curve[3] = np.nextafter(curve[3], np.float32(1))
    rows[1]["trajectories"][2]["similarity"] = curve
    after = row_hashes(table_of(rows))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]


def spelled(values: list, kind: pa.DataType) -> bytes:
    """The oracle of the hash, value by value: shape, nulls, lengths, then the values without nulls."""
    nulls = [value is None for value in values]
    text = struct.pack("<qq", len(values), sum(nulls)) + (bytes(nulls) if any(nulls) else b"")
    values = [value for value in values if value is not None]
    if pa.types.is_list(kind):
        lengths = struct.pack(f"<{len(values)}i", *map(len, values))
        return (
            text + lengths + spelled([each for value in values for each in value], kind.value_type)
        )
    if pa.types.is_struct(kind):
        columns = {field.name: [value[field.name] for value in values] for field in kind}
        used = {
            n: c for n, c in columns.items() if n != "baseline" or any(x is not None for x in c)
        }
        return text + b"".join(
            spelled(column, kind.field(name).type) for name, column in used.items()
        )
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        data = [value.encode() if isinstance(value, str) else value for value in values]
        return text + struct.pack(f"<{len(data)}i", *map(len, data)) + b"".join(data)
    letter = {pa.int32(): "i", pa.int64(): "q", pa.float32(): "f", pa.float64(): "d"}[kind]
    return text + struct.pack(f"<{len(values)}{letter}", *(value + 0 for value in values))


def test_content_hash_is_that_of_each_value_in_turn(rows):
    """Shards of all versions keep their hash, so that a folder of an older one resumes."""
    rows[1] |= {
        "image": None,
        "clip_score": None,
        "status": "failed",
        "trajectories": [],
        "steps": [],
    }
    rows[2] |= {"clip_score": -0.0, "image": b""}
    rows[3]["faithfulness"] = [
        {"step": 1, "method": "m", "game": "g", "score": "s", "curve": [0.5], "auc": None, "auc_scaled": 1.0,
         "auc_random": 0.5, "auc_inverse": None, "baseline": None}
    ]  # fmt: skip
    table = table_of(rows)
    for row, content_hash in zip(table.to_pylist(), row_hashes(table), strict=True):
        digest = hashlib.sha256()
        for name in CONTENT:
            if name not in LATER or row[name]:
                digest.update(name.encode() + b"\0" + spelled([row[name]], SCHEMA.field(name).type))
        assert content_hash == digest.hexdigest()


def test_content_hash_is_blind_to_compression_and_chunks(tmp_path, rows):
    table = table_of(rows)
    pq.write_table(table, tmp_path / "a.parquet", compression="gzip", row_group_size=1)
    again = read_shard(tmp_path / "a.parquet")
    assert row_hashes(again) == row_hashes(table)
    assert row_hashes(table.slice(2, 1)) == row_hashes(table)[2:3]


@pytest.mark.parametrize(
    "change", [{"extra": 1}, {"width": "wide"}, {"trajectories": [{"similarity": "x"}]}]
)
def test_rows_that_do_not_fit_are_refused(results, work_unit, rows, change):
    with pytest.raises(StoreError, match="a row of a shard"):
        write_shard(results.store, work_unit.unit_id, [rows[0] | change])
    assert not list(results.shards.iterdir())


@pytest.mark.parametrize("harm", [b"", b"PAR1", b"nonsense" * 100])
def test_a_damaged_shard_is_a_clear_error(tmp_path, harm):
    (tmp_path / "a.parquet").write_bytes(harm)
    with pytest.raises(StoreError, match="damaged shard"):
        read_shard(tmp_path / "a.parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        read_shard(tmp_path / "none.parquet")


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    """A limit on the size of files stands for the disk."""
    code = (
        "import sys, signal; from pathlib import Path; from pipeline.results.storage import write_whole\n"
        "from pipeline.errors import StoreError\n"
        "try: write_whole(Path(sys.argv[1]) / 'a', b'x' * 100_000)\n"
        "except StoreError as error: print(error)"
    )

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        preexec_fn=small_files,
    )
    assert "cannot be written (File too large)" in done.stdout and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Results(tmp_path / "file" / "results").create()
    with pytest.raises(StoreError, match="cannot be written"):
        write_whole(tmp_path / "none" / "a", b"")


def test_the_last_entry_of_a_unit_counts(results):
    results.append([LedgerEntry("a", "failed", tries=1), LedgerEntry("b", "done")])
    results.append([LedgerEntry("a", "done", tries=2)])
    ledger = results.read_ledger()
    assert ledger.entries["a"].tries == 2 and set(ledger.entries) == {"a", "b"}
    assert ledger.damaged_lines == 0


@pytest.mark.parametrize(
    "line",
    [b"{}", b"[]", b"nonsense", b"\xff\x00", b'{"unit_id": 5, "status": "done"}', b'{"unit_id":"c"}'],
)  # fmt: skip
def test_a_damaged_line_is_counted_and_skipped(results, line):
    results.append([LedgerEntry("a", "done")])
    with results.ledger.open("ab") as file:
        file.write(line + b"\n")
    results.append([LedgerEntry("b", "done")])
    ledger = results.read_ledger()
    assert set(ledger.entries) == {"a", "b"} and ledger.damaged_lines == 1


def test_every_cut_of_the_ledger_keeps_the_lines_before(results):
    results.append([LedgerEntry(name, "done") for name in "abc"])
    data = results.ledger.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    for cut in range(len(data)):
        results.ledger.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert len(results.read_ledger().entries) in (whole, whole + 1)  # all but its line break
        results.remove_stale()
        results.append([LedgerEntry("new", "done")])
        entries = results.read_ledger().entries
        assert len(entries) == whole + 1 and "new" in entries


def test_entries_of_a_later_version_are_read(results):
    results.ledger.write_text('{"unit_id": "a", "status": "done", "colour": "red"}\n')
    assert results.read_ledger().entries["a"].status == "done"


def test_stale_temp_files_go(results):
    (results.shards / ".x.parquet.1.tmp").write_text("half")
    (results.shards / "y.parquet").write_text("kept")
    assert results.remove_stale() == 1
    assert [path.name for path in results.shards.iterdir()] == ["y.parquet"]


def test_the_lock_names_its_holder_and_goes_with_it(results):
    with results.locked():
        with pytest.raises(StoreError, match=f"in use by a run .process {os.getpid()} on"):
            results.locked().__enter__()
        with results.locked("publish.lock", "a publisher"):
            pass
    with results.locked():
        assert json.loads((results.folder / "lock").read_text())["pid"] == os.getpid()


def test_a_touched_shard_is_known_by_its_hash(results, work_unit, rows):
    entry = write_shard(results.store, work_unit.unit_id, rows)
    path = results.shard(work_unit.unit_id)
    assert results.holds(entry)
    os.utime(path, (1, 1))  # copied elsewhere, or the clock was set back
    assert results.holds(entry)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    assert not results.holds(entry)
    path.unlink()
    assert not results.holds(entry)


def test_unit_hash_depends_on_order():
    assert work_unit_hash(["a", "b"]) != work_unit_hash(["b", "a"])


def test_rows_of_one_scorer_keep_the_hash_that_they_had_before_there_could_be_several(work_unit):
    row = failed_row(work_unit, work_unit.prompts[0], "", "sample") | {
        "model": "m",
        "prompt_key": "k",
    }
    row |= {
        "status": "done",
        "clip_score": 0.25,
        "prompt_similarity": [0.1, 0.2],
        "trajectories": [{"concept": "object/cat", "similarity": [0.1, 0.3]}],
    }
    before = "2021693454ae078da782c7514198fb3f3ed337876d0d845d8a884f3f48d5d6a2"
    assert row_hashes(table_of([row])) == [before]
