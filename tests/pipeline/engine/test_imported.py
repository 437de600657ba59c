"""Images that exist, as a model of a study: the same scores to the bit, nothing that disappears, every page."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.cli.main import main
from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.engine.imported import ImageWorker
from pipeline.errors import StepscopeError
from pipeline.models.scorer import Scorer
from pipeline.preflight.prepare import prepare
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.results.shards import parse_shard
from pipeline.results.verify import verify
from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt, key_of
from pipeline.study.reading import load_study
from tests.support.imported import (
    PROMPTS,
    SAMPLED,
    SEEDS,
    all_images,
    entry,
    picture,
    write_imagefolder,
    write_list,
    write_study,
)
from tests.support.pages import Open, open_view, shown

__all__ = ["open_view"]


def run(folder: Path, study: Path) -> tuple[Path, list[str]]:
    """Runs and publishes a study; its results, and what the user was text."""
    said: list[str] = []
    plan = prepare(study, say=lambda line: said.append(str(line)))
    engine.run(plan, folder / "results", "cpu")
    publish(folder / "results")
    return folder / "results", said


def rows_of(results: Path) -> dict[tuple[str, str, int], dict]:
    """Every row of the shards by model, prompt and seed."""
    folder = Results(results)
    plan = load_plan(folder)
    texts = {prompt.prompt_key: prompt.text for prompt in plan.prompts}
    rows = {}
    for work_unit in plan:
        data = folder.store.read(work_unit.unit_id)
        for row in parse_shard(data, work_unit.unit_id).to_pylist():
            rows[row["model"], texts[row["prompt_key"]], row["seed"]] = row
    return rows


def pipelines(results: Path) -> list[str]:
    """What the database says of how each model's images came."""
    pointer = json.loads((results / "current.json").read_text())
    with duckdb.connect(str(results / pointer["snapshot"]), read_only=True) as db:
        return [row[0] for row in db.execute("SELECT pipeline FROM model").fetchall()]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], dict]:
    """The rows of a model that is sampled, by prompt and seed."""
    folder = tmp_path_factory.mktemp("sampled")
    results, _ = run(folder, write_study(folder, SAMPLED))
    return {key[1:]: row for key, row in rows_of(results).items()}


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, sampled: dict[tuple[str, int], dict]
) -> tuple[Path, list[str]]:
    """A published study of the sampled model and of its own images, exported twice: as PNG and as WebP."""
    folder = tmp_path_factory.mktemp("both")
    images = {key: Image.fromarray(pixels(row["image"])) for key, row in sampled.items()}
    png, webp = write_imagefolder(folder / "png", images), write_list(folder / "webp", images)
    measures = "\n[measures]\nembeddings = true\n"
    models = measures + SAMPLED + entry(png, "png") + entry(webp, "webp")
    return run(folder, write_study(folder, models))


def test_exported_images_have_the_score_of_their_files_to_the_bit(both, sampled):
    """The reference is the scorer itself, called with the pixels of the files in the batches of a run."""
    rows = rows_of(both[0])
    scorer = Scorer(load_plan(Results(both[0])).study.scorer, "cpu")
    texts = list(PROMPTS)
    for seed in SEEDS:
        for batch in (texts[:3], texts[3:]):
            stack = np.stack([pixels(sampled[text, seed]["image"]) for text in batch])
            images = torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255
            scores = (scorer.images(images) * scorer.texts(batch)).sum(-1).tolist()
            for text, score in zip(batch, scores, strict=True):
                for model in ("png", "webp"):
                    row = rows[model, text, seed]
                    assert row["clip_score"] == np.float32(score)
                    assert row["prompt_similarity"] == [row["clip_score"]]
                    assert np.array_equal(
                        pixels(row["image"]), pixels(sampled[text, seed]["image"])
                    )
                    assert row["status"] == "done" and len(row["steps"]) == 1


