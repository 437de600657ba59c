"""Prompt switching: its ends are the plain images, its cost is what is not shared, and it sees what was planted."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from pipeline.demo.outcomes import SceneJudge
from pipeline.demo.pairs import FAMILIES, is_trained, scene_of, with_other, write_pairs
from pipeline.demo.scenes import caption, compose, sample_scene
from pipeline.diffusion.branch import branches, replayed_outputs
from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.watch import Batch
from pipeline.explain.switching import Switching
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.concepts import Concept
from pipeline.study.pairs import Pair, differing_concepts, pair_steps, pairs_of
from pipeline.study.prompts import Prompt, read_prompts
from pipeline.study.spec import ModelSpec, PromptSource, ScorerSpec, ToolSpec
from pipeline.study.tools import unknown_fields

TEXT, BASE = (
    "a cat left of a rocket on a striped green background",
    "a cat left of a rocket on a plain red background",
)
BANK = (
    Concept("green", "colour", ("a green background",)),
    Concept("striped", "texture", ("a striped background",)),
    Concept("red", "colour", ("a red background",)),
)
STEPS = 4
BUNDLED = ("scenes-unet", "scenes-unet-short", "scenes-dit")


def prompt(text=TEXT, position=0, **bases):
    return Prompt("key", text, "test", "", {"subject": ("cat",)}, position, bases)


@pytest.fixture(scope="module")
def scorer():
    return Scorer(ScorerSpec("data/models/scenes-clip"))


@pytest.mark.long
@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("name", BUNDLED)
def test_ends_are_the_plain_images(name, guidance):
    """At step 0 the second prompt's, at the last the first's, to the bit; in between another image."""
    model = ModelSpec(name, name, f"data/models/{name}", steps=STEPS, guidance=guidance)
    pipeline = loading.open_pipeline(model, torch.device("cpu"))
    sample = partial(generate, pipeline, model, seed=3, schedule={})
    plain, base = sample([prompt(TEXT)]), sample([prompt(BASE)])
    module = loading.denoiser_of(pipeline)
    calls = []
    hook = module.register_forward_pre_hook(lambda *_: calls.append(1))
    runs = (lambda: sample([prompt(BASE)]), lambda: sample([prompt(TEXT)]))
    seen = dict(branches(module, *runs, (0, 2, STEPS), STEPS))
    hook.remove()
    assert torch.equal(seen[0], plain) and not torch.equal(plain, base)
    assert not torch.equal(seen[2], plain) and not torch.equal(seen[2], base)
    again = dict(branches(module, *runs, (STEPS,), STEPS))
    assert torch.equal(again[STEPS], base)
    assert "forward" not in vars(module)
    assert torch.equal(sample([prompt(TEXT)]), plain)


def test_shared_steps_are_not_computed():
    module, computed = Planted(), []
    first, second = planted_runs(module, computed)
    list(branches(module, first, second, (1, 3), 5))
    assert len(computed) == 5 + 4 + 2
    tool = ToolSpec(steps=(1, 3), options={"directions": ("insert",)})
    assert pair_steps(tool, 5) == 5 + 5 + 4 + 2  # with the prompt's own image
    assert pair_steps(replace(tool, options={}), 5) == 5 + 5 + 2 * (4 + 2)


class Planted(torch.nn.Module):
    """A denoiser whose picture is decided at step 3: it has the concept where the prompt then in force does."""

    def forward(self, step, concept):
        return (concept if step == 3 else torch.zeros(()),)


def planted_runs(module, computed):
    original = module.forward

    def counted(*args):
        computed.append(args)
        return original(*args)

    module.forward = counted

    def run(concept):
        outputs = [module(step, torch.tensor(concept))[0] for step in range(5)]
        return torch.stack(outputs).sum().expand(1, 3, 2, 2)

    return partial(run, 0.0), partial(run, 1.0)


def test_planted_step_is_found():
    """The concept is inserted by a switch at step 3 or before, and by none after it."""
    module = Planted()
    first, second = planted_runs(module, [])
    seen = {
        step: float(images.max())
        for step, images in branches(module, first, second, (0, 1, 2, 3, 4), 5)
    }
    assert seen == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 0.0, 5: 0.0}


def test_module_is_as_before_after_an_error():
    module = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="stop"), replayed_outputs(module, [1]):
        raise ValueError("stop")
    assert "forward" not in vars(module)
    assert module(torch.zeros(1, 2)).shape == (1, 2)


def test_uneven_calls_are_refused():
    module = torch.nn.Identity()
    with pytest.raises(RuntimeError, match="3 denoiser calls in 2 steps"):
        list(branches(module, lambda: [module(torch.ones(1)) for _ in range(3)], lambda: None, (1,), 2))  # fmt: skip


@pytest.fixture(scope="module")
def measured(scorer):
    """Both directions on two prompts of the demo's UNet, and the plain images of the same calls."""
    model = ModelSpec("u", "u", "data/models/scenes-unet", steps=STEPS, guidance=4.0)
    pipeline = loading.open_pipeline(model, torch.device("cpu"))
    prompts = (prompt(colour=BASE), prompt(BASE, 1, same=BASE))
    calls = count_calls(pipeline.scheduler, STEPS, {})
    family = loading.family_of(pipeline)
    batch = Batch(prompts, 0, pipeline, family, scorer, calls, guided=True)
    embed = torch.stack([scorer.concept(concept.phrasings) for concept in BANK])
    sample = partial(generate, pipeline, model, seed=0, schedule={})
    judge = scene_judge_of()
    switches = Switching(batch, ToolSpec(steps=(0, 2)), BANK, embed, sample, 8, judge)
    switches.measure()
    return switches, sample


