"""Every training stage on a handful of scenes; resuming; export, loading, marking, the tables."""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, CLIPTokenizer

from pipeline.cli import demo
from pipeline.demo import prompts as demo_prompts
from pipeline.demo.clip import caption_batch, concept_targets, contrast, degrade, tokenize
from pipeline.demo.corpus import compose_corpus
from pipeline.demo.denoisers import alphas_cumprod
from pipeline.demo.evaluate import (
    END,
    START,
    Rate,
    clip_rates,
    evaluate,
    judge_rates,
    load_pipeline,
    sample,
    write_table,
)
from pipeline.demo.export import export_models, replace_folder
from pipeline.demo.judge import HEADS, load_judge, scene_labels, verdict
from pipeline.demo.scenes import OBJECTS, PLACES, Scene
from pipeline.demo.short_run import train_checkpoints
from pipeline.demo.text import scene_answers
from pipeline.demo.tokenizer import CONTEXT_LENGTH, build_tokenizer, known_words
from pipeline.demo.train import RECIPES, build_stage, train, train_further
from pipeline.demo.training import Budget, Stage, fit, load_average, read_tensors, schedule
from pipeline.study.checkpoints import find
from pipeline.study.plan import folder_hash

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]
TINY = {
    name: replace(recipe, scenes=8, batch_size=4, budget=Budget(2))
    for name, recipe in RECIPES.items()
}
HOSTILE = ["\x00", "🙂" * 50, "x" * 10_000, "مرحبا ‮abc", "<|endoftext|> dog", "", " \n\t "]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    finished = train(folder, recipes=TINY, quiet=True)
    assert {name: progress.step for name, progress in finished.items()} == dict.fromkeys(TINY, 2)
    return folder


