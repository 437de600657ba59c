"""The gate that runs more prompts until it is decided. Who runs them is given: the app has no pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.analysis import looks, uncertainty
from app.analysis.criteria import Gate
from app.analysis.gates import Decision
from app.analysis.looks import Look
from app.analysis.reading import StudyView
from app.database import notebook

LOOKS = 4
"""Looks after the first, unless the command line says."""


class UntilError(Exception):
    """A gate that cannot run on: what is wrong, and what is allowed."""


@dataclass(frozen=True)
class Runner:
    """What runs a study.

    Attributes:
        total: number of prompts of a study file.
        run: runs a study file's first prompts into a results folder and publishes them; returns the exit status.
    """

    total: Callable[[Path], int]
    run: Callable[[Path, Path, int], int]


@dataclass(frozen=True)
class Sequential:
    """A gate under way.

    Attributes:
        gate: what is asked.
        folder: the results folder.
        options: study, budget, looks and spending of the command line.
        runner: what runs the study.
        judge: the study as it stands, and a decision on it at a level.
        say: prints progress.
    """

    gate: Gate
    folder: Path
    options: argparse.Namespace
    runner: Runner
    open: Callable[[], StudyView]
    judge: Callable[[StudyView, float], Decision]
    say: Callable[[str], None]

    def until_decided(self) -> tuple[Decision, list[Look]]:
        """Look, run more prompts and look again, until it is decided or the budget is used up.

        Raises:
            UntilError: the plan, the study or its run does not allow it.
            ReviewError: the looks cannot be read or kept.
        """
        store = notebook.store_of(self.folder)
        taken = looks.of_gate(store, self.gate)
        last_target = 0
        while True:
            view = self.open()
            prompts = prompts_of(view)
            most = taken[0].most if taken else self._most(prompts)
            decision, taken = self._look(store, view, prompts, most, taken)
            if taken[-1].decided or prompts >= most:
                return decision, taken
            if prompts < last_target:
                raise UntilError(
                    f"the run made {prompts} of {last_target} prompts: see `stepscope status {self.folder}`, then run the gate again."
                )
            last_target = self._run(prompts, most, len(taken))

    def _most(self, prompts: int) -> int:
        return max(
            prompts, min(prompts + self.options.budget, self.runner.total(self.options.study))
        )

    def _look(
        self, store: Path, view: StudyView, prompts: int, most: int, taken: list[Look]
    ) -> tuple[Decision, list[Look]]:
        """A decision at the level of this look, which is kept unless it was taken before."""
        counts = [each.prompts for each in taken]
        again = bool(taken) and counts[-1] == prompts
        shape = taken[0].shape if taken else self.options.spending
        if taken and (counts[-1] > prompts or (taken[-1].decided and not again) or prompts > most):
            last = taken[-1]
            raise UntilError(
                f"this gate had its look {last.number} at {last.prompts} prompts ({last.verdict}, snapshot {last.snapshot}) of at most "
                f"{last.most}; the study has {prompts} now. To judge today's data once leave --until-decided out."
            )
        if len(taken) >= looks.MOST_LOOKS and not again:
            raise UntilError(f"this gate has had {looks.MOST_LOOKS} looks, as many as are allowed.")
        alpha = looks.level(counts if again else [*counts, prompts], most, shape)
        decision = self.judge(view, alpha)
        if not again:
            number = len(taken) + 1
            taken = [*taken, looks.keep(store, decision, self.gate, number, prompts, most, shape)]
        self.say(
            f"look {taken[-1].number}: {prompts} of at most {most} prompts, level {alpha:.2g} of {uncertainty.ALPHA}: {decision.verdict}"
        )
        return decision, taken

    def _run(self, prompts: int, most: int, taken: int) -> int:
        """Runs up to the next look. Returns its number of prompts."""
        target = looks.next_target(prompts, most, self.options.looks + 1 - taken)
        status = self.runner.run(self.options.study, self.folder, target)
        if status not in (0, 1):  # 1: some samples failed, which the paired comparison leaves out
            raise UntilError(f"the run of {self.options.study} ended with status {status}; the gate resumes when it is run again.")  # fmt: skip
        return target


def prompts_of(view: StudyView) -> int:
    """Prompts of the study, whatever the filters."""
    return int(view.ask("categories")["prompts"].sum())
