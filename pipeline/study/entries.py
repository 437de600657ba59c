"""The entries of a study checked against each other: names, checkpoints, and the models and steps that measures name."""

from collections import Counter

from pipeline.errors import StudyError
from pipeline.study.settings import show
from pipeline.study.spec import Study


def check_entries(study: Study) -> None:
    """Refuses entries that two models share, and measures of models or steps that are not there.

    Raises:
        StudyError: one clear message about the first thing that is wrong.
    """
    _refuse_same_model(study)
    _refuse_same_checkpoint(study)
    _refuse_unknown_models(study)
    _refuse_late_steps(study)


def _refuse_same_model(study: Study) -> None:
    names = [model.name for model in study.models]
    labels = [model.label for model in study.models]
    for key, values in (("name", names), ("label", labels)):
        for value, times in Counter(values).items():
            if times > 1:
                raise StudyError(
                    f"{study.path}: model.{key} = {show(value)} is used twice. "
                    f"Give each [[model]] a {key} of its own."
                )


def _refuse_same_checkpoint(study: Study) -> None:
    uses = Counter((model.run, model.training_step) for model in study.models if model.run)
    for (run, step), times in uses.items():
        if times > 1:
            raise StudyError(
                f"{study.path}: training_step = {step} of run {show(run)} is used {times} times. Give each checkpoint of a run a "
                "step of its own, or another run."
            )


def _refuse_unknown_models(study: Study) -> None:
    names = [model.name for model in study.models]
    for name, tool in study.measures.tools().items():
        for wanted in tool.models or ():
            if wanted not in names:
                raise StudyError(
                    f"{study.path}: measures.{name}.models holds {show(wanted)}, which is no model of this "
                    f"study. Allowed: {', '.join(names)}."
                )


def _refuse_late_steps(study: Study) -> None:
    for name, tool in study.measures.tools().items():
        last = max(tool.steps or (0,))
        for model in study.models:
            if last >= model.steps and (tool.models is None or model.name in tool.models):
                raise StudyError(
                    f"{study.path}: measures.{name}.steps holds {last}, but model {model.name!r} "
                    f"has steps 0 to {model.steps - 1}. Leave it out, or raise the model's steps."
                )
