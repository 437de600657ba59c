"""The step of a page: of its link, and in its link."""

from __future__ import annotations

from pathlib import Path

from tests.support.pages import Open


def test_a_link_says_the_step_unless_it_is_the_default(open_view: Open, results: Path) -> None:
    app = open_view("timesteps", results, step="10")
    assert app.session_state["step"] == 10
    app.query_params["step"] = "3"  # as the browser's back button does
    app.run()
    assert app.session_state["step"] == 3
    assert any(c.value.startswith("Step 3 of 0 to 11") for c in app.caption)
    app.session_state["step"] = default = round(11 * 0.4)
    app.run()
    assert "step" not in app.query_params
    assert open_view("timesteps", results).session_state["step"] == default
    assert open_view("timesteps", results, step="12").session_state["step"] == default
    app.switch_page("views/words.py").run()
    assert app.session_state["step"] == default


def test_an_older_link_sent_beside_a_newer_step_changes_nothing(
    open_view: Open, results: Path
) -> None:
    """A reader moves the step twice: the second message interrupts the answer to the first, and has the link from before it."""
    app = open_view("timesteps", results, step="2")
    app.session_state["step"], app.session_state["_step_linked"] = 11, "8"
    app.session_state["_step_before"] = {"2"}
    app.query_params["step"] = "2"
    app.run()
    assert app.session_state["step"] == 11
    assert app.query_params["step"] == "11"
    app.query_params["step"] = "2"  # once the page is drawn, it is the reader who went back
    app.run()
    assert app.session_state["step"] == 2