def scene_judge_of():
    from pathlib import Path

    return SceneJudge(Path("data/models/scenes-judge"), torch.device("cpu")).says


def test_rows_of_both_directions(measured):
    rows = measured[0].columns(0)["switches"]
    keys = [(r["direction"], r["step"], r["concept"]) for r in rows]
    assert len(set(keys)) == len(keys) == 2 * 3 * 2  # directions, steps 0, 2 and 4, two concepts
    assert {r["concept"] for r in rows} == {"colour/green", "texture/striped"}
    images = measured[0].columns(0)["switch_images"]
    assert len(images) == 6
    by = {(r["direction"], r["step"], r["concept"]): r for r in rows}
    for concept in ("colour/green", "texture/striped"):  # both ends are the same two images
        for step, other in ((0, STEPS), (STEPS, 0)):
            one, two = by["insert", step, concept], by["remove", other, concept]
            assert one["similarity"] == two["similarity"] and one["judged"] == two["judged"]


def test_scores_are_of_the_final_images(measured, scorer):
    switches, sample = measured
    images = sample([prompt(TEXT), prompt(BASE)])
    wanted = float(scorer.images(images)[0] @ scorer.concept(("a green background",)))
    rows = switches.columns(0)["switches"]
    (got,) = [r for r in rows if (r["direction"], r["step"], r["concept"]) == ("insert", 0, "colour/green")]  # fmt: skip
    assert got["similarity"] == pytest.approx(wanted, abs=1e-5)


def test_same_prompt_changes_nothing(measured):
    """Base = prompt: every switch is the plain image, so the curve is flat."""
    rows = measured[0].columns(1)["switches"]
    assert {r["preference"] for r in rows} == {0.0}
    for concept in {r["concept"] for r in rows}:
        values = [r["similarity"] for r in rows if r["concept"] == concept and concept]
        assert values == pytest.approx([values[0]] * len(values), abs=1e-6) if values else True
        assert len({r["judged"] for r in rows}) == 1


def test_pairs_from_columns_and_template(tmp_path):
    one = prompt(colour="x", texture="y")
    assert pairs_of(one, ToolSpec()) == (Pair("x", "colour"), Pair("y", "texture"))
    assert pairs_of(one, ToolSpec(options={"bases": ("texture",)})) == (Pair("y", "texture"),)
    assert pairs_of(one, ToolSpec(prompts=0)) == ()
    template = ToolSpec(options={"template": "a picture of a {subject}"})
    assert pairs_of(one, template) == (Pair("a picture of a cat"),)
    assert pairs_of(one, ToolSpec(options={"template": "a {relation}"})) == ()  # it has none
    assert unknown_fields("{subject} {subject.__class__} {x}") == ["subject.__class__", "x"]


def test_differing_concepts():
    def names(base, text, differs=""):
        return [c.name for c in differing_concepts(Pair(base, differs), text, BANK)]

    assert names(BASE, TEXT) == ["green", "striped"]
    assert names("a Green thing", TEXT) == ["striped"]
    assert names(TEXT, TEXT, "colour") == ["green"]
    assert names(TEXT, "a redwood") == []


def test_grammar_changes_one_thing_and_the_judge_sees_it(tmp_path):
    """On true pictures of either caption the judge says 1 for the prompt's, 0 for the base's."""
    import numpy as np

    rng = np.random.default_rng(5)
    judge = scene_judge_of()
    right = []
    for index in range(24):
        scene = sample_scene(rng, ("two objects",))
        if not is_trained(scene):
            continue
        other = with_other(scene, FAMILIES[index % 4], rng)
        assert scene_of(caption(scene)) == scene and is_trained(other)
        pictures = [compose(each, rng)[0] for each in (scene, other)]
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        right.append(judge(images, [caption(scene)] * 2, [caption(other)] * 2) == [1.0, 0.0])
    assert np.mean(right) > 0.85
    assert judge(images, ["a dog"] * 2, ["a cat"] * 2) == [None, None]
    write_pairs(tmp_path / "pairs.csv", 16)
    read = read_prompts(PromptSource(tmp_path / "pairs.csv", "csv", {})).prompts
    assert len(read) == 16 and all(set(p.bases) == set(FAMILIES) for p in read)
