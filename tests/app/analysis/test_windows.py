"""Critical windows: planted edges are window, and what never changes has none."""

import numpy as np
import pytest

from app.analysis import windows
from app.figures.source import Choice, open_study

UNET, SHORT = 1, 2
# What FakeWorker plants: of 12 steps, colours are open up to step 2 and objects up to 6; two steps later in the short model.
LAST = {(UNET, "colour"): 2, (UNET, "object"): 6, (SHORT, "colour"): 4, (SHORT, "object"): 8}


@pytest.fixture(scope="module")
def view(results):
    return open_study(str(results), Choice())


def test_planted_windows_are_found(view):
    table = windows.windows(view, "judge", "step").set_index(["model_id", "family"])
    for key, last in LAST.items():
        row = table.loc[key]
        assert row["opens"] == pytest.approx(last + 0.05) and row["mean"] == pytest.approx(
            last + 0.95
        )
        assert row["low"] == pytest.approx(row["mean"]) and row["high"] == pytest.approx(
            row["mean"]
        )
        assert row["floor"] == {"colour": 0.5, "object": 0.75}[key[1]] and row["prompts"] == 24
    read = windows.windows(view, "scorer", "step")
    assert set(read["family"]) == {"colour"}


def test_log_snr_is_that_of_the_step(view):
    table = windows.windows(view, "judge", "log_snr").set_index(["model_id", "family"])
    steps = view.ask("steps", models=[UNET]).set_index("step")["log_snr"]
    assert table.loc[(UNET, "colour"), "mean"] == pytest.approx(
        steps[2] + 0.95 * (steps[3] - steps[2])
    )


def test_shares(view):
    rows = windows.shares(view, "judge")
    part = rows[(rows["model_id"] == UNET) & (rows["family"] == "object")].set_index("step")
    assert part["mean"].loc[[6, 7]].tolist() == [0.75, 1] and (part["prompts"] == 24).all()
    assert windows.measured(windows.rows_of(view)) == ["judge", "scorer"]


def test_the_timeline_holds_all_three_kinds(view):
    table = windows.causes(view, "judge", "step")
    colour = table[(table["family"] == "colour") & (table["model_id"] == UNET)]
    assert set(colour["kind"]) == {"visible", "decided", "irreversible"}
    assert table["family"].tolist() == sorted(table["family"], key=["colour", "object"].index)


def test_edges_of_noise_lie_in_their_interval():
    """A step curve seen through 40 prompts of four redraws each: the interval holds the planted edge."""
    import pandas as pd

    rng = np.random.default_rng(1)
    x = np.arange(1, 20)
    truth = 0.3 + 0.7 / (1 + np.exp(-(x - 10)))
    rows = pd.DataFrame(
        {"prompt_id": p, "step": s, "judge": rng.binomial(4, t) / 4}
        for p in range(40)
        for s, t in zip(x, truth, strict=True)
    )
    window = windows._window(rows, "judge", "step", 20.0)
    edge = 10 + np.log(0.95 / 0.05)
    assert window["low"] - 0.5 <= edge <= window["high"] + 0.5
    flat = rows.assign(judge=1.0)
    assert np.isnan(windows._window(flat, "judge", "step", 20.0)["mean"])
