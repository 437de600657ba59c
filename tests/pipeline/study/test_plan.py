"""Work units: ids that change with the content and with nothing else, and cost little."""

import time
from dataclasses import replace

import pytest

from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.definitions import CHANGES, DEFINITIONS
from pipeline.study.plan import Plan, Revisions, find_revisions, folder_hash
from pipeline.study.prompts import Prompt, key_of
from pipeline.study.spec import Measures, ModelSpec, RunSettings, ScorerSpec, ToolSpec
from tests.support.synthetic import plan_of, small_study, with_scorers


def ids(plan):
    return [work_unit.unit_id for work_unit in plan]


@pytest.fixture(scope="module")
def plan():
    return plan_of(small_study())


def other(plan, prompts=None, revisions=None, bank=None, **study):
    return Plan(
        replace(plan.study, **study),
        revisions or plan.revisions,
        prompts or plan.prompts,
        bank or plan.bank,
    )


def test_every_sample_is_in_one_unit(plan):
    samples = [(u.model.name, p.prompt_key, u.seed) for u in plan for p in u.prompts]
    assert len(samples) == len(set(samples)) == plan.samples == 2 * 8 * 2
    assert len(plan) == len(ids(plan)) == len(set(ids(plan)))


def test_a_place_in_the_plan(plan):
    assert [plan[i].unit_id for i in range(len(plan))] == ids(plan)
    assert plan[-1] == list(plan)[-1] and plan[2:4] == tuple(plan)[2:4]
    with pytest.raises(IndexError):
        plan[len(plan)]


def test_the_same_study_has_the_same_ids(plan):
    assert ids(plan_of(small_study())) == ids(plan)


def test_ids_do_not_depend_on_names_titles_or_places(plan):
    models = tuple(replace(m, label=m.label + "!") for m in plan.study.models)
    assert ids(other(plan, name="x", title="y", description="z", models=models)) == ids(plan)
    moved = tuple(replace(m, source="/elsewhere") for m in plan.study.models)
    assert ids(other(plan, models=moved)) == ids(plan)
    sources = tuple(replace(p, source="other.csv:1", category="c") for p in plan.prompts)
    assert ids(other(plan, prompts=sources)) == ids(plan)


def test_ids_change_with_all_that_decides_the_content(plan):
    study, spec = plan.study, plan.study.models[0]
    prompt = plan.prompts[0]
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
    revisions = plan.revisions
    changed = [other(plan, models=(model,)) for model in models] + [
        other(plan, prompts=(text, *plan.prompts[1:])),
        other(plan, prompts=(roles, *plan.prompts[1:])),
        other(plan, run=replace(study.run, batch_size=3)),
        other(plan, measures=replace(study.measures, spectrum=not study.measures.spectrum)),
        other(plan, measures=replace(study.measures, df_cam=ToolSpec())),
        other(plan, scorer=replace(study.scorer, pretrained="x")),
        other(plan, bank=replace(plan.bank, concepts=plan.bank.concepts[1:])),
        other(plan, revisions=replace(revisions, scorer="sha256:other")),
        other(plan, revisions=replace(revisions, models=dict.fromkeys(revisions.models, "v2"))),
    ]
    first = [each[0].unit_id for each in changed]
    assert len(set(first)) == len(first) and plan[0].unit_id not in first


def test_a_tool_for_the_first_prompts_changes_only_their_units(plan):
    def limited(count):
        return other(plan, measures=replace(plan.study.measures, df_cam=ToolSpec(prompts=count)))

    four, eight = ids(limited(4)), ids(limited(8))
    same = [a == b for a, b in zip(four, eight, strict=True)]
    assert same == [True, True, False, False] * 2  # per model: two seeds of each of two blocks


def test_a_tool_for_some_models_and_seeds_changes_only_their_units(plan):
    first = plan.study.models[0].name
    plain = ids(plan)

    def changed(tool):
        measured = replace(plan.study.measures, df_cam=tool)
        return [a != b for a, b in zip(ids(other(plan, measures=measured)), plain, strict=True)]

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


def test_revisions_of_folders_and_hub_ids(plan, tmp_path):
    (tmp_path / "x").write_text("x")
    folder, hub = plan.study.models
    study = replace(
        plan.study,
        models=(
            replace(folder, source=str(tmp_path)),
            replace(hub, source="owner/name", revision="abc"),
        ),
        scorer=replace(plan.study.scorer, source="ViT-B-32", pretrained="openai"),
    )
    revisions_found = find_revisions(study)
    assert revisions_found.models[folder.name].startswith("sha256:")
    assert (
        revisions_found == Revisions(dict(revisions_found.models), "openai")
        and revisions_found.models[hub.name] == "abc"
    )


