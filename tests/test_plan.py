"""Work units: ids that change with the content and with nothing else, and cost little."""

import time
from dataclasses import replace

import pytest
from synthetic import plan_of, small_study, with_scorers

from pipeline.concepts import Concept, ConceptBank
from pipeline.plan import Plan, Revisions, find_revisions, folder_hash
from pipeline.prompts import Prompt, key_of
from pipeline.study import Measures, ModelSpec, RunSettings, ScorerSpec, ToolSpec


def ids(made):
    return [unit.unit_id for unit in made]


@pytest.fixture(scope="module")
def made():
    return plan_of(small_study())


def other(made, prompts=None, revisions=None, bank=None, **study):
    return Plan(
        replace(made.study, **study),
        revisions or made.revisions,
        prompts or made.prompts,
        bank or made.bank,
    )


def test_every_sample_is_in_one_unit(made):
    samples = [(u.model.name, p.prompt_key, u.seed) for u in made for p in u.prompts]
    assert len(samples) == len(set(samples)) == made.samples == 2 * 8 * 2
    assert len(made) == len(ids(made)) == len(set(ids(made)))


def test_a_place_in_the_plan(made):
    assert [made[i].unit_id for i in range(len(made))] == ids(made)
    assert made[-1] == list(made)[-1] and made[2:4] == tuple(made)[2:4]
    with pytest.raises(IndexError):
        made[len(made)]


def test_the_same_study_has_the_same_ids(made):
    assert ids(plan_of(small_study())) == ids(made)


def test_ids_do_not_depend_on_names_titles_or_places(made):
    models = tuple(replace(m, label=m.label + "!") for m in made.study.models)
    assert ids(other(made, name="x", title="y", description="z", models=models)) == ids(made)
    moved = tuple(replace(m, source="/elsewhere") for m in made.study.models)
    assert ids(other(made, models=moved)) == ids(made)
    sources = tuple(replace(p, source="other.csv:1", category="c") for p in made.prompts)
    assert ids(other(made, prompts=sources)) == ids(made)


def test_ids_change_with_all_that_decides_the_content(made):
    study, spec = made.study, made.study.models[0]
    prompt = made.prompts[0]
    text = replace(prompt, text="x")
    roles = replace(prompt, roles={"subject": ("x",)})
    models = [
        replace(spec, steps=7),
        replace(spec, guidance=5.0),
        replace(spec, scheduler="DDIMScheduler"),
        replace(spec, schedule="late", gamma=60.0),
        replace(spec, negative_prompt="x"),
        replace(spec, dtype="float16"),
        replace(spec, height=64),
    ]
    revisions = made.revisions
    changed = [other(made, models=(model,)) for model in models] + [
        other(made, prompts=(text, *made.prompts[1:])),
        other(made, prompts=(roles, *made.prompts[1:])),
        other(made, run=replace(study.run, batch_size=3)),
        other(made, measures=replace(study.measures, spectrum=not study.measures.spectrum)),
        other(made, measures=replace(study.measures, df_cam=ToolSpec())),
        other(made, scorer=replace(study.scorer, pretrained="x")),
        other(made, bank=replace(made.bank, concepts=made.bank.concepts[1:])),
        other(made, revisions=replace(revisions, scorer="sha256:other")),
        other(made, revisions=replace(revisions, models=dict.fromkeys(revisions.models, "v2"))),
    ]
    first = [plan[0].unit_id for plan in changed]
    assert len(set(first)) == len(first) and made[0].unit_id not in first


def test_a_tool_for_the_first_prompts_changes_only_their_units(made):
    def limited(count):
        return other(made, measures=replace(made.study.measures, df_cam=ToolSpec(prompts=count)))

    four, eight = ids(limited(4)), ids(limited(8))
    same = [a == b for a, b in zip(four, eight, strict=True)]
    assert same == [True, True, False, False] * 2  # per model: two seeds of each of two blocks


def test_a_tool_for_some_models_and_seeds_changes_only_their_units(made):
    first = made.study.models[0].name
    plain = ids(made)

    def changed(tool):
        measured = replace(made.study.measures, df_cam=tool)
        return [a != b for a, b in zip(ids(other(made, measures=measured)), plain, strict=True)]

    assert changed(ToolSpec(models=(first,))) == [True] * 4 + [False] * 4
    assert changed(ToolSpec(seeds=1)) == [True, False] * 4
    assert changed(ToolSpec(seeds=2)) == [True] * 8


def test_a_folders_hash_is_of_names_and_bytes(tmp_path):
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "a.bin").write_bytes(b"1")
    before = folder_hash(folder)
    (folder / "README.md").write_text("notes")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("x")
    assert folder_hash(folder) == before
    (folder / "unet" / "a.bin").rename(folder / "unet" / "b.bin")
    renamed = folder_hash(folder)
    (folder / "unet" / "b.bin").write_bytes(b"2")
    assert len({before, renamed, folder_hash(folder)}) == 3


def test_revisions_of_folders_and_hub_ids(made, tmp_path):
    (tmp_path / "x").write_text("x")
    folder, hub = made.study.models
    study = replace(
        made.study,
        models=(
            replace(folder, source=str(tmp_path)),
            replace(hub, source="owner/name", revision="abc"),
        ),
        scorer=replace(made.study.scorer, source="ViT-B-32", pretrained="openai"),
    )
    found = find_revisions(study)
    assert found.models[folder.name].startswith("sha256:")
    assert found == Revisions(dict(found.models), "openai") and found.models[hub.name] == "abc"


def test_a_study_of_one_scorer_keeps_the_ids_that_it_had_before_there_could_be_several(made):
    spec = ModelSpec("m", "m", "owner/m")
    study = replace(
        made.study,
        models=(spec,),
        seeds=(0,),
        measures=Measures(),
        run=RunSettings(),
        scorer=ScorerSpec("ViT-B-32", "openai"),
    )
    bank = ConceptBank("b", (Concept("cat", "object", ("a cat",)),))
    prompts = (Prompt("k", "a cat", "p.txt:1", "", {}, 0),)
    old = Plan(study, Revisions({"m": "main"}, "openai"), prompts, bank)
    assert ids(old) == ["a535012be8b603680a1304b1451fd2ff"]
    named = replace(study.scorer, name="mine")
    assert ids(other(old, scorer=named)) == ids(old)


def test_ids_change_with_the_scorers_and_their_order_but_not_with_their_names(made):
    several = plan_of(with_scorers(made.study))
    renamed = replace(several.study.further_scorers[0], name="other")
    assert several.revisions.further_scorers == ("openai",)
    assert ids(other(several, further_scorers=(renamed,))) == ids(several)
    first, second = several.study.scorers
    swapped = plan_of(replace(several.study, scorer=second, further_scorers=(first,)))
    tagged = with_scorers(made.study, replace(renamed, pretrained="laion2b_s34b_b79k"))
    firsts = {ids(each)[0] for each in (made, several, swapped, plan_of(tagged))}
    assert len(firsts) == 4


def test_planning_is_cheap(made):
    """A million units in 10 s means 100,000 in 1 s; three times that allows for a busy machine."""
    prompts = [Prompt(key_of(str(i)), f"prompt {i}", f"x:{i}", "", {}, i) for i in range(25_000)]
    big = other(made, prompts=tuple(prompts), run=replace(made.study.run, unit_prompts=1))
    started = time.process_time()
    assert sum(1 for _ in big) == len(big) == 100_000
    assert time.process_time() - started < 3
