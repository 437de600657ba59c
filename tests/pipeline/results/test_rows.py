"""Every row comes from the one schema: empty, failed, and with a column that is not known."""

import pyarrow as pa
import pytest

from pipeline.errors import StoreError
from pipeline.results.rows import SCHEMA, failed_row, sample_row, table_of
from tests.support.synthetic import plan_of, small_study


@pytest.fixture(scope="module")
def work_unit():
    return plan_of(small_study())[0]


def test_a_row_has_every_column_of_the_schema(work_unit):
    prompt = work_unit.prompts[1]
    row = sample_row(work_unit, prompt)
    assert list(row) == SCHEMA.names
    for field in SCHEMA:
        if pa.types.is_list(field.type):
            assert row[field.name] == ()
    assert (row["clip_score"], row["image"], row["error"], row["notice"]) == (None, None, "", "")
    assert row["prompt_key"] == prompt.prompt_key and row["prompt_position"] == 1
    assert (row["status"], row["stage"], row["width"]) == ("done", "sample", 0)


def test_what_rows_share_cannot_be_changed(work_unit):
    row = sample_row(work_unit, work_unit.prompts[0])
    for field in SCHEMA:
        hash(row[field.name])  # nothing that can be added to


def test_a_failed_row_says_what_and_where(work_unit):
    row = failed_row(work_unit, work_unit.prompts[0], "boo", "observe", seconds=2.0)
    assert (row["status"], row["error"], row["stage"], row["seconds"]) == (
        "failed", "boo", "observe", 2.0,
    )  # fmt: skip
    assert table_of([row]).column_names[:-1] == SCHEMA.names


CURVE = {
    "step": 1, "method": "lime", "game": "deletion", "score": "clip", "curve": [1.0, 0.0], "auc": 0.5,
    "auc_scaled": 0.5, "auc_random": 0.4, "auc_inverse": 0.3,
}  # fmt: skip


def test_a_later_field_of_records_counts_only_where_it_says_something(work_unit):
    """Rows of a time that did not know it keep their hashes; two baselines are two contents."""

    def hashed(*records):
        row = sample_row(work_unit, work_unit.prompts[0], faithfulness=list(records))
        return table_of([row])["content_sha256"].to_pylist()[0]

    zero, drawn = {**CURVE, "baseline": None}, {**CURVE, "baseline": "re-noised"}
    assert (
        hashed(CURVE)
        == hashed(zero)
        == ("6d96d7e30bb4f00ba7cd1c1abb6fa5ede25d79d50c7f481cbb8b1007a6b3def8")
    )
    assert len({hashed(zero), hashed(drawn), hashed({**CURVE, "baseline": "resampled"})}) == 3
    assert hashed(zero, drawn) != hashed(drawn, zero)


def test_an_unknown_column_is_refused(work_unit):
    with pytest.raises(StoreError, match="colour"):
        table_of([sample_row(work_unit, work_unit.prompts[0], colour="red")])