def test_a_study_of_one_scorer_keeps_the_ids_that_it_had_before_there_could_be_several(plan):
    spec = ModelSpec("m", "m", "owner/m")
    study = replace(
        plan.study,
        models=(spec,),
        seeds=(0,),
        measures=Measures(),
        run=RunSettings(),
        scorer=ScorerSpec("ViT-B-32", "openai"),
    )
    bank = ConceptBank("b", (Concept("cat", "object", ("a cat",)),))
    prompts = (Prompt("k", "a cat", "p.txt:1", "", {}, 0),)
    old = Plan(study, Revisions({"m": "main"}, "openai"), prompts, bank, definitions={})
    assert ids(old) == ["a535012be8b603680a1304b1451fd2ff"]
    named = replace(study.scorer, name="mine")
    assert ids(defined(old, {}, scorer=named)) == ids(old)


def test_ids_change_with_the_scorers_and_their_order_but_not_with_their_names(plan):
    several = plan_of(with_scorers(plan.study))
    renamed = replace(several.study.further_scorers[0], name="other")
    assert several.revisions.further_scorers == ("openai",)
    assert ids(other(several, further_scorers=(renamed,))) == ids(several)
    first, second = several.study.scorers
    swapped = plan_of(replace(several.study, scorer=second, further_scorers=(first,)))
    tagged = with_scorers(plan.study, replace(renamed, pretrained="laion2b_s34b_b79k"))
    firsts = {ids(each)[0] for each in (plan, several, swapped, plan_of(tagged))}
    assert len(firsts) == 4


def defined(plan, definitions, **study):
    return Plan(
        replace(plan.study, **study),
        plan.revisions,
        plan.prompts,
        plan.bank,
        definitions=definitions,
    )


SCORE = {"clip-score": 2}  # of every study
RISE = Measures(df_rise=ToolSpec(), spectrum=True)


def test_a_new_definition_gives_units_that_measure_it_other_ids_and_leaves_the_rest(plan):
    first = defined(plan, {}, measures=RISE)
    assert not set(ids(first)) & set(ids(defined(plan, {"df-rise": 2}, measures=RISE)))
    assert ids(first) == ids(defined(plan, {"lime": 2}, measures=RISE))
    plain = Measures(spectrum=True)
    assert ids(defined(plan, {}, measures=plain)) == ids(
        defined(plan, {"df-rise": 2}, measures=plain)
    )


def test_the_clip_score_is_measured_of_every_unit(plan):
    plain = Measures(spectrum=True)
    first, second = (defined(plan, each, measures=plain) for each in ({}, {"clip-score": 2}))
    assert not set(ids(first)) & set(ids(second))
    assert ids(second) == ids(other(plan, measures=plain))
    assert {each.clip_score for each in first} == {1} and {each.clip_score for each in second} == {
        2
    }


def test_only_the_units_that_the_tool_sees_get_other_ids(plan):
    """Its models, its seeds and its first prompts."""
    name = plan.study.models[0].name
    size = plan.study.run.unit_prompts
    seen = Measures(df_rise=ToolSpec(models=(name,), seeds=1, prompts=size))
    old, new = (defined(plan, d, measures=seen) for d in ({}, {"df-rise": 2}))
    changed = {
        (a.model.name, a.seed, a.prompts[0].position)
        for a, b in zip(old, new, strict=True)
        if a.unit_id != b.unit_id
    }
    assert changed == {(name, plan.study.seeds[0], 0)}


def test_a_method_that_is_only_judged_counts_too(plan):
    games = ToolSpec(options={"methods": ("lime",)})
    measures = Measures(faithfulness=games)
    assert other(plan, measures=measures).definitions == SCORE | {"lime": 2}
    assert ids(defined(plan, {}, measures=measures)) != ids(other(plan, measures=measures))


def test_definitions_are_those_of_the_protocol(plan):
    tools = Measures(df_rise=ToolSpec(), lime=ToolSpec(), df_cam=ToolSpec(), relevance=ToolSpec())
    ours = other(plan, measures=tools).definitions
    assert ours == SCORE | {"df-rise": 2, "lime": 2, "df-cam": 2, "relevance": 2}
    paper = other(plan, measures=replace(tools, protocol="park2024")).definitions
    assert paper == SCORE | {"df-rise": 3, "lime": 3, "df-cam": 3, "relevance": 3}
    attention = Measures(attention=ToolSpec(), protocol="park2024")
    assert other(plan, measures=attention).definitions == SCORE


def test_every_definition_says_what_changed():
    for versions in DEFINITIONS.values():
        for name, version in versions.items():
            assert (name, version) in CHANGES


def test_planning_is_cheap(plan):
    """A million units in 10 s means 100,000 in 1 s; three times that allows for a busy machine."""
    prompts = [Prompt(key_of(str(i)), f"prompt {i}", f"x:{i}", "", {}, i) for i in range(25_000)]
    big = other(plan, prompts=tuple(prompts), run=replace(plan.study.run, unit_prompts=1))
    started = time.process_time()
    assert sum(1 for _ in big) == len(big) == 100_000
    assert time.process_time() - started < 3
