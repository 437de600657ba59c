"""The address that links in exports begin with: the setting's, never this machine's unasked."""

from __future__ import annotations

import pytest

from app.database import addresses


@pytest.mark.parametrize(
    ("setting", "opened", "expected"),
    [
        ("", "http://localhost:8501/review?x=1", ""),
        ("", "http://127.0.0.1:8501/review", ""),
        ("", "http://[::1]:8501/", ""),
        ("", "http://LOCALHOST./review", ""),
        ("", "https://lab.example.com/stepscope/review?x=a/b", "https://lab.example.com/stepscope"),
        ("", "", ""),
        ("", "javascript:alert(1)//x/y", ""),
        ("https://s.example.com/lab/", "http://localhost:8501/review", "https://s.example.com/lab"),
        ("https://s.example.com", "https://other.example.com/x", "https://s.example.com"),
        ("http://localhost:8501", "http://127.0.0.1:8501/", "http://localhost:8501"),
        ("s.example.com", "https://lab.example.com/x", "https://lab.example.com"),
        ("javascript:alert(1)", "http://localhost/x", ""),
        ("https://user:secret@s.example.com", "http://localhost/x", ""),
        ("http://[::1", "http://localhost/x", ""),
    ],
)
def test_the_address_of_exports(
    setting: str, opened: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(addresses.PUBLIC, setting)
    assert addresses.of_exports(opened) == expected
