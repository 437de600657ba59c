"""Information per word: what was planted in each role and word comes back, and the scorer agrees where it was made to."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from app.analysis import information
from app.figures.source import Choice, open_study

UNET, SHORT = 1, 2
# What FakeWorker plants: strength by role at every level, one hundredth more for each place in the prompt; nats are ten times that.
# On the short model the score falls least without the words that tell most.
PLANTED = {"subject": 2.0, "object": 1.5, "attribute": 1.0, "relation": 0.5, "other": 0.25}


@pytest.fixture(scope="module")
def view(results):
    return open_study(str(results), Choice())


def test_curves_of_roles(view):
    table = information.role_curves(view)
    present = set(table["role"])
    assert {"subject", "other"} <= present <= set(PLANTED)
    for role in present:
        rows = table[(table["role"] == role) & (table["model_id"] == UNET)]
        assert rows["mean"].between(PLANTED[role], PLANTED[role] + 0.12).all()
        assert rows["mean"].to_numpy() == pytest.approx(rows["mean"].iloc[0])
        assert (rows["low"] <= rows["mean"]).all() and (rows["mean"] <= rows["high"]).all()
    steps = view.ask("steps", models=[UNET]).set_index("step")["log_snr"]
    rows = table[table["model_id"] == UNET]
    assert rows["log_snr"].to_numpy() == pytest.approx(steps[rows["step"]].to_numpy())


def test_totals_are_ten_times_the_densities(view):
    table = information.totals(view)
    curves = information.role_curves(view).groupby(["model_id", "role"])["mean"].first()
    roles = table[table["kind"] == "role"].set_index(["model_id", "name"])
    assert roles["mean"].to_numpy() == pytest.approx(10 * curves[roles.index].to_numpy())
    assert (table.loc[table["kind"] == "word", "prompts"] > 1).all()


def test_a_word_whatever_its_case_and_punctuation(view):
    words = information.words_of(information.totals(view))
    assert words == [word.lower().strip(".,") for word in words] and len(words) == len(set(words))
    table = information.word_curves(view, words[0])
    assert set(table["model_id"]) >= {UNET, SHORT} and (table["prompts"] > 1).all()
    assert information.word_curves(view, "no such word").empty


def test_agreement_with_the_scorer(view):
    table = information.agreement(view).set_index(["model_id", "against"])
    for key, rho in {
        (UNET, "effect"): 1,
        (SHORT, "effect"): -1,
        (UNET, "change"): 1,
        (SHORT, "change"): 1,
    }.items():
        row = table.loc[key]
        assert row["mean"] == pytest.approx(rho) and row["low"] == pytest.approx(rho)
        assert row["high"] == pytest.approx(rho) and row["prompts"] > 1


def test_agreement_is_spearmans(altered):
    """Against scipy, on values with ties."""
    path = altered(
        "UPDATE information SET nats = (word_index * 7 + prompt_id) % 4, effect = (word_index * 5 + prompt_id * 3) % 3"
    )
    view = open_study(str(path), Choice(seeds=(0,)))
    row = information.agreement(view).set_index(["model_id", "against"]).loc[(UNET, "effect")]
    rho = []
    for prompt in view.ask_scope("information_prompts")["prompt_id"]:
        words = view.ask("information_maps", prompt=int(prompt), seed=0, models=[UNET])
        if len(words) > 2 and words["nats"].nunique() > 1 and words["effect"].nunique() > 1:
            rho.append(spearmanr(words["nats"], words["effect"])[0])
    assert row["prompts"] == len(rho) > 3 and row["mean"] == pytest.approx(np.mean(rho))
