"""Images written in the layouts of evaluators, and read back as images that exist: the same pixels for every prompt and seed."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pipeline.cli.main import main
from pipeline.database.export_images import export_images
from pipeline.errors import StoreError
from pipeline.models.pictures import decode_picture
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.study.image_index import read_index
from pipeline.study.spec import ModelSpec


def stored(results: Path) -> dict[tuple[str, int], bytes]:
    """The images of the first model in the shards, by prompt key and seed."""
    from pipeline.results.shards import parse_shard

    folder = Results(results)
    plan = load_plan(folder)
    images = {}
    for work_unit in plan.of_model(plan.study.models[0]):
        table = parse_shard(folder.store.read(work_unit.unit_id), work_unit.unit_id)
        for row in table.select(["prompt_key", "seed", "image", "status"]).to_pylist():
            if row["status"] == "done":
                images[row["prompt_key"], row["seed"]] = row["image"]
    return images


@pytest.mark.parametrize("layout", ["imagefolder", "geneval", "t2i-compbench"])
def test_what_is_written_is_read_back_to_the_pixel(layout, one_model, tmp_path):
    plan = load_plan(Results(one_model))
    name = plan.study.models[0].name
    written = export_images(one_model, tmp_path / "out", layout, name)
    images = stored(one_model)
    assert written.images == len(images) and not written.left_out
    index = read_index(ModelSpec("m", "m", str(tmp_path / "out"), layout="auto"))
    assert index.layout == layout
    for prompt in plan.prompts:
        for seed in plan.study.seeds:
            picture = index.find(prompt, seed, plan.study.seeds)
            if (prompt.prompt_key, seed) not in images:
                continue
            assert picture is not None
            pixels, _ = decode_picture((index.root / picture.name).read_bytes())
            wanted, _ = decode_picture(images[prompt.prompt_key, seed])
            assert np.array_equal(pixels, wanted)


def test_geneval_gets_its_own_lines_where_they_are_given(one_model, tmp_path):
    plan = load_plan(Results(one_model))
    line = {
        "tag": "counting",
        "include": [{"class": "cat", "count": 2}],
        "prompt": plan.prompts[0].text,
    }
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line))
    out = tmp_path / "out"
    name = plan.study.models[0].name
    export_images(one_model, out, "geneval", name, tmp_path / "metadata.jsonl")
    assert json.loads((out / "00000" / "metadata.jsonl").read_text()) == line
    second = json.loads((out / "00001" / "metadata.jsonl").read_text())
    assert second == {"tag": plan.prompts[1].category, "prompt": plan.prompts[1].text}


def test_geneval2_maps_prompts_to_files(one_model, tmp_path):
    plan = load_plan(Results(one_model))
    export_images(one_model, tmp_path / "out", "geneval2", plan.study.models[0].name)
    paths = json.loads((tmp_path / "out" / "image_paths.json").read_text())
    assert set(paths) <= {prompt.text for prompt in plan.prompts} and paths
    for path in paths.values():
        decode_picture((tmp_path / "out" / path).read_bytes())


def test_dpg_bench_has_no_place_for_one_seed(one_model, tmp_path, capsys):
    """A grid wants four images of a prompt; what is left out is counted and named, not lost in silence."""
    name = load_plan(Results(one_model)).study.models[0].name
    out = tmp_path / "out"
    arguments = ["export", str(one_model), "--out", str(out), "--format", "dpg-bench"]
    assert main([*arguments, "--model", name]) == 0
    assert list(out.iterdir()) == []
    assert (
        f"{len(stored(one_model))} images have no place in this layout: prompt 0"
        in capsys.readouterr().err
    )
    assert main(arguments) == 2
    assert "Add --model NAME" in capsys.readouterr().err


def test_what_cannot_be_exported_is_one_line(one_model, tmp_path):
    with pytest.raises(StoreError, match="no model 'none' in this study"):
        export_images(one_model, tmp_path / "out", "geneval", "none")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(StoreError, match="exists and is not empty"):
        export_images(one_model, tmp_path / "full", "geneval", "none")


def test_geneval_numbers_images_by_seed_where_one_is_missing(altered, tmp_path):
    """The evaluator's results come back by that number: a gap must not move the images after it."""
    first = "(SELECT min(sample_id) FROM sample WHERE model_id = 1)"
    study = altered(f"UPDATE sample SET status = 'failed', image = NULL WHERE sample_id = {first}")
    with duckdb.connect(str(next((study / "snapshots").glob("*.duckdb"))), read_only=True) as db:
        name = db.execute("SELECT name FROM model WHERE model_id = 1").fetchall()[0][0]
    export_images(study, tmp_path / "out", "geneval", name)
    images = tmp_path / "out" / "00000" / "samples"
    assert [path.name for path in images.iterdir()] == ["0001.png"]
