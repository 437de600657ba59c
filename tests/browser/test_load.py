"""The load test's readers are answered as a browser is: with pages, and with what a filter leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import load_readers
from tests.bench_app import served
from tests.support.visitor import Visitor

pytestmark = pytest.mark.long

MODELS = ":material/neurology: Models"


def test_a_filter_that_is_changed_over_the_websocket_changes_the_page(results: Path) -> None:
    with served(results) as server:
        visitor = Visitor(server.address)
        visitor.open("models")
        assert visitor.options(MODELS) == ["UNet", "UNet (quarter)", "Transformer"]
        every = visitor.shown
        visitor.choose("models", "", MODELS, ["UNet"])
        assert 0 < visitor.shown - every < every, "one model has nothing to be compared with"
        visitor.leave()


def test_the_table_has_every_wait(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load_readers, "READERS", 2)
    monkeypatch.setattr(load_readers, "THINKS", 0.5)
    monkeypatch.setattr(load_readers, "PAGES", ["overview", "models"])
    monkeypatch.setattr(sys, "argv", ["load_readers", str(results), "--seconds", "4"])
    assert load_readers.main() in (0, 1)
    printed = capsys.readouterr().out
    assert "| a page opened | " in printed and "| a filter changed | " in printed
    assert "GB at most" in printed
