"""The small copy of a study: every number as it was, fewer pictures, and what it says of itself."""

import io
import json
import re
import shutil

import duckdb
import numpy as np
import pytest
from PIL import Image

from app.analysis import shipped
from pipeline.__main__ import main
from pipeline.database.compact import Cuts, compact
from pipeline.errors import StoreError

KEPT = 3  # prompts


@pytest.fixture(scope="module")
def held(results, tmp_path_factory):
    """A copy: the app's tests may hold the shared snapshot open, with settings of their own."""
    return shutil.copytree(results, tmp_path_factory.mktemp("whole") / "demo")


@pytest.fixture(scope="module")
def copied(held, tmp_path_factory):
    out = tmp_path_factory.mktemp("copy") / "reference"
    return out, compact(held, out, Cuts(KEPT), "make reference")


def snapshot_of(folder):
    return folder / json.loads((folder / "current.json").read_text())["snapshot"]


def rows(path, sql):
    with duckdb.connect(str(path), read_only=True) as db:
        return db.execute(sql).fetchall()


def test_every_table_is_copied_but_two_and_the_record(held, copied):
    out, _ = copied
    whole, part = snapshot_of(held), snapshot_of(out)
    names = [row[0] for row in rows(whole, "SELECT table_name FROM duckdb_tables() ORDER BY 1")]
    assert names == [
        row[0] for row in rows(part, "SELECT table_name FROM duckdb_tables() ORDER BY 1")
    ]
    for name in set(names) - {"frame", "explanation", "study"}:
        sql = f'SELECT * FROM "{name}"'
        assert rows(part, sql) == rows(whole, sql), name  # in their order, too


def test_pictures_of_the_first_prompts_are_all_that_is_kept(held, copied):
    out, copy = copied
    for name in ("frame", "explanation"):
        sql = f"SELECT {name}.* FROM {name} JOIN sample USING (sample_id) WHERE prompt_id <= {KEPT} ORDER BY ALL"
        kept = rows(snapshot_of(held), sql)
        assert kept and sorted(rows(snapshot_of(out), f"FROM {name} ORDER BY ALL")) == sorted(kept)
        assert copy.rows[name] == (
            len(kept),
            rows(snapshot_of(held), f"SELECT count(*) FROM {name}")[0][0],
        )
        assert copy.rows[name][0] < copy.rows[name][1]


def test_the_copy_says_what_it_is_without_hosts_or_paths(held, copied):
    out, copy = copied
    columns = "environment, content_hash, planned_samples, done_samples"
    environment, *same = rows(snapshot_of(out), f"SELECT {columns} FROM study")[0]
    assert same == list(rows(snapshot_of(held), f"SELECT {columns} FROM study")[0][1:])
    shipped = json.loads(environment)["shipped"]
    assert shipped["prompts_with_pictures"] == KEPT and shipped["command"] == "make reference"
    assert shipped["left_out"] == {name: whole - kept for name, (kept, whole) in copy.rows.items()}
    note = (out / "README.md").read_text()
    assert copy.content_hash in note and shipped["made_on"] in note and "make reference" in note
    assert str(held) not in note + environment and "/tmp" not in note + environment


def test_making_it_again_replaces_it_and_leaves_nothing_beside(held, copied, capsys):
    out, copy = copied
    old = out / "snapshots" / "demo-000000.duckdb"
    old.write_bytes(b"an older copy")
    assert main(["compact", str(held), "--out", str(out), "--prompts", str(KEPT)]) == 0
    assert "MB in git, content hash " + copy.content_hash in capsys.readouterr().out
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        *("README.md", "current.json", snapshot_of(held).name)
    }


def test_a_further_scorers_tables_are_copied(two_scorers, tmp_path):
    copy_of_study = shutil.copytree(two_scorers, tmp_path / "own")
    compact(copy_of_study, tmp_path / "out", Cuts(KEPT))
    for name in ("trajectory", "clip_score", "sample"):
        sql = f"SELECT count(*) FROM scorer_2.{name}"
        assert rows(snapshot_of(tmp_path / "out"), sql) == rows(snapshot_of(copy_of_study), sql)
    text = rows(snapshot_of(tmp_path / "out"), "SELECT environment FROM scorer_2.study")[0][0]
    assert json.loads(text)["shipped"]["prompts_with_pictures"] == KEPT