def test_they_score_as_the_model_that_made_them_to_the_bit(both, sampled):
    rows = rows_of(both[0])
    for key, row in sampled.items():
        for model in ("png", "webp"):
            assert rows[model, *key]["clip_score"] == row["clip_score"]
    scores = {row["clip_score"] for row in sampled.values()}
    assert len(scores) == len(sampled)  # another order of images would not pass


def test_layouts_give_the_same_rows(both):
    rows = rows_of(both[0])
    content = ("clip_score", "trajectories", "steps", "width", "height", "embedding")
    assert all(len(row["embedding"]) == len(row["steps"]) for row in rows.values())
    for text in PROMPTS:
        for seed in SEEDS:
            png, webp = rows["png", text, seed], rows["webp", text, seed]
            assert [png[name] for name in content] == [webp[name] for name in content]
            assert np.array_equal(pixels(png["image"]), pixels(webp["image"]))


def test_the_run_is_complete_and_the_database_says_what_the_model_is(both):
    results, said = both
    assert not verify(results)
    assert any("10 of 10 prompts and seeds have one" in line for line in said)
    pointer = json.loads((results / "current.json").read_text())
    with duckdb.connect(str(results / pointer["snapshot"]), read_only=True) as db:
        models = db.execute("SELECT name, pipeline, family, steps, guidance FROM model").fetchall()
        finals = db.execute(
            "SELECT count(*) FROM trajectory WHERE model_id = 2 AND len(similarity) = 1"
        ).fetchall()
    assert ("png", "images (imagefolder)", "images", 1, None) in models
    assert ("webp", "images (csv)", "images", 1, None) in models
    assert finals[0][0] > 0


OPENED = ("overview", "timesteps", "models", "prompts", "words", "paths")


@pytest.mark.parametrize("view", OPENED)
def test_pages_open_and_say_what_has_no_steps(
    view: str, open_view: Open, both: tuple[Path, list[str]]
) -> None:
    app = open_view(view, both[0])
    assert not app.exception
    assert shown(app)
    said = "Steps not recorded: png, webp." in shown(app)
    assert said == (view in {"timesteps", "models", "words", "paths"})


def test_a_file_is_kept_as_it_is_but_for_its_metadata(tmp_path):
    """A photograph's JPEG with a place and an orientation: stored as the same JPEG without both, shown and exported as stored."""
    tags = Image.Exif()
    tags[0x0112], tags[0x013B] = 6, "50.0755 N"
    folder = write_imagefolder(tmp_path / "images", {})
    lines = []
    for number, (prompt, seed) in enumerate(all_images()):
        picture(number).save(folder / f"{number}.jpg", exif=tags, comment=b"50.0755 N")
        lines.append({"file_name": f"{number}.jpg", "prompt": prompt, "seed": seed})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    results, _ = run(tmp_path, write_study(tmp_path, entry(folder)))
    rows = rows_of(results)
    for number, (prompt, seed) in enumerate(all_images()):
        stored, data = (
            rows["theirs", prompt, seed]["image"],
            (folder / f"{number}.jpg").read_bytes(),
        )
        assert stored.startswith(b"\xff\xd8\xff") and b"50.0755 N" in data
        assert b"50.0755 N" not in stored and b"Exif" not in stored
        assert np.array_equal(pixels(stored), pixels(data))
    assert not verify(results)
    out = tmp_path / "png"
    main(
        ["export", str(results), "--out", str(out), "--format", "imagefolder", "--model", "theirs"]
    )
    assert np.array_equal(
        pixels((out / "00000-0.png").read_bytes()), pixels((folder / "0.jpg").read_bytes())
    )
    assert main(["reproduce", str(results), "--sample", "2"]) == 0


def test_a_rerun_has_nothing_to_do_and_another_image_is_another_model(both, tmp_path):
    images = write_imagefolder(tmp_path / "images", all_images())
    study = write_study(tmp_path, entry(images))
    results, _ = run(tmp_path, study)
    again = engine.run(prepare(study, say=lambda _: None), results, "cpu")
    assert again.work_units == 0
    Image.new("RGB", (64, 64)).save(images / "00003.png")
    after = engine.run(prepare(study, say=lambda _: None), results, "cpu")
    assert after.work_units == 4 and not after.failed