@pytest.fixture(scope="module")
def models(checkpoints, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    written = export_models(checkpoints, folder)
    assert {path.name for path in written} == {
        *("scenes-clip", "scenes-judge", "scenes-unet", "scenes-unet-short", "scenes-dit")
    }
    return folder


def interrupted(stage: Stage, at: int) -> Stage:
    def loss(step, generator):
        if step == at:
            raise KeyboardInterrupt
        return stage.loss(step, generator)

    return replace(stage, loss=loss)


@pytest.mark.parametrize("name", TINY)
def test_a_step_and_one_resumed_are_two(name, checkpoints, tmp_path):
    """Those of `checkpoints`, which were done at one go."""
    for needed in (
        "autoencoder",
        "text",
        "unet",
        "latents",
    ):  # in their order; `unet` makes the latents
        if needed == name:
            break
        source = checkpoints / f"{needed}.safetensors"
        (tmp_path / source.name).write_bytes(source.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        stage = interrupted(build_stage(name, tmp_path, TINY[name]), at=1)
        fit(stage, TINY[name].budget, tmp_path, quiet=True)
    assert read_tensors(tmp_path / f"{name}.safetensors")[1].step == 1
    fit(build_stage(name, tmp_path, TINY[name]), TINY[name].budget, tmp_path, quiet=True)
    straight, resumed = (
        load_file(folder / f"{name}.safetensors") for folder in (checkpoints, tmp_path)
    )
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)


def test_training_lowers_a_loss_and_ends_with_the_average(tmp_path):
    model = nn.Linear(1, 1)
    stage = Stage(
        "line",
        model,
        lambda step, generator: (model(torch.ones(4, 1)) - 3).square().mean(),
        learning_rate=0.1,
        bfloat16=False,
        warmup_steps=1,
        keep_at=(0.25,),
    )
    progress = fit(stage, Budget(200), tmp_path, quiet=True)
    assert progress.step == 200
    assert model(torch.ones(1, 1)).item() == pytest.approx(3, abs=0.3)
    assert read_tensors(tmp_path / "line-0.25.safetensors")[1].step == 50
    tensors, _ = read_tensors(tmp_path / "line.safetensors")
    assert torch.equal(tensors["average.weight"], model.weight)


def test_a_loss_that_is_not_a_number_stops_training(tmp_path):
    model = nn.Linear(1, 1)
    stage = Stage("nan", model, lambda *_: model.weight.sum() * float("nan"), 0.1, bfloat16=False)
    with pytest.raises(FloatingPointError, match="nan: loss nan at step 0"):
        fit(stage, Budget(2), tmp_path, quiet=True)


def test_budget_is_spent_by_whichever_runs_out_first():
    assert Budget(10, 5).spent(5, 1) == 0.5
    assert Budget(10, 5).spent(1, 4) == 0.8


def test_learning_rate_warms_up_then_falls_to_the_floor():
    assert schedule(0, 0.0, 100) == pytest.approx(0.01)
    assert schedule(1000, 0.5, 100) == pytest.approx(0.51)
    assert schedule(1000, 1.0, 100) == pytest.approx(0.02)


def test_every_word_is_one_token_also_after_loading(tmp_path):
    build_tokenizer().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for tokenizer in (build_tokenizer(), loaded):
        assert tokenizer.model_max_length == CONTEXT_LENGTH
        ids = [tokenizer(word).input_ids for word in known_words()]
        assert {len(tokens) for tokens in ids} == {3}
        assert len({tokens[1] for tokens in ids}) == len(ids)


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_can_be_tokenized(text):
    tokenizer = build_tokenizer()
    ids = tokenize(tokenizer, [text])
    assert ids.shape == (1, CONTEXT_LENGTH)
    assert ids[0, 0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id in ids[0]
    assert ids.max() == tokenizer.eos_token_id == len(tokenizer) - 1


def test_contrast_is_zero_for_certain_matches_and_log_n_for_none():
    matches = torch.eye(4, dtype=torch.bool)
    assert contrast(100 * matches.float(), matches).item() == pytest.approx(0, abs=1e-6)
    assert contrast(torch.zeros(4, 4), matches).item() == pytest.approx(torch.tensor(4.0).log())


def test_wrong_relations_match_only_scenes_that_they_describe():
    import random

    scenes = [
        Scene(("cat", "dog"), None, "above", "red", "plain"),
        Scene(("key",), "big", None, "blue", "dotted"),
    ]
    for seed in range(20):
        texts, matches = caption_batch(scenes, random.Random(seed))
        assert len(texts) == 3
        assert matches.tolist() == [[True, False, False], [False, True, False]]


def test_targets_and_labels_tell_the_scene():
    scene = Scene(("cat", "dog"), None, "left of", "red", "plain")
    assert concept_targets([scene], "object").sum() == 2
    answers = scene_answers([scene])[0].tolist()
    assert answers[:2] == [1 + OBJECTS.index("cat"), 1 + OBJECTS.index("dog")]
    positions = scene_labels([scene])["place"][0]
    assert positions[OBJECTS.index("dog")] == PLACES.index("right")


def test_degraded_pictures_keep_their_shape_and_some_are_untouched():
    pixels = compose_corpus(16, 0).pixels(torch.arange(16))
    changed = degrade(pixels, torch.Generator().manual_seed(0))
    same = (changed == pixels).flatten(1).all(1)
    assert changed.shape == pixels.shape
    assert 0 < same.sum() < 16


def test_alphas_match_the_exported_scheduler(models):
    scheduler = load_pipeline(models / "scenes-unet").scheduler
    assert torch.allclose(scheduler.alphas_cumprod, alphas_cumprod(), atol=1e-6)


@pytest.mark.parametrize("name", ["scenes-unet", "scenes-unet-short", "scenes-dit"])
def test_exported_pipelines_sample_in_float32_whatever_the_prompt(models, name, caplog):
    pipeline = load_pipeline(models / name)
    assert pipeline.text_encoder.dtype == pipeline.vae.dtype == torch.float32
    images = sample(pipeline, ["a cat", *HOSTILE], guidance=2.0, steps=2)
    assert images.shape == (1 + len(HOSTILE), 3, 64, 64)
    assert images.isfinite().all()


def test_sampling_does_not_depend_on_the_batch(models):
    pipeline = load_pipeline(models / "scenes-unet")
    prompts = ["a cat", "a dog", "a key"]
    together = sample(pipeline, prompts, guidance=2.0, steps=2, batch_size=3)
    alone = sample(pipeline, prompts, guidance=2.0, steps=2, batch_size=1)
    assert torch.allclose(together, alone, atol=1e-4)


def test_exported_clip_is_an_open_clip_folder(models):
    name = f"local-dir:{models / 'scenes-clip'}"
    clip, _, preprocess = open_clip.create_model_and_transforms(name)
    clip.eval()
    tokens = open_clip.get_tokenizer(name)(["a dog", *HOSTILE])
    assert tokens.shape == (1 + len(HOSTILE), CONTEXT_LENGTH)
    assert torch.equal(tokens[0], tokenize(build_tokenizer(), ["a dog"])[0])
    corpus = compose_corpus(2, 0)
    from PIL import Image

    prepared = preprocess(Image.fromarray(corpus.images[0].numpy()))
    assert torch.allclose(prepared, corpus.pixels(torch.tensor([0]))[0], atol=1e-5)
    assert clip.encode_text(tokens).isfinite().all()


def test_exported_judge_marks_every_question(models):
    judge = load_judge(models / "scenes-judge")
    corpus = compose_corpus(8, 1)
    pixels = corpus.pixels(torch.arange(8))
    assert {name: value.shape[1] for name, value in judge(pixels).items()} == HEADS
    marks = verdict(judge, pixels, corpus.scenes)
    assert torch.equal(marks.asked["one"], ~marks.asked["both"])
    assert not (marks.right["relation"] & ~marks.right["both"]).any()


def test_an_all_knowing_judge_finds_everything_right():
    corpus = compose_corpus(12, 2)
    labels = scene_labels(corpus.scenes)

    class AllKnowing(nn.Module):
        def forward(self, pixels):
            chosen = {name: value.clamp(min=0) for name, value in labels.items()}
            answers = {
                name: nn.functional.one_hot(chosen[name], size).float()
                for name, size in HEADS.items()
                if name not in ("object", "place")
            }
            positions = nn.functional.one_hot(chosen["place"], len(PLACES)).float().flatten(1)
            return {**answers, "object": labels["object"], "place": positions}

    marks = verdict(AllKnowing(), corpus.pixels(torch.arange(12)), corpus.scenes)
    assert all((marks.right[name] | ~marks.asked[name]).all() for name in marks.right)


def test_evaluation_lists_every_model_and_goes_into_the_readme(models):
    table = evaluate(models, prompts=2, scenes=8, steps=2)
    for name in ("autoencoder", "scenes-clip", "scenes-judge", "scenes-unet-short", "scenes-dit"):
        assert f"| {name} |" in table
    readme = models / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_table(readme, table)
    assert readme.read_text() == f"before\n{START}\n{table}\n{END}\nafter\n"
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="no place for the table"):
        write_table(readme, table)


def test_what_marks_pictures_knows_the_pairs_that_generators_never_saw():
    """The scorer called the colour of such scenes right in 57 %."""
    models = ROOT / "data" / "models"
    corpus = compose_corpus(120, 5, categories=("held-out colour",))
    clip = open_clip.create_model_and_transforms(f"local-dir:{models / 'scenes-clip'}")[0].eval()
    rates = clip_rates(clip, CLIPTokenizer.from_pretrained(models / "scenes-clip"), corpus)
    pixels = corpus.pixels(torch.arange(120))
    rates += judge_rates(
        load_judge(models / "scenes-judge"), "scenes-judge", pixels, corpus.scenes, ""
    )
    shares = {(rate.model, rate.question): rate.share for rate in rates}
    for question in (
        ("scenes-clip", "colour"),
        ("scenes-clip", "object"),
        ("scenes-judge", "background colour"),
        ("scenes-judge", "one object"),
        ("scenes-judge", "both objects"),
    ):
        assert shares[question] >= 0.97, question


def test_the_readers_alone_leave_the_rows_of_the_generators(models, monkeypatch):
    readme = models / "README.md"
    row = "| scenes-dit | relation | trained | 12.0% |"
    readme.write_text(
        f"| scenes-dit | 8,557 |\n{START}\n| scenes-clip | size | real | 1.0% |\n{row}\n{END}\n"
    )
    arguments = argparse.Namespace(models=models, prompts=2, scenes=8, steps=2, readers=True)
    assert demo.run_evaluate(arguments) == 0
    text = readme.read_text()
    assert text.count("| scenes-dit |") == 2 and row in text.partition(START)[2]
    assert "| scenes-clip | size | real | 1.0% |" not in text
    assert "| scenes-clip | colour | real, held-out colour |" in text


def test_further_training_starts_from_the_folder_s_weights(models, tmp_path):
    recipe = replace(TINY["clip"], learning_rate=0.0)
    progress = train_further(tmp_path, models, recipes={"clip": recipe}, quiet=True)
    assert progress["clip"].step == 2
    before = load_file(models / "scenes-clip" / "open_clip_model.safetensors")
    after = build_stage("clip", tmp_path, recipe).model
    load_average(tmp_path / "clip.safetensors", after)
    for name, parameter in after.named_parameters():
        assert torch.equal(parameter, before[name].float()), name


def test_a_short_run_leaves_whole_pipelines_and_resumes(models, tmp_path):
    """make training-demo: folders that a study's pattern takes; a second call writes what is missing, and the same bytes."""
    recipe = replace(RECIPES["unet"], scenes=8, batch_size=4, budget=Budget(4))

    def run():
        folders = train_checkpoints(tmp_path, models, recipe=recipe, count=2, quiet=True)
        assert [folder.name for folder in folders] == ["checkpoint-2", "checkpoint-4"]
        assert [each.problem for each in find(tmp_path, "checkpoint-*")] == ["", ""]
        return [folder_hash(folder) for folder in folders]

    first = run()
    assert len(set(first)) == 2
    shutil.rmtree(tmp_path / "checkpoint-2")
    assert run() == first
    unet = load_file(tmp_path / "checkpoint-4" / "unet" / "diffusion_pytorch_model.safetensors")
    kept = load_file(tmp_path / "training" / "unet-1.safetensors")
    assert all(torch.equal(value, kept[f"unet.{name}"].half()) for name, value in unet.items())


def test_wilson_interval_of_a_known_case():
    low, high = Rate("m", "q", "real", 9, 10).interval()
    assert (low, high) == (pytest.approx(0.5958, abs=1e-3), pytest.approx(0.9821, abs=1e-3))


def test_bars_are_asked_of_trained_scenes_only():
    assert Rate("scenes-unet", "relation", "trained", 1, 2).bar == 0.65
    assert Rate("scenes-dit", "relation", "trained", 1, 2).bar == pytest.approx(0.5)
    assert Rate("scenes-unet", "relation", "held-out colour", 1, 2).bar is None


def test_replace_folder_swaps_in_a_whole_folder(tmp_path):
    target = tmp_path / "model"
    for text in ("first", "second"):

        def write(folder, text=text):
            folder.mkdir()
            (folder / "weights").write_text(text)

        replace_folder(target, write)
        assert (target / "weights").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser.add_subparsers(required=True))
    parsed = parser.parse_args(arguments)
    return parsed.handler(parsed)


def test_command_line_trains_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.demo.train.RECIPES", TINY)
    out, models = str(tmp_path / "out"), str(tmp_path / "models")
    assert run(["train", "--out", out, "--stage", "judge"]) == 0
    assert "judge: 2 steps" in capsys.readouterr().out
    assert run(["export", "--out", out, "--models", models]) == 0
    assert (tmp_path / "models" / "scenes-judge" / "config.json").exists()


def test_command_line_writes_prompts_and_sheet(models, tmp_path, monkeypatch):
    write = demo_prompts.write_prompts  # 2,000 of them take 13 s; test_scenes.py holds them
    monkeypatch.setattr(
        demo_prompts, "write_prompts", lambda path, count, **how: write(path, min(count, 64), **how)
    )
    assert run(["prompts", "--data", str(tmp_path)]) == 0
    assert (tmp_path / "prompts" / "scenes-large.csv").exists()
    sheet = tmp_path / "sheet.png"
    assert run(["sheet", "--models", str(models), "--to", str(sheet), "--steps", "1"]) == 0
    assert sheet.stat().st_size > 10_000
