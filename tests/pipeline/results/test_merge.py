"""Folders of other machines and times in one: nothing is lost, nothing settled in silence."""

import json
import shutil
from dataclasses import replace

import duckdb
import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.engine.progress import count_states
from pipeline.errors import StoreError
from pipeline.results.diff import compare
from pipeline.results.folder import Results
from pipeline.results.merge import merge
from pipeline.results.record import load_plan, load_workers
from pipeline.results.verify import verify
from pipeline.study.plan import Plan
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import SECOND, plan_of, small_study, with_scorers


def content(folder):
    with duckdb.connect(publish(folder).path, read_only=True) as con:
        return con.execute("SELECT content_hash FROM study").fetchone()[0]


def states(folder):
    results = Results(folder)
    return count_states(results, load_plan(results), results.read_ledger())


class Half(FakeWorker):
    """Stops, as Ctrl-C does, after three units."""

    ran = 0

    def run(self, work_unit, on_step=None):
        type(self).ran += 1
        if type(self).ran > 3:
            raise KeyboardInterrupt
        return super().run(work_unit, on_step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    engine.run(plan_of(small_study()), folder, "cpu", FakeWorker)
    return folder


def test_two_halves_make_the_whole(whole, tmp_path):
    """One machine did the first three units, another all of the second model."""
    plan = plan_of(small_study())
    Half.ran = 0
    engine.run(plan, tmp_path / "a", "cpu", Half)
    second = replace(plan.study, models=plan.study.models[1:])
    engine.run(plan_of(second), tmp_path / "b", "cpu", FakeWorker)
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert (merged.work_units, merged.copied, merged.conflicts) == (3 + 4, 7, [])
    assert engine.run(plan, tmp_path / "out", "cpu", FakeWorker).stored_before == 7
    assert verify(tmp_path / "out") == []
    assert compare(whole, tmp_path / "out").same and content(tmp_path / "out") == content(whole)


def test_seeds_models_and_longer_prompt_lists_are_joined(tmp_path):
    study = small_study(models=1, seeds=1)
    engine.run(plan_of(study), tmp_path / "a", "cpu", FakeWorker)
    engine.run(plan_of(replace(study, seeds=(3,))), tmp_path / "b", "cpu", FakeWorker)
    plan = plan_of(small_study(models=2, seeds=1))
    short = Plan(plan.study, plan.revisions, plan.prompts[:4], plan.bank)
    engine.run(short, tmp_path / "c", "cpu", FakeWorker)
    merged = merge([tmp_path / name for name in "cab"], tmp_path / "out")
    assert merged.conflicts == []
    joined = load_plan(Results(tmp_path / "out"))
    assert joined.study.seeds == (0, 3) and len(joined.study.models) == 2
    assert len(joined.prompts) == 8
    assert states(tmp_path / "out")["done"] == 8 * 2 + 4
    assert set(load_workers(Results(tmp_path / "out"))["models"]) == {
        "scenes-unet",
        "scenes-unet-short",
    }


def test_merging_again_copies_nothing_and_a_folder_can_be_added(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "a")
    assert merge([tmp_path / "a"], tmp_path / "out").copied == 8
    assert merge([tmp_path / "a"], tmp_path / "out").copied == 0
    engine.run(
        plan_of(replace(small_study(models=1), seeds=(7,))), tmp_path / "b", "cpu", FakeWorker
    )
    assert merge([tmp_path / "b"], tmp_path / "out").copied == 2
    assert states(tmp_path / "out")["done"] == 32 + 8
    lines = (tmp_path / "out" / "ledger.jsonl").read_text().splitlines()
    assert len(lines) == len({json.loads(line)["unit_id"] for line in lines})


def test_two_contents_of_one_unit_are_a_conflict(whole, tmp_path, capsys):
    class Other(FakeWorker):
        def run(self, work_unit, on_step=None):
            rows = super().run(work_unit, on_step)
            if work_unit.seed == 1:
                rows[0]["prompt_similarity"] = np.array(rows[0]["prompt_similarity"]) + 0.25
            return rows

    engine.run(plan_of(small_study(models=1)), tmp_path / "b", "cpu", Other)
    arguments = ["merge", str(whole), str(tmp_path / "b"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.count("conflict: unit") == 2 and "largest difference 0.25" in captured.err
    assert "published" in captured.out
    assert compare(whole, tmp_path / "out").same  # the first folder's were kept


def test_a_try_that_ended_better_wins(whole, tmp_path):
    class Broken(FakeWorker):
        def run(self, work_unit, on_step=None):
            rows = super().run(work_unit, on_step)
            if work_unit.seed == 0:
                raise MemoryError("no room")
            rows[1] |= {"status": "failed", "error": "RuntimeError: boo"}
            return rows

    engine.run(plan_of(small_study()), tmp_path / "bad", "cpu", Broken)
    merged = merge([tmp_path / "bad", whole], tmp_path / "out")
    assert compare(whole, tmp_path / "out").same
    assert len(merged.conflicts) == 4 and "1 failed samples against 0" in merged.conflicts[0]


def test_a_damaged_shard_is_left_out_and_named(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "a")
    victim = sorted((tmp_path / "a" / "shards").iterdir())[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    merged = merge([tmp_path / "a"], tmp_path / "out")
    assert merged.copied == 7 and victim.stem in merged.conflicts[0]
    assert merge([whole], tmp_path / "out").copied == 1
    assert compare(whole, tmp_path / "out").same


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"run": {"batch_size": 2}}, "run.batch_size"),
        ({"measures": {"spectrum": False}}, "measures"),
    ],
)
def test_studies_that_cannot_be_one_are_refused(whole, tmp_path, change, what, capsys):
    study = small_study(models=1)
    ((key, values),) = change.items()
    study = replace(study, **{key: replace(getattr(study, key), **values)})
    engine.run(plan_of(study), tmp_path / "b", "cpu", FakeWorker)
    capsys.readouterr()
    assert main(["merge", str(whole), str(tmp_path / "b"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"other {what}" in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_several_scorers_are_merged_and_other_ones_are_refused(whole, tmp_path, capsys):
    study = with_scorers(small_study(models=1, prompts=4))
    engine.run(plan_of(study), tmp_path / "a", "cpu", FakeWorker)
    renamed = with_scorers(replace(study, seeds=(7,)), replace(SECOND, name="again"))
    engine.run(plan_of(renamed), tmp_path / "b", "cpu", FakeWorker)
    tagged = with_scorers(study, replace(SECOND, pretrained="laion2b_s34b_b79k"))
    engine.run(plan_of(tagged), tmp_path / "c", "cpu", FakeWorker)
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out").conflicts == []
    joined = load_plan(Results(tmp_path / "out"))
    assert joined.study.scorers == study.scorers and joined.revisions.further_scorers == ("openai",)
    assert states(tmp_path / "out")["done"] == 4 * 3 and verify(tmp_path / "out") == []
    for other, says in (
        (tmp_path / "c", "other scorer 'ViT-B-32-openai' (scorer 2 of the list)"),
        (whole, "other number of scorers"),
    ):
        capsys.readouterr()
        arguments = [str(tmp_path / "a"), str(other), "--out", str(tmp_path / "none")]
        assert main(["merge", *arguments]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1


def test_a_name_for_two_models_is_refused(whole, tmp_path):
    study = small_study(models=1, steps=5)
    engine.run(plan_of(study), tmp_path / "b", "cpu", FakeWorker)
    with pytest.raises(StoreError, match="'scenes-unet' is not the model of that name"):
        merge([whole, tmp_path / "b"], tmp_path / "out")


def test_prompts_in_other_blocks_are_reported(whole, tmp_path):
    plan = plan_of(small_study())
    odd = Plan(plan.study, plan.revisions, plan.prompts[2:5], plan.bank)
    engine.run(odd, tmp_path / "b", "cpu", FakeWorker)
    merged = merge([whole, tmp_path / "b"], tmp_path / "out")
    assert merged.copied == 8 and "4 of its work units do not fit" in merged.conflicts[0]
