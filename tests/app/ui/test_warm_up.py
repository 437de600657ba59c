"""The server: what it imports before its first reader has a page to wait for."""

from __future__ import annotations

import subprocess
import sys

from tests.support.browser import ROOT

SCRIPT = """
import gc, sys
import app.main
missing = {"app.charts.curves", "app.ui.answer_panels", "app.figures.export", "scipy.special"} - set(sys.modules)
assert not missing, missing
assert "torch" not in sys.modules
assert gc.get_freeze_count() > 100_000
"""


def test_the_views_modules_are_imported_before_the_server_listens() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