def test_what_is_missing_unmatched_or_unreadable_is_counted_and_named(tmp_path, capsys):
    """Nothing disappears: every prompt and seed has a row, every other image a line."""
    images = all_images()
    first, second, third, *_ = images
    del images[first]
    images["a prompt of another study", 0] = Image.new("RGB", (64, 64))
    folder = write_imagefolder(tmp_path / "images", images)
    (folder / "00000.png").write_bytes(b"no image at all")
    Image.new("I;16", (64, 64)).save(folder / "00001.png")
    (folder / "stray.gif").write_bytes(b"GIF89a")
    results, said = run(tmp_path, write_study(tmp_path, entry(folder)))
    rows = rows_of(results)
    errors = {key[1:]: row["error"] for key, row in rows.items() if row["status"] == "failed"}
    assert len(rows) == len(PROMPTS) * len(SEEDS)
    assert errors.keys() == {first, second, third}
    assert errors[first] == "no image of this prompt with seed 0; there are seeds 1"
    assert errors[second] == "00000.png: cannot be decoded: is no PNG, JPEG, WEBP image"
    assert errors[third] == "00001.png: has 16 bits a channel; 8 are read"
    text = "\n".join(said)
    assert "9 of 10 prompts and seeds have one" in text
    assert "1 images that match no prompt and seed of the study: '00009.png'" in text
    assert "1 files that are not images of this layout: 'stray.gif'" in text
    capsys.readouterr()
    assert main(["status", str(results)]) == 0
    line = "model 'theirs': 10 images, 1 match no prompt and seed: '00009.png'"
    assert line in capsys.readouterr().out
    assert pipelines(results) == ["images (imagefolder), 1 unmatched"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('{"file_name": "../out.png", "prompt": "a dog"}', "'../out.png' is not a file in the folder"),
        ('{"file_name": "/etc/passwd", "prompt": "a dog"}', "is not a file in the folder"),
        ('{"file_name": "a.png"}', "line 1 has no prompt or text or caption (found: file_name)"),
        ('{"prompt": "a dog"}', "has no file_name or path"),
        ('{"file_name": "a.png", "prompt": 3}', "prompt = 3 is not text"),
        ('{"file_name": "a.png", "prompt": "a", "seed": -1}', "seed = -1 is not a whole number"),
        ('{"file_name": "a.png", "prompt": "a", "seed": 1e999}', "seed = inf is not a whole number"),
        ("[" * 100_000, "line 1 is not JSON"),
        ("\udcff", "metadata.jsonl cannot be read"),
        ("", "holds no image"),
        ('{"file_name": "a.png", "prompt": "nobody asked"}', "matches a prompt and seed"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_used_is_one_line(tmp_path, lines, problem):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "metadata.jsonl").write_text(lines, errors="surrogateescape")
    with pytest.raises(StepscopeError) as error:
        prepare(write_study(tmp_path, entry(folder)), say=lambda _: None)
    assert problem in str(error.value) and "\n" not in str(error.value)
    assert "theirs" in str(error.value)


def hostile_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def hostile_bomb(path: Path, outside: Path) -> None:
    """20,000 x 20,000 pixels in a few kB."""
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


def hostile_long(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**34)


def hostile_animation(path: Path, outside: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(3)]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


def hostile_format(path: Path, outside: Path) -> None:
    Image.new("RGB", (8, 8)).save(path, "TIFF")


def hostile_cut(path: Path, outside: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(
        buffer, "PNG"
    )
    path.write_bytes(buffer.getvalue()[:2000])


HARMS: dict[str, Callable[[Path, Path], None]] = {
    "is a link, and links are not followed": hostile_link,
    "pixels": hostile_bomb,
    "has 17,179,869,184 bytes, at most 67,108,864 are read": hostile_long,
    "is an animation": hostile_animation,
    "is no PNG, JPEG, WEBP image": hostile_format,
    "cannot be decoded": hostile_cut,
}


def test_hostile_images_fail_alone(tmp_path: Path) -> None:
    """Six images of ten that mean harm: each is a failed sample with its reason, and the other four are scored."""
    outside = tmp_path / "outside.png"
    Image.new("RGB", (64, 64)).save(outside)
    folder = write_imagefolder(tmp_path / "images", all_images())
    for number, harm in enumerate(HARMS.values()):
        (folder / f"{number:05d}.png").unlink()
        harm(folder / f"{number:05d}.png", outside)
    results, _ = run(tmp_path, write_study(tmp_path, entry(folder)))
    rows = rows_of(results)
    errors = [rows["theirs", text, seed]["error"] for text in PROMPTS for seed in SEEDS]
    for number, problem in enumerate(HARMS):
        assert errors[number].startswith(f"{number:05d}.png: ") and problem in errors[number]
    assert errors[len(HARMS) :] == [""] * 4


def test_a_folder_reached_through_a_link_is_not_read(tmp_path):
    images = all_images()
    folder = write_imagefolder(tmp_path / "images", images)
    write_imagefolder(tmp_path / "elsewhere", images)
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    line = {"file_name": "sub/00000.png", "prompt": next(iter(PROMPTS)), "seed": 0}
    (folder / "metadata.jsonl").write_text(json.dumps(line))
    results, _ = run(tmp_path, write_study(tmp_path, entry(folder)))
    assert not [row for row in rows_of(results).values() if row["status"] == "done"]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('source = "data/models/scenes-unet"', "images and source exclude each other"),
        ("steps = 30", "steps is an unknown key"),
        ('layout = "zip"', "layout = 'zip' is unknown"),
    ],
)
def test_keys_of_a_sampled_model_are_refused(tmp_path, keys, problem):
    folder = write_imagefolder(tmp_path / "images", all_images())
    study = write_study(tmp_path, entry(folder) + keys + "\n")
    with pytest.raises(StepscopeError, match=problem):
        prepare(study, say=lambda _: None)