def test_curves_are_rounded_and_images_smaller_where_that_is_asked_for_and_it_is_said(
    held, tmp_path
):
    held = shutil.copytree(held, tmp_path / "held")
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True)
    # The other images are flat, and so smaller without losses.
    with duckdb.connect(str(snapshot_of(held))) as db:
        db.execute(
            "UPDATE sample SET image = ? WHERE sample_id = (SELECT max(sample_id) FROM sample WHERE image IS NOT NULL)",
            [buffer.getvalue()],
        )
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--prompts", str(KEPT), "--decimals", "4", "--quality", "90"]
    assert main(["compact", str(held), *arguments]) == 0
    exact, rounded = snapshot_of(held), snapshot_of(out)
    for table in ("trajectory", "rollup_prompt"):
        sql = f"SELECT similarity FROM {table} ORDER BY model_id, concept_id, prompt_id, {'seed' if table == 'trajectory' else 'seeds'}"
        before, after = (
            np.array([row[0] for row in rows(path, sql)], float) for path in (exact, rounded)
        )
        assert 0 < np.abs(before - after).max() < 0.5001e-4
        np.testing.assert_allclose(after, after.round(4), atol=1e-7)
        others = f"SELECT * EXCLUDE similarity FROM {table} ORDER BY ALL"
        assert rows(exact, others) == rows(rounded, others)
    smaller = 0
    sql = "SELECT prompt_id, image FROM sample WHERE image IS NOT NULL ORDER BY sample_id"
    for (prompt, before), (_, after) in zip(rows(exact, sql), rows(rounded, sql), strict=True):
        if prompt <= KEPT:
            assert before == after
        else:
            old, new = (
                np.array(Image.open(io.BytesIO(data)).convert("RGB"), float)
                for data in (before, after)
            )
            assert len(after) <= len(before)
            if len(after) == len(before):
                assert before == after
            else:
                smaller += 1
                assert np.abs(old - new).mean() < 60  # noise, which a lossy code smooths
    assert smaller == 1
    note = (out / "README.md").read_text()
    assert "rounded to 4 decimals" in note and "quality 90" in note
    environment = rows(rounded, "SELECT environment FROM study")[0][0]
    assert "rounded to 4 decimals" in shipped.left_out(environment)


def test_curves_of_unnamed_concepts_and_spectra_are_left_out_where_that_is_asked_for(
    two_scorers, tmp_path
):
    held, out = shutil.copytree(two_scorers, tmp_path / "held"), tmp_path / "out"
    arguments = ["compact", str(held), "--out", str(out), "--unnamed", "2", "--spectra", "3"]
    assert main(arguments) == 0
    stays = (
        "concept_id = 0 OR prompt_id <= 2 OR EXISTS (FROM mention AS m WHERE m.prompt_id = t.prompt_id AND m.concept_id = t.concept_id)"
    )  # fmt: skip
    for schema in ("main", "scorer_2"):
        for table in ("trajectory", "rollup_prompt"):
            kept = rows(snapshot_of(out), f"FROM {schema}.{table} ORDER BY ALL")
            assert kept == rows(snapshot_of(held), f"FROM {schema}.{table} AS t WHERE {stays} ORDER BY ALL")  # fmt: skip
            assert 0 < len(kept) < len(rows(snapshot_of(held), f"FROM {schema}.{table}"))
        for table in ("cell_curve", "rollup_step"):  # computed over all pairs
            sql = f"FROM {schema}.{table}"
            assert rows(snapshot_of(out), sql) == rows(snapshot_of(held), sql)
    spectra = "SELECT count(*) FROM spectrum"
    assert rows(snapshot_of(out), spectra) == rows(snapshot_of(held), f"{spectra} WHERE prompt_id <= 3")  # fmt: skip
    noted = json.loads(rows(snapshot_of(out), "SELECT environment FROM study")[0][0])["shipped"]
    unnamed = "NOT EXISTS (FROM mention AS m WHERE m.prompt_id = t.prompt_id AND m.concept_id = t.concept_id)"
    sql = f"SELECT name, count(*) FILTER (outcome <> 'never') / count(outcome) FROM trajectory AS t JOIN model USING (model_id) WHERE concept_id > 0 AND {unnamed} GROUP BY ALL"
    shares = {name: share for name, share in rows(snapshot_of(held), sql) if share == share}
    assert noted["unnamed_present"] == pytest.approx(shares, abs=1e-4)
    note = (out / "README.md").read_text()
    assert (
        "those of the first 2 prompts" in note and "Power spectra are those of the first 3" in note
    )
    assert re.search(r"\| trajectory +\|", note)
    with pytest.raises(SystemExit):
        main([*arguments[:-1], "-1"])
    again = tmp_path / "again"
    assert main(["compact", str(out), "--out", str(again), "--prompts", "99"]) == 0
    second = json.loads(rows(snapshot_of(again), "SELECT environment FROM study")[0][0])["shipped"]
    for key in ("prompts_with_unnamed", "prompts_with_spectra", "prompts_with_pictures", "unnamed_present"):  # fmt: skip
        assert second[key] == noted[key], "a copy of a copy lacks what the first one lacked"
    assert "those of the first 2 prompts" in (again / "README.md").read_text()


def test_a_folder_that_was_not_published_is_refused(tmp_path):
    with pytest.raises(StoreError, match="not published yet"):
        compact(tmp_path, tmp_path / "out", Cuts(KEPT))
    assert not (tmp_path / "out").exists()
