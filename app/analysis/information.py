"""What the words of prompts tell of the images, in nats: over noise levels, in all, and against the scorer. No Streamlit, no chart.

The unit is the prompt: words of a role, and seeds, are averaged within it first. Definitions: docs/methods.md, "Information per word".
"""

from __future__ import annotations

import pandas as pd

from app.analysis import chance
from app.analysis.reading import StudyView

AGAINST = {"effect": "Effect on the score", "change": "Change of the image"}


def role_curves(view: StudyView) -> pd.DataFrame:
    """Density of information of a word of each role over the noise levels, nats per unit of log-SNR.

    Returns:
        model_id, model, role, step, log_snr; mean with its 95 % t limits low and high over the prompts that have the role; sd, prompts.
    """
    return _placed(view, view.ask_scope("information_roles"))


def word_curves(view: StudyView, word: str) -> pd.DataFrame:
    """The same of one word, over the prompts that have it.

    Returns: model_id, model, step, log_snr, mean, low, high, sd, prompts.
    """
    return _placed(view, view.ask_scope("information_word", word=word))


def totals(view: StudyView) -> pd.DataFrame:
    """Information of a word of each role, and of each word of at least two prompts, in nats.

    Returns:
        model_id, model, kind (role or word), name; mean with its 95 % t limits over prompts; sd, prompts.
    """
    return view.labelled(_limited(view.ask_scope("information_totals")))


def words_of(table: pd.DataFrame) -> list[str]:
    """The words of `totals`, those of most prompts first."""
    words = table[table["kind"] == "word"].groupby("name", as_index=False)["prompts"].max()
    return words.sort_values(["prompts", "name"], ascending=[False, True])["name"].tolist()


def agreement(view: StudyView) -> pd.DataFrame:
    """Whether words that tell more are those that the scorer misses: mean over prompts of Spearman's correlation over their words.

    Returns:
        model_id, model, against (effect or change); mean in [-1, 1] with its 95 % t limits within it; sd, prompts.
    """
    table = _limited(view.ask_scope("information_agreement"))
    limits = {name: table[name].clip(-1, 1) for name in ("low", "high")}
    return view.labelled(table.assign(**limits))


def _placed(view: StudyView, rows: pd.DataFrame) -> pd.DataFrame:
    steps = view.ask("steps", models=list(view.scope.models))[["model_id", "step", "log_snr"]]
    return view.labelled(_limited(rows.merge(steps, on=["model_id", "step"])))


def _limited(rows: pd.DataFrame) -> pd.DataFrame:
    return chance.intervals(rows, "mean", "sd", "prompts")