def test_tools_leave_out_models_whose_images_exist(tmp_path):
    folder = write_imagefolder(tmp_path / "images", all_images())
    tool = "\n[measures.attention]\nsteps = [1]\n"
    plan = prepare(write_study(tmp_path, tool + SAMPLED + entry(folder)), say=lambda _: None)
    measures = plan.study.measures
    assert measures.of("scenes-unet").attention and not measures.of("theirs").attention
    named = tool + 'models = ["theirs"]\n'
    with pytest.raises(StepscopeError, match="no denoising steps to explain"):
        prepare(write_study(tmp_path, named + SAMPLED + entry(folder)), say=lambda _: None)


def test_images_are_decoded_a_batch_at_a_time(tmp_path):
    """Memory follows the batch and not the work unit: the same 32 images in one batch take over four times as much."""
    texts = [f"prompt {number}" for number in range(32)]
    images = {(text, 0): picture(number, 256) for number, text in enumerate(texts)}
    folder = write_imagefolder(tmp_path / "images", images)
    study = load_study(write_study(tmp_path, entry(folder), seeds=(0,)))
    prompts = tuple(Prompt(key_of(t), t, "", "", {}, n) for n, t in enumerate(texts))
    bank = ConceptBank("one", (Concept("dog", "object", ("a dog",)),))

    def peak(batch: int) -> int:
        sized = replace(study, run=replace(study.run, batch_size=batch))
        with ImageWorker(sized, study.models[0], bank, "cpu") as worker:
            tracemalloc.start()
            rows = worker.run(WorkUnit("u", study.models[0], prompts, 0))
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert [row["status"] for row in rows] == ["done"] * 32
        return most

    assert peak(2) < peak(32) / 4
