"""From a study file to a checked plan: all that can be refused before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import ModelError, StudyError
from pipeline.study.image_index import read_index
from pipeline.study.pairs import judge_of, pairs_of
from pipeline.study.plan import Plan, plan_study
from pipeline.study.reading import load_study
from pipeline.study.settings import hint, show
from pipeline.study.spec import ModelSpec, Study


def prepare(
    path: Path | str,
    seeds: Sequence[int] | None = None,
    limit: int | None = None,
    *,
    hub: bool = True,
    say: Callable[[str], object] = print,
) -> Plan:
    """Loads, checks and plans a study.

    Args:
        path: the study file.
        seeds: replaces the file's seeds.
        limit: at most this many prompts.
        hub: also check the models that are on the Hub, which takes the network.
        say: is given one line about the size of the study, and one for each measure that a model leaves out.

    Raises:
        StepscopeError: one clear message about the first thing that is wrong.
    """
    study = load_study(path, seeds, limit)
    for line in study.left_out:
        say(line)
    check_folders(study)
    plan = plan_study(study)
    say(summary(plan))
    check_models(plan, hub=hub, say=say)
    return plan


def summary(plan: Plan) -> str:
    """The size of a study, on one line."""
    study, repeats = plan.study, ""
    if plan.duplicates:
        repeats = f", {plan.duplicates} repeated prompts left out"
    return (
        f"{study.name}: {len(study.models)} models x {len(plan.prompts)} prompts x {len(study.seeds)} seeds = "
        f"{plan.samples:,} images in {len(plan):,} work units{repeats}"
    )


def check_folders(study: Study) -> None:
    """Checks the files of models and scorers, before they are hashed or loaded.

    Raises:
        ModelError: says which file is missing, damaged or not allowed.
    """
    from pipeline.models.loading import check_model
    from pipeline.models.scorer_files import check_scorer_folder

    for spec in study.models:
        if not spec.imported:
            check_model(spec)
    for scorer in study.scorers:
        check_scorer_folder(scorer)
    if study.measures.inception:
        from pipeline.models.inception import check_inception

        check_inception(study.measures.inception)
    if study.distances:
        from pipeline.models.distances import check_distance

        for distance in study.distances:
            check_distance(distance)


def check_models(plan: Plan, *, hub: bool = True, say: Callable[[str], object] = print) -> None:
    """Checks models, scorers and measures against each other; no weights are loaded.

    Args:
        plan: the plan.
        hub: also the models that are on the Hub, which takes the network.
        say: is given one line for each measure that a model leaves out.

    Raises:
        StepscopeError: a model, a scorer or a measure cannot be run.
    """
    from pipeline.models.caches import refuse_measures
    from pipeline.models.loading import check_tensors
    from pipeline.models.scorer import check_scorer
    from pipeline.preflight.models import check_compiled

    for scorer in plan.study.scorers:
        check_scorer(scorer)
    check_pairs(plan)
    check_listed_concepts(plan)
    texts = [prompt.text for prompt in plan.prompts]
    sampled = [spec for spec in plan.study.models if not spec.imported]
    folders = [spec for spec in sampled if Path(spec.folder).is_dir()]
    hosted = [spec for spec in sampled if spec not in folders]
    for line in check_images(plan):
        say(line)
    for spec in sampled:
        check_compiled(spec, plan.study.measures.of(spec.name))
        refuse_measures(spec, plan.study.measures.of(spec.name).tools())
        check_tensors(spec)  # of a Hub id, what the cache has of it
    for spec in folders + hosted if hub else folders:
        for notice in _notices(plan.study, spec, texts):
            say(notice)


def check_images(plan: Plan) -> list[str]:
    """How the images of each model that is not sampled fit the study, for the user.

    Raises:
        ModelError: no image of a model matches a prompt and seed.
    """
    lines: list[str] = []
    for spec in plan.study.models:
        if not spec.imported:
            continue
        index = read_index(spec)
        _refuse_moved_numbers(plan, spec, index.numbered)
        report = index.report(plan.prompts, plan.study.seeds)
        if len(report.missing) == report.wanted:
            raise ModelError(
                f"model {spec.name}: none of {report.images:,} images in {spec.source!r} ({report.layout}) matches a prompt and "
                f"seed of the study, such as {report.missing[0]!r}. First image: {report.unmatched[0]!r}. Texts must be those "
                "of the prompt file, and seeds those of the study."
            )
        lines += report.lines(spec.name)
    return lines


def _refuse_moved_numbers(plan: Plan, spec: ModelSpec, numbered: bool) -> None:
    """Refuses prompts in another order than their file's where images say the number of their prompt."""
    prompts = plan.study.prompts
    moved = prompts.shuffle is not None or prompts.sample is not None or plan.duplicates
    if numbered and moved:
        raise StudyError(
            f"{plan.study.path}: the images of model {spec.name!r} say the number of their prompt in the prompt file, so prompts.shuffle, "
            "prompts.sample and repeated prompts cannot be used. Give the file that the images were sampled from."
        )


def check_listed_concepts(plan: Plan) -> None:
    """Checks that the concepts whose maps are asked for are in the bank.

    Raises:
        StudyError: one is not.
    """
    tool = plan.study.measures.concept_attention
    listed = () if tool is None else tool.options.get("concepts", ())
    known = [name for concept in plan.bank.concepts for name in (concept.name, concept.key)]
    for name in listed if isinstance(listed, tuple) else ():
        if name not in known:
            raise StudyError(
                f"{plan.study.path}: measures.concept-attention.concepts holds {show(name)}, which is not in the bank "
                f"{plan.study.concepts.path.name}. {hint(name, known)}"
            )


def check_pairs(plan: Plan) -> None:
    """Checks that there is something to switch, and that the judge is one.

    Raises:
        StudyError: no prompt has a base, or the judge's folder is not that of a judge.
    """
    switch = plan.study.measures.switch
    if switch is not None and not any(pairs_of(prompt, switch) for prompt in plan.prompts):
        raise StudyError(
            f"{plan.study.path}: measures.switch finds no prompt to switch from: {plan.study.prompts.path} has no column base or "
            f"base_NAME that it takes. Add one, or give measures.switch.template."
        )
    if judge := judge_of(plan.study.measures):
        from pipeline.demo.judge import check_judge

        check_judge(Path(judge))


def _notices(study: Study, spec: ModelSpec, texts: Sequence[str]) -> list[str]:
    """What a model leaves out. Raises what it cannot be run with."""
    from pipeline.preflight.measures import check_measures, facts_of
    from pipeline.preflight.models import check_call, inspect_model
    from pipeline.preflight.schedulers import check_named

    model = inspect_model(spec)
    check_named(model)
    facts = facts_of(model, texts)
    return check_call(model, texts) + check_measures(study.measures.of(spec.name), facts)
