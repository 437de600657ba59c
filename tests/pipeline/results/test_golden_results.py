"""A results folder that code of before the packages wrote, with the bundled models, is resumed, verified and published.

It holds two work units of the small study (2 prompts, 2 models), as a run leaves it that is killed before the second one
is in the ledger. `second.parquet` and `second.jsonl` are that one's shard and entry, by the same code.
"""

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from pipeline.__main__ import main
from pipeline.database.snapshots import read_pointer
from pipeline.results.diff import compare
from pipeline.results.folder import Results
from pipeline.results.ledger import parse_entry
from pipeline.results.rows import SCHEMA
from pipeline.results.shards import parse_shard, stored_hashes, write_shard
from pipeline.results.storage import FolderStore
from pipeline.results.verify import verify

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
STORED = parse_entry((GOLDEN / "results" / "ledger.jsonl").read_bytes())
SECOND = parse_entry((GOLDEN / "second.jsonl").read_bytes())
# The same model and seed on another processor: float32 rounds elsewhere.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def resumed(tmp_path_factory) -> Path:
    """The folder, after a run of the same command."""
    folder = tmp_path_factory.mktemp("golden") / "small"
    shutil.copytree(GOLDEN / "results", folder)
    study = GOLDEN / "studies" / "small.toml"
    assert main(["run", str(study), "--limit", "2", "--device", "cpu", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder with both units as that day's code wrote them."""
    folder = tmp_path_factory.mktemp("golden") / "then"
    shutil.copytree(GOLDEN / "results", folder)
    shutil.copy(GOLDEN / "second.parquet", folder / "shards" / f"{SECOND.unit_id}.parquet")
    with (folder / "ledger.jsonl").open("a") as ledger:
        ledger.write((GOLDEN / "second.jsonl").read_text())
    return folder


def test_only_the_missing_unit_is_run(resumed):
    entries = Results(resumed).read_ledger().entries
    assert set(entries) == {STORED.unit_id, SECOND.unit_id}
    assert entries[STORED.unit_id] == STORED
    before = GOLDEN / "results" / "shards" / f"{STORED.unit_id}.parquet"
    assert Results(resumed).shard(STORED.unit_id).read_bytes() == before.read_bytes()
    assert entries[SECOND.unit_id].status == "done"


def test_the_resumed_unit_is_what_that_code_made(resumed, whole):
    difference = compare(whole, resumed, TOLERANCE)
    assert difference.same, difference


def test_it_verifies(resumed, whole):
    assert verify(resumed) == []
    assert verify(whole) == []


def test_it_is_published(resumed):
    path = read_pointer(Results(resumed))[0]
    with duckdb.connect(path, read_only=True) as database:
        query = "SELECT model.name, count(*) FROM sample JOIN model USING (model_id) GROUP BY ALL"
        assert sorted(database.sql(query).fetchall()) == [("scenes-dit", 2), ("scenes-unet", 2)]


@pytest.mark.parametrize("entry", [STORED, SECOND], ids=["stored", "second"])
def test_content_hashes_are_as_stored(entry, whole, tmp_path):
    """Computed again from the columns, and by writing the same rows once more."""
    data = Results(whole).shard(entry.unit_id).read_bytes()
    stored, computed = stored_hashes(data, "golden")
    assert stored == computed
    rows = parse_shard(data, "golden", SCHEMA.names).to_pylist()
    store = FolderStore(tmp_path)
    store.create()
    written = write_shard(store, entry.unit_id, rows)
    assert written.content_sha256 == entry.content_sha256


def test_a_changed_number_would_be_seen(whole, tmp_path):
    """The oracle of the test above can fail."""
    data = Results(whole).shard(SECOND.unit_id).read_bytes()
    rows = parse_shard(data, "golden", SCHEMA.names).to_pylist()
    rows[0]["prompt_similarity"][0] += 1e-6
    store = FolderStore(tmp_path)
    store.create()
    assert write_shard(store, SECOND.unit_id, rows).content_sha256 != SECOND.content_sha256


def test_the_folder_is_small():
    """Of the repository, not of a run: shards and records, no database."""
    files = [path for path in GOLDEN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    assert not [path for path in files if path.suffix == ".duckdb"]
    assert json.loads((GOLDEN / "results" / "study.json").read_text())["code_schema_version"] == 1
