"""Whatever breaks: it is said, the last good snapshot is served, and a restart brings the very same content."""

import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.support import faults, stops
from tests.support.pages import MAIN, PATIENCE

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def expected():
    return faults.expected_content()


@pytest.fixture(scope="module", autouse=True)
def stopped_processes():
    """Those of tests/support/stops.py are faults as well."""
    with pytest.MonkeyPatch.context() as patch:
        for name, act in stops.STOPS.items():
            patch.setitem(faults.FAULTS, name, act)
        yield


@pytest.mark.parametrize("name", [*faults.FAULTS, *stops.STOPS])
def test_a_fault_is_reported_and_loses_nothing(name, expected):
    outcome = faults.strike(name, 1, expected)
    assert outcome.said and outcome.served and outcome.whole, outcome


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("disk full during a run", "The disk is full"),
        ("disk full during publish", "No space left|cannot be"),
        ("read-only file system", "The file system is read-only"),
    ],
)
def test_a_fault_of_the_file_system(name, words, expected):
    if not faults.can_mount():
        pytest.skip("this system lets nobody mount a small file system")
    import re

    outcome = faults.strike(name, 1, expected)
    assert re.search(words, outcome.said) and outcome.served and outcome.whole, outcome


def test_a_running_app_goes_on_when_its_snapshot_is_deleted(tmp_path, monkeypatch):
    folder = tmp_path / "r"
    faults.finished(folder)
    faults.publish(folder)
    monkeypatch.setattr(sys, "argv", ["app/main.py", str(folder)])
    app = AppTest.from_file(str(MAIN), default_timeout=PATIENCE).run()
    assert not app.exception and not app.warning
    Path(faults.snapshots.locate(folder).path).unlink()
    app.run()
    assert not app.exception and app.dataframe
    assert "the previous one is shown" in app.warning[0].value
    faults.publish(folder)
    app.run()
    assert not app.exception and app.dataframe and not app.warning


def test_an_app_without_any_snapshot_left_says_what_to_do(tmp_path, monkeypatch):
    folder = tmp_path / "r"
    faults.finished(folder)
    monkeypatch.setattr(sys, "argv", ["app/main.py", str(folder)])
    app = AppTest.from_file(str(MAIN), default_timeout=PATIENCE).run()
    Path(faults.snapshots.locate(folder).path).unlink()
    app.run()
    assert not app.exception and "pipeline publish" in app.code[0].value
